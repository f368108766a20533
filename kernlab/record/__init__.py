"""What a run keeps: its directory, its events and their schema."""
