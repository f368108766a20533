"""The errors that reach a user, each with the exit status it ends kernlab with.

Rooms raise these; only ``kernlab.cli`` prints them and exits. Every error says
what failed, why, and the next command to type.
"""

from __future__ import annotations

import os
import re
import shlex

# A command in a text: the program's name, then one of its commands (kernlab.cli.commands.COMMANDS).
_COMMAND = re.compile(
    r"(?<![\w./-])kernlab(?= (?:trace|graph|debug|rst|lab|race|bpf|boot|run|fetch|build|doctor"
    r"|image|show|report|ps|stop|clean|config|bench)\b)"
)


def called() -> str:
    """How the user starts kernlab: ``kernlab``, or the path of the script in a checkout, which
    names itself in the environment."""
    return shlex.quote(os.environ.get("KERNLAB_CALLED") or "kernlab")


def as_called(text: str) -> str:
    """A text in which each command begins as the user has to type it."""
    name = called()
    return text if name == "kernlab" else _COMMAND.sub(lambda _: name, text)


class KernlabError(Exception):
    """Something a user must be told.

    ``what`` is one line; ``why`` may be several (a console's tail, a list of near names).
    ``next_step`` is a command that runs as it is printed, or an action that begins with a verb,
    without a full stop. ``--engine gdb`` stands for the same command line with this option,
    ``without --tui`` for the same without it, ``again`` for the same as it was
    (``kernlab.cli.again`` writes them out).
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
