"""This terminal and the guest's console, joined."""

from __future__ import annotations

import os
import select
import socket
import sys
import termios
import tty
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

ESCAPE = b"\x1d"  # Ctrl-], as in telnet


@contextmanager
def raw(fd: int) -> Iterator[None]:
    """Raw mode while the block runs, where ``fd`` is a terminal; restored whatever happens."""
    if not os.isatty(fd):
        yield
        return
    before = termios.tcgetattr(fd)
    try:
        tty.setraw(fd)
        yield
    finally:
        termios.tcsetattr(fd, termios.TCSADRAIN, before)


def join(console: socket.socket, alive: Callable[[], bool]) -> bool:
    """Copy both ways until the guest is gone or the user presses Ctrl-].

    True when the user left. End of input, where it is no terminal, ends nothing: the
    guest's output goes on.
    """
    stdin, stdout = sys.stdin.fileno(), sys.stdout.fileno()
    watched: list[int | socket.socket] = [console, stdin]
    with raw(stdin):
        while True:
            ready, _, _ = select.select(watched, [], [], 0.5)
            if console in ready:
                data = console.recv(65536)
                if not data:
                    return False
                _write(stdout, data)
            if stdin in ready:
                typed = os.read(stdin, 4096)
                if not typed:
                    watched.remove(stdin)
                before, escape, _ = typed.partition(ESCAPE)
                with suppress(OSError):
                    console.sendall(before)
                if escape:
                    return True
            if not ready and not alive():
                return False


def _write(fd: int, data: bytes) -> None:
    while data:
        data = data[os.write(fd, data) :]
