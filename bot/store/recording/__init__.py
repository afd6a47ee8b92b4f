"""What the core saw of a session, in a file, so that the session runs again from it alone."""
