"""The architecture of the guest. There is one so far: ``ARCH``.

Its names and numbers are in ``x86_64``, the machine code of the probes' trampoline in
``trampoline``, its unwinder in ``orc``. Nothing elsewhere knows a register's name. The standard
library only, Python 3.9: the side inside GDB reads it too.
"""

from __future__ import annotations

from kernlab.decode.arch.x86_64 import X86_64

ARCH = X86_64
