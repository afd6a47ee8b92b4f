"""What trading came to, in figures for people."""
