"""The next step of an error as a line to type: the user's own command line with other options."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Sequence
from typing import Any

from kernlab.errors import KernlabError, as_called

_LOG = re.compile(r"read (\S+) in the run directory")
_WITHOUT = "without "
_AGAIN = "again"


def next_line(step: str, words: Sequence[str]) -> str:
    """What ``KernlabError.next_step`` stands for after a command line's ``words`` (without the
    program's name): "--engine gdb" is these with that option, "without --tui" without it, "again"
    the same, and "read console.log in the run directory" names this process' own. Another step
    stays as it is."""
    log = _LOG.fullmatch(step)
    if log is not None:
        return _reading(log[1]) or step
    if not (step.startswith(("--", _WITHOUT + "--")) or step == _AGAIN):
        return as_called(step)
    own, rest = list(words), []
    if "--" in own:
        cut = own.index("--")
        own, rest = own[:cut], own[cut:]
    changes = [] if step == _AGAIN else shlex.split(step.removeprefix(_WITHOUT))
    command, depth = _command(own)
    for option in (word for word in changes if word.startswith("--")):
        own = [*own[:depth], *_less(own[depth:], option, command, changes)]
    if not step.startswith(_WITHOUT) and step != _AGAIN:
        late = rest or getattr(command, "allow_interspersed_args", True)
        own = [*own, *changes] if late else [*own[:depth], *changes, *own[depth:]]
    return as_called(shlex.join(["kernlab", *own, *rest]))


def _reading(name: str) -> str:
    """The command that shows a file of the run that this process made; empty where it made none
    under the home directory."""
    from kernlab.record.rundir import runs

    for run in reversed(list(runs())):
        try:
            owner = run.owner()
        except KernlabError:
            continue
        mine = owner is not None and owner.pid == os.getpid()
        if mine and (run.path / name).is_file():
            return f"less {shlex.quote(str(run.path / name))}"
    return ""


def _command(words: Sequence[str]) -> tuple[Any, int]:
    """The command that the words name, as click knows it, and how many words that takes."""
    from kernlab.cli.commands import COMMANDS, command

    for depth, word in enumerate(words, 1):
        if word in COMMANDS:
            found: Any = command(word)
            while depth < len(words) and words[depth] in getattr(found, "commands", {}):
                found = found.commands[words[depth]]
                depth += 1
            return found, depth
    return None, len(words)


def _less(words: Sequence[str], option: str, command: Any, changes: Sequence[str]) -> list[str]:
    """The words without an option, by any of its names, and without its value. One that can be
    repeated keeps its other values where ``changes`` give one more."""
    parameter = next((p for p in getattr(command, "params", ()) if option in p.opts), None)
    names = [*parameter.opts, *parameter.secondary_opts] if parameter is not None else [option]
    alone = parameter is None or parameter.is_flag or parameter.count
    more = bool(parameter is not None and parameter.multiple and set(changes) - set(names))
    kept: list[str] = []
    left = iter(words)
    for word in left:
        if word in names:
            value = "" if alone else next(left, "")
            if more and value not in changes:
                kept += [word, value]
        elif not any(_holds(word, name) for name in names):
            kept.append(word)
    return kept


def _holds(word: str, name: str) -> bool:
    """Whether one word is an option with its value: --count=5, -n5."""
    if name.startswith("--"):
        return word.startswith(f"{name}=")
    return word.startswith(name) and not word.startswith("--")
