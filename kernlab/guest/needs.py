"""What building guest programs needs on the host."""

from __future__ import annotations

from kernlab.config.needs import Need

# Debian's place, Fedora's, Arch's.
_LIBC = ("/usr/lib/*/libc.a", "/usr/lib64/libc.a", "/usr/lib/libc.a")
NEEDS = (
    Need("gcc", "compiles guest programs", program="gcc"),
    Need("libc6-dev", "static libc for them", file=_LIBC[0], elsewhere=_LIBC[1:]),
)
