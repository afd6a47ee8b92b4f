"""Moments whose outcome is known, and exact searches among them."""
