"""Fitting the networks: `train` and `evaluate` alone import this, since it needs torch."""
