"""What differs from one architecture to the next, as far as kernlab needs it."""

from __future__ import annotations

from typing import Mapping, NamedTuple, Tuple


class Arch(NamedTuple):
    """One architecture. Registers have the names that GDB and DWARF give them."""

    name: str  # as uname -m says it
    title: str  # as people write it

    # -- registers -----------------------------------------------------------------
    pc: str
    sp: str
    fp: str
    result: str  # a function's returned value
    arguments: Tuple[str, ...]  # of a function, in order: those that BPF and kprobes can read
    kprobe: Mapping[str, str]  # register → its word in a kprobe event's definition
    remote: Tuple[str, ...]  # the answer to "g" of QEMU's gdbstub begins with these, 8 bytes each
    saved: Mapping[str, int]  # register → its offset in a struct pt_regs, in bytes

    # -- the kernel's code -------------------------------------------------------------
    # Names of what a kretprobe puts in the place of the return address, newest first.
    return_trampolines: Tuple[str, ...]
    trace_clock: str  # of tracefs: the one that is not rounded, and the same on all CPUs
    returns: Tuple[str, ...]  # mnemonics, as objdump writes them
    jumps: Tuple[str, ...]  # without a condition
    branch: str  # what jumps of both kinds begin with
    calls: Tuple[str, ...]
    prefixes: Tuple[str, ...]  # words that objdump writes before a mnemonic
    lock: str  # the prefix of an instruction that is atomic

    # -- building --------------------------------------------------------------------
    srcarch: str  # its folder below arch/
    image: str  # the make target, and the file's name
    boot: str  # where the build leaves it, below the source tree
    magic: Tuple[int, bytes]  # what the image has, at which offset
    bpf: str  # as bpf_tracing.h names it: -D__TARGET_ARCH_…
    compiler: str  # of C, with the prefix of a cross compiler where one is needed
    libraries: Tuple[str, ...]  # where ld.so looks by default for the host's libraries

    # -- running ---------------------------------------------------------------------
    gdb: str  # GDB's "set architecture"
    qemu: str  # the program
    qemu_package: str  # Debian's
    machine: str  # QEMU's -machine
    cpu: str  # QEMU's -cpu where the accelerator is not the host's own processor
    console: str  # the first serial line, as console= wants it
    boot_words: Tuple[str, ...]  # of the kernel's command line, for this architecture alone
