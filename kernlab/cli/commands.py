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
    "graph": ("graph", "What one call of a function called, as a tree with durations"),
    "debug": ("debug", "GDB on the booted lab, stopped at a function, with helper commands"),
    "rst": ("rst", "Who sent this RST, and why: the frame, the condition, the remedy"),
    "lab": ("lab", "Lessons: each way TCP sends a RST, with a verdict that is checked"),
    "race": ("race", "Races forced: one vCPU held at an instant while the other runs"),
    "bpf": ("bpf", "libbpf programs of your own, and four of ours, in the guest"),
    "boot": ("boot", "Boot the guest, its console in this terminal"),
    "run": ("run", "Boot, run a command in the guest, end with its status"),
    "fetch": ("fetch", "Fetch a kernel's source tree, verified"),
    "build": ("build", "Build a kernel (cached)"),
    "doctor": ("doctor", "Check the host; --install closes the gaps"),
    "image": ("image", "Assemble a guest image (cached)"),
    "show": ("show", "Show a run's events again, filtered"),
    "report": ("report", "Write a run's report.html: diagrams, journeys, states"),
    "ps": ("machines", "List running machines"),
    "stop": ("machines", "Stop machines"),
    "clean": ("clean", "Free disk, by kind"),
    "config": ("config", "Schemas for editors, a check of files, the man page"),
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
