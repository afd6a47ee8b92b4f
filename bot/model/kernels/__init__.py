"""The inner loops that a bar waits for, compiled by Numba: a layer's, a search's, a series'."""
