"""The commands there are; what each of them is, is imported when it is asked for."""

from __future__ import annotations

import importlib
import inspect
import re
from typing import Any

import typer
from typer.core import TyperGroup

from kernlab.errors import as_called

# Command → module and one line of help, so that `kernlab --help` imports no command.
COMMANDS: dict[str, tuple[str, str]] = {
    "trace": ("trace", "Show packets, sockets and call stacks as they pass a function"),
    "graph": ("graph", "Show what one call of a function calls, as a tree with durations"),
    "debug": ("debug", "Start GDB on a booted guest, stopped at a function, with helper commands"),
    "rst": ("rst", "Find out who sent a RST, and why: the frame, the condition, the remedy"),
    "lab": ("lab", "Run lessons: each way that TCP sends a RST, with a checked verdict"),
    "race": ("race", "Force races: hold one vCPU at an instant while the other runs"),
    "bpf": ("bpf", "Build libbpf programs and run them in the guest"),
    "boot": ("boot", "Boot a guest with its console in this terminal"),
    "run": ("run", "Boot a guest, run a command in it, exit with its status"),
    "fetch": ("fetch", "Fetch a kernel's source tree and verify it"),
    "build": ("build", "Build a kernel (cached)"),
    "doctor": ("doctor", "Check the host; --install installs what is missing"),
    "image": ("image", "Assemble a guest image (cached)"),
    "show": ("show", "Show a run's events again, filtered"),
    "report": ("report", "Write a run's report.html: diagrams, journeys, states"),
    "ps": ("machines", "List running machines"),
    "stop": ("machines", "Stop machines"),
    "clean": ("clean", "Free disk, by kind"),
    "config": ("config", "Print schemas, the expression language, the man page; check files"),
    "bench": ("bench", "Measure engines side by side on one guest"),
}


def command(name: str) -> Any:
    """A command as click knows it, its module imported."""
    module = importlib.import_module(f"kernlab.cli.{COMMANDS[name][0]}")
    app: typer.Typer = module.app
    found: Any = typer.main.get_command(app)
    if isinstance(found, TyperGroup) and name in found.commands and name != "config":
        found = found.commands[name]
    found.name = name
    _call_as_called(found)
    return found


def _call_as_called(what: Any) -> None:
    """The commands in a command's help, as the user has to type them."""
    what.help = help_text(what.help)
    for parameter in what.params:
        if getattr(parameter, "help", None):
            parameter.help = as_called(parameter.help)
    for inner in getattr(what, "commands", {}).values():
        _call_as_called(inner)


def help_text(text: str | None) -> str:
    """A docstring for a terminal: its paragraphs as long as the terminal is wide."""
    return as_called(re.sub(r"(?<!\n)\n(?!\n|Try: )", " ", inspect.cleandoc(text or "")))
