#!/usr/bin/env python3
"""A QEMU that fails at one mechanism, in front of the real one in PATH.

The file that SABOTAGE names has it: boot, breakpoint, watchpoint, hold, restore, or nothing.
The gdbstub's packets are changed on their way, so that everything else is the real thing;
"-accel kvm" becomes TCG, so that a host without KVM can play one that has it.
"""

from __future__ import annotations

import os
import shutil
import socket
import sys
import threading
from contextlib import suppress
from pathlib import Path

OK = b"$OK#9a"


def wanted() -> str:
    return Path(os.environ["SABOTAGE"]).read_text()


def packet(data: bytes) -> bytes:
    return b"$%s#%02x" % (data, sum(data) & 255)


def changed(data: bytes) -> tuple[bytes, bytes]:
    """A packet as QEMU gets it, and what the debugger gets at once instead of an answer."""
    what = wanted()
    if what == "breakpoint" and data[:2] in (b"Z0", b"z0"):
        return b"", OK
    if what == "watchpoint" and data[:2] in (b"Z4", b"z4"):
        return b"", OK
    if what == "hold" and data.startswith(b"vCont;c:"):
        return packet(b"vCont;c"), b""
    return packet(data), b""


def towards_qemu(debugger: socket.socket, stub: socket.socket) -> None:
    rest = b""
    while more := debugger.recv(1 << 16):
        rest += more
        while rest:
            if rest[:1] != b"$":
                stub.sendall(rest[:1])
                rest = rest[1:]
                continue
            end = rest.find(b"#")
            if end < 0 or len(rest) < end + 3:
                break
            forth, back = changed(rest[1:end])
            rest = rest[end + 3 :]
            stub.sendall(forth)
            debugger.sendall(back)


def from_qemu(stub: socket.socket, debugger: socket.socket) -> None:
    with suppress(OSError):
        while data := stub.recv(1 << 16):
            debugger.sendall(data)


def between(outside: socket.socket, inside: str) -> None:
    while True:
        debugger, _ = outside.accept()
        stub = socket.socket(socket.AF_UNIX)
        stub.connect(inside)
        back = threading.Thread(target=from_qemu, args=(stub, debugger), daemon=True)
        back.start()
        # A debugger that leaves with a packet unread resets the connection; the next one comes.
        with suppress(OSError):
            towards_qemu(debugger, stub)
        with suppress(OSError):
            stub.shutdown(socket.SHUT_RDWR)
        back.join()
        debugger.close()


def main() -> None:
    real = shutil.which("qemu-system-x86_64", path=os.environ["REAL_PATH"])
    assert real is not None
    argv = [real, *sys.argv[1:]]
    if wanted() == "boot" and "-kernel" in argv:
        sys.exit("could not set up a guest")
    if wanted() == "restore" and "-incoming" in argv:
        sys.exit("this accelerator restores no guest")
    for number, word in enumerate(argv):
        if word == "kvm":
            argv[number] = "tcg,thread=multi"
        if word == "host":
            argv[number] = "qemu64,+rdrand"
        if word.startswith("socket,id=gdb,fd="):
            outside = socket.socket(fileno=int(word.split("fd=")[1].split(",")[0]))
            path = outside.getsockname() + ".real"
            inside = socket.socket(socket.AF_UNIX)
            inside.bind(path)
            inside.listen(1)
            inside.set_inheritable(True)
            argv[number] = f"socket,id=gdb,fd={inside.fileno()},server=on,wait=off"
            parent = os.getpid()
            if os.fork() == 0:
                inside.close()
                threading.Thread(target=between, args=(outside, path), daemon=True).start()
                while os.getppid() == parent:
                    threading.Event().wait(0.1)
                os._exit(0)
    os.execv(real, argv)


if __name__ == "__main__":
    main()
