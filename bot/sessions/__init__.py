"""One run from its beginning to its end, as a value: nothing here prints."""
