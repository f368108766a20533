"""x86-64. The calling convention is the System V ABI's (AMD64 supplement, 3.2.3)."""

from __future__ import annotations

from kernlab.decode.arch.model import Arch

X86_64 = Arch(
    name="x86_64",
    title="x86-64",
    pc="rip",
    sp="rsp",
    fp="rbp",
    result="rax",
    arguments=("rdi", "rsi", "rdx", "rcx", "r8", "r9"),
    # arch/x86/kernel/ptrace.c, regoffset_table
    kprobe={
        "rdi": "%di",
        "rsi": "%si",
        "rdx": "%dx",
        "rcx": "%cx",
        "r8": "%r8",
        "r9": "%r9",
        "rax": "%ax",
        "r10": "%r10",
    },
    # gdb/features/i386/64bit-core.xml
    remote=(
        *("rax", "rbx", "rcx", "rdx", "rsi", "rdi", "rbp", "rsp"),
        *("r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15", "rip"),
    ),
    # arch/x86/include/asm/ptrace.h
    saved={
        "r13": 16,
        "rbp": 32,
        "r10": 56,
        "rdx": 96,
        "rdi": 112,
        "rip": 128,
        "cs": 136,
        "rsp": 152,
    },
    # arch/x86/kernel/rethook.c since v6.1, kprobes/core.c before
    return_trampolines=(
        "arch_rethook_trampoline",
        "__kretprobe_trampoline",
        "kretprobe_trampoline",
    ),
    trace_clock="x86-tsc",
    returns=("ret", "retq", "iret", "iretq", "hlt"),
    jumps=("jmp", "jmpq"),
    branch="j",
    calls=("call", "callq"),
    prefixes=("lock", "rep", "repz", "repnz", "bnd", "notrack", "cs", "ds", "data16"),
    lock="lock",
    srcarch="x86",
    image="bzImage",
    boot="arch/x86/boot/bzImage",
    magic=(0x202, b"HdrS"),  # Documentation/x86/boot.rst
    bpf="x86",
    compiler="gcc",
    libraries=(
        "/lib/x86_64-linux-gnu",
        "/usr/lib/x86_64-linux-gnu",
        "/lib64",
        "/usr/lib64",
        "/lib",
        "/usr/lib",
    ),
    gdb="i386:x86-64",
    qemu="qemu-system-x86_64",
    qemu_package="qemu-system-x86",
    machine="q35,usb=off,vmport=off,smbus=off,sata=off,hpet=off,graphics=off",
    cpu="qemu64,+rdrand",
    console="ttyS0",
    # no_timer_check: the kernel counts ticks for a moment at boot, and panics when a busy host
    # gave the vCPU no time (arch/x86/kernel/apic/io_apic.c, timer_irq_works()).
    boot_words=("tsc=reliable", "no_timer_check"),
)
