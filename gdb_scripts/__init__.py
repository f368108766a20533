"""The side of kernlab that runs inside GDB.

Imports the standard library, ``gdb`` and ``kernlab.decode`` only, and any Python GDB
was built with (3.9 and newer). Policy stays on the host: what to look up and what to
read arrives as JSON, what was found leaves as JSON.
"""
