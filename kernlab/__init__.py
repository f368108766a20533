"""kernlab: a lab for the Linux network stack.

Kept free of imports and of syntax newer than Python 3.9: GDB's own interpreter
imports ``kernlab.decode`` through this package.
"""

__version__ = "0.1.0"
