"""What a terminal shows: values in, lines of text out. It prints, and asks nothing of the disk or the network."""
