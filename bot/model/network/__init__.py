"""Networks that make a key of a window of bars."""
