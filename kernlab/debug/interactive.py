"""GDB in the user's terminal.

GDB owns the terminal while it runs: Ctrl-C, Ctrl-\\ and Ctrl-Z are meant for it, and kernlab,
which is in the same process group, lets the first two pass. The user's own ~/.gdbinit is read
before anything of ours, so what it sets up (pwndbg, gef) is there and stays as it is.

The inner half is gdb_scripts.session; it tells where it is over a socket that stays open
until GDB ends.
"""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import sys
import termios
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kernlab.config.paths import python_path
from kernlab.debug.places import Stop
from kernlab.debugger.mi import REMOTE_TIMEOUT
from kernlab.decode.plans import SessionNews
from kernlab.errors import WeFailed
from kernlab.process import Child, need
from kernlab.symbols import sites
from kernlab.symbols.kernel import KernelSymbols

_TURN = 0.5  # seconds between two looks at whether GDB still lives
_ATTACH = 120.0  # seconds for GDB to load the kernel's symbols and the user's plug-ins


@dataclass(frozen=True)
class Wish:
    """What a session is to be. ``commands`` run after the stop, in GDB's language;
    ``timeout``: seconds to wait for the first stop."""

    stops: tuple[Stop, ...]
    commands: tuple[str, ...] = ()
    tui: bool = False
    timeout: float = 60.0


def settings(
    wish: Wish,
    symbols: KernelSymbols,
    release: str,
    marks: dict[str, str],
    machine: Path,
    scripts: Path,
) -> dict[str, Any]:
    """What GDB's side is told: ``machine`` is the directory of its sockets, ``scripts`` a
    directory to be made for the kernel's own GDB scripts."""
    return {
        "gdb": str(machine / "gdb.sock"),
        "remote_timeout": REMOTE_TIMEOUT,
        "news": str(machine / "debug.sock"),
        "kernel": str(symbols.files.directory),
        "source": str(symbols.files.source),
        "release": release,
        "lx": str(scripts),
        "layout": symbols.layout(),
        "orc": str(symbols.orc()),
        "sites": sites.specs(),
        "marks": marks,
        "breaks": [stop.location for stop in wish.stops],
        "functions": [stop.name for stop in wish.stops],
    }


def arguments(gdb: str, vmlinux: Path, wish: Wish, told: Path) -> list[str]:
    """GDB's command line. ``told`` is the file of the settings."""
    path = [str(entry) for entry in python_path()]
    # Our folders are on GDB's path only while our modules are imported: the interpreter also
    # runs the user's plug-ins, which must not find another Python's packages there.
    load = (
        "python import sys; kl_old = sys.path[:], sys.dont_write_bytecode; "
        f"sys.path[:0] = {path!r}; sys.dont_write_bytecode = True; "
        "from gdb_scripts import session as kl_session; "
        "sys.path[:], sys.dont_write_bytecode = kl_old; "
        f"kl_session.attach({str(told)!r})"
    )
    steps = [load]
    if wish.stops:
        steps.append("continue")
    steps += ["python kl_session.arrived()", *wish.commands]
    argv = [gdb, "-q"]
    if wish.tui:
        argv.append("-tui")
    # The kernel's scripts would be loaded as they are, or GDB would say why it does not.
    argv += ["-iex", "set auto-load python-scripts off", "-iex", "set debuginfod enabled off"]
    argv.append(str(vmlinux))
    for step in steps:
        argv += ["-ex", step]
    return argv


