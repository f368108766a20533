"""Draws a record: on a terminal, as a capture. Runs nothing."""
