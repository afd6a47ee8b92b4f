"""Weights as bytes, and a card that says what they are."""
