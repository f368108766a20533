"""The errors that reach a user, each with the exit status it ends kernlab with.

Rooms raise these; only ``kernlab.cli`` prints them and exits. Every error says
what failed, why, and the next command to type.
"""

from __future__ import annotations


class KernlabError(Exception):
    """Something a user must be told.

    ``what`` is one line; ``why`` may be several (a console's tail, a list of
    near names); ``next_step`` is a command or an action, without a full stop.
    """

    exit_status = 1

    def __init__(self, what: str, why: str = "", next_step: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.why = why
        self.next_step = next_step

    def __str__(self) -> str:
        parts = [self.what]
        if self.why:
            parts.append(self.why)
        if self.next_step:
            parts.append(f"next: {self.next_step}")
        return "\n".join(parts)


class BadInput(KernlabError):
    """The command line or a file the user wrote is wrong (exit status 2)."""

    exit_status = 2


class HostLacks(KernlabError):
    """The host lacks a program, a right, space or a reachable mirror (exit status 3)."""

    exit_status = 3


class MachineFailed(KernlabError):
    """The guest is broken: hang, panic, no init, lost machine (exit status 4)."""

    exit_status = 4


class WeFailed(KernlabError):
    """kernlab or a tool it drives is broken, the guest is not at fault (exit status 4)."""

    exit_status = 4


class Ended(KeyboardInterrupt):
    """A signal other than SIGINT that ends kernlab in order; as with Ctrl-C, what was gathered
    is kept."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


class ReaderGone(KeyboardInterrupt):
    """Nobody reads our output any more (``| head``): the work ends in order."""
