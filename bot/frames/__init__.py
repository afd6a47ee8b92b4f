"""Rows and bars as pandas frames, whose columns are documented in one place."""
