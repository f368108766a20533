"""``kernlab debug``: GDB in the user's terminal, on a booted lab."""
