"""The man page, made from the commands as typer knows them: man(7) macros, one section a
command, so that it cannot say anything that ``--help`` does not."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from typing import Any

from kernlab import __version__
from kernlab.cli.commands import COMMANDS, command
from kernlab.cli.main import app

_FILES = (
    (
        "$KERNLAB_HOME",
        "sources, kernels, images, runs and your own configs/; by default the "
        "platform's user data directory, ~/.local/share/kernlab",
    ),
    ("$KERNLAB_HOME/configs/*.yaml", "tables of your own, each in place of the shipped one"),
    ("$KERNLAB_HOME/runs/", "one directory a run: run.json, events.jsonl, capture.pcapng, logs"),
)
_ENVIRONMENT = (
    ("KERNLAB_HOME", "where everything is kept"),
    ("KERNLAB_ACCEL", "kvm or tcg, instead of what the self-test found"),
    ("COLUMNS", "the width of tables where there is no terminal"),
)
_STATUS = (
    ("0", "done"),
    ("1", "ran, and the verdict failed"),
    ("2", "bad input"),
    ("3", "the host lacks something; see kernlab doctor"),
    ("4", "the machine failed: hang, panic, lost"),
    ("130", "interrupted"),
    ("other", "kernlab run: the guest command's own, or 125 where kernlab itself failed"),
)


def page() -> str:
    """The whole page as roff."""
    return "\n".join(_lines()) + "\n"


def _lines() -> Iterator[str]:
    import typer

    top: Any = typer.main.get_command(app)
    yield f'.TH KERNLAB 1 "" "kernlab {__version__}" "User Commands"'
    yield ".SH NAME"
    yield r"kernlab \- a lab for the Linux network stack"
    yield ".SH SYNOPSIS"
    yield r".B kernlab"
    yield r"[\fIOPTION\fR]... \fICOMMAND\fR [\fIARGUMENT\fR]..."
    yield ".SH DESCRIPTION"
    yield from _prose(top.help or "")
    yield ".SH OPTIONS"
    yield from _parameters(top)
    yield ".SH COMMANDS"
    for name in COMMANDS:
        yield from _command(f"kernlab {name}", command(name))
    for title, rows in (("EXIT STATUS", _STATUS), ("ENVIRONMENT", _ENVIRONMENT), ("FILES", _FILES)):
        yield f".SH {title}"
        for term, text in rows:
            yield from (".TP", rf"\fB{_escape(term)}\fR", _escape(text))


def _command(words: str, what: Any) -> Iterator[str]:
    arguments = [_value(p) for p in what.params if p.param_type_name == "argument"]
    yield f".SS {_escape(' '.join([words, *arguments]))}"
    yield from _prose(what.help or "")
    yield from _parameters(what)
    for name, inner in sorted(getattr(what, "commands", {}).items()):
        yield from _command(f"{words} {name}", inner)


def _parameters(what: Any) -> Iterator[str]:
    context = what.context_class(what, info_name=what.name, **what.context_settings)
    for parameter in what.get_params(context):
        # Every command has --help; it is said once, at the top.
        if getattr(parameter, "hidden", False) or parameter.opts == ["--help"]:
            continue
        if parameter.param_type_name == "argument":
            term = _value(parameter)
        else:
            names = [*parameter.opts, *parameter.secondary_opts]
            term = ", ".join(sorted(names, key=len))
            if not (parameter.is_flag or parameter.count):
                term += f" {_value(parameter)}"
        text = parameter.help or ""
        default = parameter.default
        if isinstance(default, (int, str, float)) and not isinstance(default, bool) and default:
            text += f" Default: {default}."
        yield from (".TP", rf"\fB{_escape(term)}\fR", _escape(text.strip()))


def _value(parameter: Any) -> str:
    """What stands for a value. Not click's make_metavar: typer's own click has none."""
    text = str(parameter.metavar or parameter.name.upper())
    optional = parameter.param_type_name == "argument" and not parameter.required
    return f"[{text}]" if optional and not text.startswith("[") else text


def _prose(text: str) -> Iterator[str]:
    """Paragraphs; a 'Try:' is an example of its own."""
    for paragraph in re.split(r"\n\s*\n", inspect.cleandoc(text)):
        words = " ".join(paragraph.split())
        if not words:
            continue
        body, _, example = words.partition("Try: ")
        if body:
            yield from (".PP", _escape(body.strip()))
        if example:
            yield from (".PP", ".RS", rf"\fB{_escape(example)}\fR", ".RE")


def _escape(text: str) -> str:
    """A line of text for roff: no escape, no request, real minus signs and ASCII quotes."""
    text = text.replace("\\", r"\e").replace("-", r"\-").replace("`", r"\(ga")
    text = text.replace("'", r"\(aq").replace("^", r"\(ha").replace("~", r"\(ti")
    text = text.replace("…", "...")
    return rf"\&{text}" if text.startswith(".") else text
