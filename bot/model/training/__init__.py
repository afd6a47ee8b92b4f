"""Fitting the networks. Views and material are NumPy; pairs, encoder and forecaster import torch (seconds)."""
