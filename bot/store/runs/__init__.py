"""The index of runs: which backtests there are, their figures, and what was tried on which bars."""
