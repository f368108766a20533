"""What fetching and building a kernel needs on the host."""

from __future__ import annotations

from kernlab.config.needs import Need
from kernlab.decode.arch import ARCH

UNPACK = (
    Need("tar", "unpacks source trees", program="tar"),
    Need("xz-utils", "unpacks source trees", program="xz"),
)
APT = (
    Need("apt", "fetches source packages with the host's own mirror", program="apt-get"),
    Need("dpkg", "unpacks them", program="dpkg-deb"),
)
KERNEL_ORG = (Need("gpgv", "checks who signed kernel.org's list of releases", program="gpgv"),)
GIT = (Need("git", "reads a ref of a kernel repository", program="git"),)
FETCH = APT + UNPACK
BUILD = (
    Need("gcc", "compiles the kernel", program=ARCH.compiler),
    Need("libc6-dev", "headers for the kernel's own build tools", file="/usr/include/stdio.h"),
    Need("make", "runs the kernel's build", program="make"),
    Need("flex", "generates Kconfig's scanner", program="flex"),
    Need("bison", "generates Kconfig's parser", program="bison"),
    Need("bc", "computes the kernel's time constants", program="bc"),
    Need("perl-base", "generates tables in lib/", program="perl"),
    Need("libelf-dev", "objtool writes the ORC unwind tables with it", file="/usr/include/gelf.h"),
    Need("dwarves", "pahole turns DWARF into BTF", program="pahole"),
    Need("binutils", "links the kernel", program="ld"),
    Need("patch", "applies --patch files", program="patch"),
)


def build_needs(btf: bool) -> tuple[Need, ...]:
    """What compiling takes; without BTF nobody asks pahole."""
    return tuple(need for need in BUILD if btf or need.program != "pahole")


NEEDS = FETCH + KERNEL_ORG + GIT + BUILD
