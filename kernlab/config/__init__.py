"""Where things are, and how files a user writes are read."""
