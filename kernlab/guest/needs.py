"""What building guest programs and BPF objects needs on the host."""

from __future__ import annotations

from kernlab.config.needs import Need
from kernlab.decode.arch import ARCH

# Debian's place, Fedora's, Arch's.
_LIBC = ("/usr/lib/*/libc.a", "/usr/lib64/libc.a", "/usr/lib/libc.a")


def _library(name: str) -> tuple[str, ...]:
    """Where a library to link with is: the archive, or the shared one where a distribution has
    no archive (``kernlab.guest.link`` takes either)."""
    places = ("/usr/lib/*", "/usr/lib64", "/usr/lib")
    return tuple(f"{place}/lib{name}.{kind}" for kind in ("a", "so") for place in places)


_LIBBPF, _LIBELF, _LIBZ = (_library(name) for name in ("bpf", "elf", "z"))

PROGRAMS = (
    Need("gcc", "compiles guest programs", program=ARCH.compiler),
    Need("libc6-dev", "static libc for them", file=_LIBC[0], elsewhere=_LIBC[1:]),
)
BPF = (
    *PROGRAMS,
    Need("clang", "compiles BPF programs", program="clang"),
    Need("bpftool", "vmlinux.h and skeletons for them", program="bpftool"),
    Need("libbpf-dev", "loads them in the guest", file=_LIBBPF[0], elsewhere=_LIBBPF[1:]),
    Need("libelf-dev", "libbpf reads objects with it", file=_LIBELF[0], elsewhere=_LIBELF[1:]),
    Need("zlib1g-dev", "libelf unpacks with it", file=_LIBZ[0], elsewhere=_LIBZ[1:]),
)
NEEDS = BPF
