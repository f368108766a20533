"""What a process is given and how it ends: descriptors, signals, a reader that goes away."""

from __future__ import annotations

import errno
import io
import os
import select
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from types import FrameType
from typing import Any

from kernlab.errors import Ended, ReaderGone

_STREAMS = (("stdin", os.O_RDONLY), ("stdout", os.O_WRONLY), ("stderr", os.O_WRONLY))
# The terminal went away (EIO) or the reader did: nobody is left to print to.
_GONE = (BrokenPipeError, ConnectionResetError)


class _Output(io.FileIO):
    """stdout or stderr. One that does not block is waited for (whoever shares the terminal may
    have set it so). An error of stdout's names it; stderr's are dropped: a run does not end
    because its progress cannot be shown."""

    def __init__(self, fd: int, called: str) -> None:
        super().__init__(fd, "wb", closefd=False)
        self._called = called

    def write(self, data: Any) -> int:
        try:
            while (count := super().write(data)) is None:
                select.select([], [self], [])
        except OSError as error:
            if self._called == "stderr":
                return len(data)
            error.filename = self._called
            raise
        return count


def prepare() -> None:
    """Make the three standard descriptors usable, and SIGTERM and SIGHUP ends in order.

    One that is closed becomes /dev/null, else the next file that is opened would take its
    number. A letter that the terminal's encoding lacks is printed as '?'.
    """
    for number, (name, flags) in enumerate(_STREAMS):
        try:
            os.fstat(number)
        except OSError:
            opened = os.open(os.devnull, flags)
            if opened != number:
                os.dup2(opened, number)
                os.close(opened)
            os.set_inheritable(number, True)
        old = getattr(sys, name)
        encoding = getattr(old, "encoding", None) or "utf-8"
        if number == 0:
            if old is None:
                sys.stdin = open(0, encoding=encoding, closefd=False)  # noqa: SIM115
            continue
        stream = io.TextIOWrapper(
            io.BufferedWriter(_Output(number, name)),
            encoding,
            "replace",
            line_buffering=number == 2 or os.isatty(number),
        )
        setattr(sys, name, stream)
    for one in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(one) != signal.SIG_IGN:  # nohup stays nohup
            signal.signal(one, _end)


def _end(number: int, frame: FrameType | None) -> None:
    # A terminal that closes and the shell in it both send SIGHUP: the second one must not
    # interrupt the ending. No SIG_IGN, which a child would inherit.
    for one in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(one) != signal.SIG_IGN:
            signal.signal(one, lambda number, frame: None)
    raise Ended(number)


def reader_gone(error: BaseException) -> bool:
    """Whether it says that nobody reads our output any more; rich makes a SystemExit of it."""
    if isinstance(error, SystemExit):
        error = error.__context__ or error
    if isinstance(error, OSError) and error.errno == errno.EIO:
        return bool(error.filename == "stdout")
    return isinstance(error, _GONE)


def print_to_nobody() -> None:
    """What is printed from now on is dropped, what waits in a buffer included."""
    with suppress(OSError):
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, 1)
        os.close(null)


def until_unread(call: Callable[[Any], None]) -> Callable[[Any], None]:
    """``call``, which prints; when its reader goes away (head) it raises ``ReaderGone`` once
    and is silent from then on."""
    gone = False

    def shown(value: Any) -> None:
        nonlocal gone
        if gone:
            return
        try:
            call(value)
        except (OSError, SystemExit) as error:
            if not reader_gone(error):
                raise
            gone = True
            print_to_nobody()
            raise ReaderGone from error

    return shown
