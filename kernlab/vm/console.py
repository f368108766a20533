"""The guest's serial console: a reader that never stops reading, and what it tells.

QEMU writes every byte to console.log itself; the reader here follows the socket so
that boot stages and a panic are seen the moment they are printed.
"""

from __future__ import annotations

import re
import socket
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

TAIL_LINES = 30
_MAX_LINE = 4096
_CONTROL = re.compile(rb"\x1b\[[0-9;?]*[A-Za-z]|\x1b[c78=>]|[\x00-\x08\x0b-\x1f\x7f]")


@dataclass(frozen=True)
class Verdict:
    """What a console line says about a machine that will not come up or has died."""

    what: str
    next_step: str


# What the kernel prints when it is over: kernel/panic.c panic(), init/main.c
# kernel_init() and init/do_mounts.c. The first pattern that matches a line wins.
FATAL: tuple[tuple[re.Pattern[str], Verdict], ...] = (
    (
        re.compile(r"Kernel panic - not syncing: (No working init found|Requested init)"),
        Verdict("the guest found no init", "kernlab clean images && kernlab image busybox"),
    ),
    (
        re.compile(r"Kernel panic - not syncing: VFS: Unable to mount root"),
        Verdict(
            "the guest found no root file system", "kernlab clean images && kernlab image busybox"
        ),
    ),
    (
        re.compile(r"Kernel panic - not syncing: Attempted to kill init"),
        Verdict("the guest's init died", "read console.log in the run directory"),
    ),
    (
        re.compile(r"Kernel panic - not syncing"),
        Verdict("the guest kernel panicked", "read console.log in the run directory"),
    ),
)


def fatal(line: str) -> Verdict | None:
    """The verdict that a console line gives, if it is a last word."""
    if "panic" not in line:
        return None
    return next((verdict for pattern, verdict in FATAL if pattern.search(line)), None)


def clean(raw: bytes) -> str:
    """A console line as text a terminal cannot be harmed by."""
    return _CONTROL.sub(b"", raw).decode("utf-8", "replace")


class Console:
    """Reads the console socket in a thread, until ``detach`` hands it to somebody else.

    ``on_line`` is called in the reader's thread with each complete line.
    """

    def __init__(self, connected: socket.socket, on_line: Callable[[str], None]) -> None:
        self._socket = connected
        self._on_line = on_line
        self._lines: deque[str] = deque(maxlen=TAIL_LINES)
        self._partial = b""
        self._on_bytes: Callable[[bytes], None] | None = None
        self._lock = threading.Lock()
        self._detach_in, self._detach_out = socket.socketpair()
        self._thread = threading.Thread(target=self._read, name="console", daemon=True)
        self._thread.start()

    def _read(self) -> None:
        import select

        while True:
            ready, _, _ = select.select([self._socket, self._detach_out], [], [])
            if self._detach_out in ready:
                return
            try:
                data = self._socket.recv(65536)
            except OSError:
                data = b""
            if not data:
                return
            self._take(data)

    def _take(self, data: bytes) -> None:
        with self._lock:
            if self._on_bytes is not None:
                self._on_bytes(data)
            *lines, rest = (self._partial + data).split(b"\n")
            if len(rest) > _MAX_LINE:
                # A console that floods without a newline must not fill our memory.
                lines.append(rest)
                rest = b""
            self._partial = rest
            texts = [clean(line) for line in lines]
            self._lines.extend(texts)
        for text in texts:
            self._on_line(text)

    def follow(self, call: Callable[[bytes], None]) -> None:
        """Also give every byte to ``call`` as it comes, from the last lines on."""
        with self._lock:
            text = "".join(f"{line}\r\n" for line in self._lines)
            call(text.encode() + self._partial)
            self._on_bytes = call

    def tail(self) -> list[str]:
        """The last lines printed, the unfinished one included."""
        with self._lock:
            last = clean(self._partial)
            return [*self._lines, last] if last else list(self._lines)

    def detach(self) -> socket.socket:
        """Stop reading and give the socket away (an interactive session takes over)."""
        self._detach_in.send(b"x")
        self._thread.join(5.0)
        return self._socket

    def close(self) -> None:
        if self._thread.is_alive():
            self.detach()
        for end in (self._socket, self._detach_in, self._detach_out):
            end.close()