class Session:
    """One GDB in this terminal; ``run`` returns its exit status."""

    def __init__(self, wish: Wish, vmlinux: Path, told: Path, sockets: Path) -> None:
        self._wish = wish
        self._told = told
        self._news = sockets / "debug.sock"
        self._argv = arguments(need("gdb", "drives the guest kernel", "gdb"), vmlinux, wish, told)
        self._heard = b""
        self._deadline: float | None = None
        self.gone = False  # the guest has ended under GDB: QEMU has, or is about to

    def run(self, content: dict[str, Any], on_armed: Callable[[], None]) -> int:
        """Start GDB and stay until it ends. ``on_armed`` is called when the breakpoints stand.

        Raises ``WeFailed`` when GDB cannot attach, or dies.
        """
        self._told.write_text(json.dumps(content), "utf-8")
        with ExitStack() as stack:
            listener = stack.enter_context(socket.socket(socket.AF_UNIX))
            listener.bind(str(self._news))
            listener.listen(1)
            kept = stack.enter_context(_terminal_kept(self._wish.tui))
            stack.enter_context(_keys_are_for_gdb())
            gdb = stack.enter_context(
                Child(self._argv, stdin=None, stdout=None, stderr=None, foreground=True)
            )
            kept.gdb = gdb
            # When it is ended from here it is not asked: GDB's way out on SIGTERM shows a
            # traceback of its Python, and the guest it would let go ends as well.
            stack.callback(gdb.signal, signal.SIGKILL)
            self._watch(gdb, listener, stack, on_armed)
            status = gdb.wait(_ATTACH)
        if status < 0:
            raise WeFailed(
                f"GDB died of signal {-status}",
                "its output is above",
                "kernlab debug again; if it persists, without ~/.gdbinit",
            )
        return status

    def _watch(
        self, gdb: Child, listener: socket.socket, stack: ExitStack, on_armed: Callable[[], None]
    ) -> None:
        """Follow the session's news until GDB ends."""
        self._deadline = time.monotonic() + _ATTACH
        news: socket.socket | None = None
        while gdb.poll() is None:
            source = news or listener
            ready, _, _ = select.select([source], [], [], _TURN)
            if ready and news is None:
                news = stack.enter_context(listener.accept()[0])
                self._deadline = None
            elif ready and news is not None:
                data = news.recv(4096)
                if not data:
                    return  # GDB is ending: it held the other end
                for one in self._lines(data):
                    self._take(one, on_armed)
            if self._deadline is not None and time.monotonic() > self._deadline:
                self._deadline = None
                self._too_long(gdb, news is None)

    def _lines(self, data: bytes) -> Iterator[SessionNews]:
        *lines, self._heard = (self._heard + data).split(b"\n")
        yield from map(json.loads, lines)

    def _take(self, news: SessionNews, on_armed: Callable[[], None]) -> None:
        if news["at"] == "armed":
            if self._wish.stops:
                self._deadline = time.monotonic() + self._wish.timeout
            on_armed()
        elif news["at"] == "stopped":
            self._deadline = None
        elif news["at"] == "gone":
            self.gone = True
        else:
            raise WeFailed(
                "GDB could not attach to the guest",
                news["why"],
                "kernlab debug again; if it persists, without ~/.gdbinit",
            )

    def _too_long(self, gdb: Child, attaching: bool) -> None:
        if attaching:
            raise WeFailed(
                f"GDB was not ready in {_ATTACH:g} s",
                "it loads the kernel's debug info, after your own gdbinit",
                "kernlab debug again; if it persists, without ~/.gdbinit",
            )
        gdb.signal(signal.SIGINT)  # as Ctrl-C: GDB stops the guest and goes on


@contextmanager
def _keys_are_for_gdb() -> Iterator[None]:
    """Let SIGINT and SIGQUIT pass: the terminal sends them to GDB as well.

    A handler that does nothing, not SIG_IGN: that would be inherited by GDB.
    """
    before = {}
    for number in (signal.SIGINT, signal.SIGQUIT):
        before[number] = signal.signal(number, lambda *_: None)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@dataclass
class _Kept:
    """The GDB that has the terminal, once it runs."""

    gdb: Child | None = None


@contextmanager
def _terminal_kept(tui: bool) -> Iterator[_Kept]:
    """Give the terminal back as it was, also from a GDB that was killed."""
    kept = _Kept()
    if not sys.stdin.isatty():
        yield kept
        return
    fd = sys.stdin.fileno()
    before = termios.tcgetattr(fd)
    try:
        yield kept
    finally:
        with suppress(termios.error):
            termios.tcsetattr(fd, termios.TCSADRAIN, before)
        if kept.gdb is not None and (kept.gdb.returncode or 0) < 0 and os.isatty(1):
            # What readline and curses switch on, and would have switched off again.
            with suppress(OSError):
                os.write(1, b"\x1b[?2004l" + (b"\x1b[?1049l\x1b[?25h" if tui else b"") + b"\r\n")


def commands_of(lines: Sequence[str]) -> tuple[str, ...]:
    """``--ex`` as given, without empty ones."""
    return tuple(line for line in lines if line.strip())
