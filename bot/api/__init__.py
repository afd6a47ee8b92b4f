"""The bot for scripts and notebooks: synchronous, silent, exact inside and pandas outside."""
