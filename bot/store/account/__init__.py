"""One account's database: its tables, what is written into them, and what is read from them."""
