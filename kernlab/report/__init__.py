"""A run's report: what kind of run it was, and its page."""
