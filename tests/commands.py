"""The commands that kernlab's own texts tell a user to type: where they are, and whether typer
takes them."""

from __future__ import annotations

import ast
import importlib
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer
import yaml

from kernlab import errors
from kernlab.cli.commands import COMMANDS, command

ROOT = Path(__file__).resolve().parents[1]
SAMPLE = "1"  # what stands for a value that a text is given: a number and a word at once
_NAMES = "|".join(COMMANDS)
_COMMAND = re.compile(rf"(?<![\w./-])(?:kernlab|\./lab) (?:{_NAMES})\b[^`\n]*")
# Where a command ends in a sentence: at a mark that no word of it holds, or at the next word.
_END = re.compile(
    r"""((?:"[^"]*"|'[^']*'|[^'"])*?)"""
    r"""(?:[,;:)(·](?=\s|$)|\.(?=\s|$)|\s(?:or|and|with|for|when|says|makes|tells|takes|then|&&|\||#|→)\s|\s[<>]|\s\s|$)"""
)


def steps_of(call: ast.Call, known: dict[str, ast.expr]) -> Iterator[str]:
    """The next lines that an error's call can be given, sample values in them."""
    # kernlab.config.yaml.unknown() has it fourth; places.unknown() makes one of its own.
    at = 3 if _name(call.func) == "unknown" else 2
    at = 1 if _name(call.func) == "Verdict" else at
    found = [k.value for k in call.keywords if k.arg == "next_step"] or call.args[at : at + 1]
    for node in found:
        yield from texts(node, known)


def texts(node: ast.expr, known: dict[str, ast.expr]) -> Iterator[str]:
    """What an expression of text can become."""
    if isinstance(node, ast.Constant):
        yield str(node.value)
    elif isinstance(node, ast.JoinedStr):
        parts = [""]
        for value in node.values:
            ends = list(texts(value, known))
            parts = [part + end for part in parts for end in ends]
        yield from parts
    elif isinstance(node, ast.FormattedValue):
        inner = list(texts(node.value, known))
        yield from inner
    elif isinstance(node, ast.IfExp):
        yield from texts(node.body, known)
        yield from texts(node.orelse, known)
    elif isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        for left in texts(node.left, known):
            for right in texts(node.right, known):
                yield left + right
    elif isinstance(node, ast.Name) and node.id in known:
        yield from texts(known[node.id], {k: v for k, v in known.items() if k != node.id})
    else:
        yield SAMPLE


def error_classes() -> set[str]:
    """Names of the errors that carry a next line, wherever they are made."""
    for path in (ROOT / "kernlab").rglob("*.py"):
        if path.name not in ("__main__.py", "__init__.py"):
            importlib.import_module(".".join(path.relative_to(ROOT).with_suffix("").parts))
    names, todo = set(), [errors.KernlabError]
    while todo:
        one = todo.pop()
        names.add(one.__name__)
        todo += one.__subclasses__()
    return names


def next_lines() -> Iterator[tuple[str, str]]:
    """Place and text of each next line in the code."""
    # A capture's Damaged says where in the file, and what to do by itself.
    kinds = error_classes() - {"Damaged"} | {"unknown", "Verdict"}
    for path in sorted((ROOT / "kernlab").rglob("*.py")):
        tree = ast.parse(path.read_text())
        for scope in ast.walk(tree):
            if not isinstance(scope, (ast.FunctionDef, ast.Module)):
                continue
            known = _assigned(scope, tree)
            for node in _own(scope):
                if isinstance(node, ast.Call) and _name(node.func) in kinds:
                    for text in steps_of(node, known):
                        yield f"{path.relative_to(ROOT)}:{node.lineno}", text


def _own(scope: ast.AST) -> Iterator[ast.AST]:
    """The nodes of a function or a module without those of the functions in it."""
    for child in ast.iter_child_nodes(scope):
        if not isinstance(child, ast.FunctionDef):
            yield child
            yield from _own(child)


def _name(func: ast.expr) -> str:
    return func.attr if isinstance(func, ast.Attribute) else getattr(func, "id", "")


def _assigned(scope: ast.AST, tree: ast.Module) -> dict[str, ast.expr]:
    """The names that a function and its module set once, to what."""
    found: dict[str, list[ast.expr]] = {}
    for node in [*_own(tree), *_own(scope)]:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            found.setdefault(node.targets[0].id, []).append(node.value)
    return {name: values[-1] for name, values in found.items()}


def mentioned(text: str) -> Iterator[str]:
    """The commands in a text, each as far as it goes."""
    for found in _COMMAND.finditer(text):
        whole = _END.match(found.group())
        if whole:
            yield whole.group(1).rstrip(" .,:")


def refusal(line: str) -> str:
    """Why typer does not take a command line; empty when it does. An ellipsis stands for the
    words that are left out."""
    try:
        words = shlex.split(line, comments=True)
    except ValueError as error:
        return str(error)
    own = [word for word in words[1:] if word not in ("…", "...")]
    if words[-1:] == ["…"]:
        return ""
    if own[:1] == [SAMPLE]:
        return ""  # one of several commands
    if own[:1] == [] or own[0] not in COMMANDS:
        return f"no command: {line}"
    return _refusal(command(own[0]), own[1:])


def _refusal(found: Any, words: list[str]) -> str:
    inner = getattr(found, "commands", None)
    if inner and not words:
        return "Missing parameter: command"
    try:
        context = found.make_context(found.name, list(words), resilient_parsing=False)
    except typer.Exit:
        return ""
    except Exception as error:
        return str(error) or type(error).__name__
    if not inner:
        return ""
    left = [*getattr(context, "_protected_args", []), *context.args]
    if not left:
        return "no command"
    return _refusal(inner[left[0]], left[1:]) if left[0] in inner else f"no command {left[0]}"


def has_option(option: str) -> bool:
    """Whether any command has it."""

    def options(what: Any) -> set[str]:
        own = {name for p in what.params for name in (*p.opts, *p.secondary_opts)}
        return own.union(*(options(one) for one in getattr(what, "commands", {}).values()))

    return any(option in options(command(name)) for name in COMMANDS)


def yaml_texts() -> Iterator[tuple[str, str]]:
    """Every text in configs, and its file."""

    def inside(value: Any) -> Iterator[str]:
        if isinstance(value, str):
            yield value
        for one in (
            value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
        ):
            yield from inside(one)

    for path in sorted((ROOT / "configs").rglob("*.yaml")):
        for text in inside(yaml.safe_load(path.read_text())):
            yield str(path.relative_to(ROOT)), text


def instead_lines() -> Iterator[tuple[str, str]]:
    """File and text of each ``instead``, which is printed as a next line, with sample values."""

    def inside(value: Any) -> Iterator[str]:
        if isinstance(value, dict):
            if isinstance(value.get("instead"), str):
                yield value["instead"]
            for one in value.values():
                yield from inside(one)
        elif isinstance(value, list):
            for one in value:
                yield from inside(one)

    for path in sorted((ROOT / "configs").rglob("*.yaml")):
        for text in inside(yaml.safe_load(path.read_text())):
            yield str(path.relative_to(ROOT)), re.sub(r"\{\w+\}", SAMPLE, text)


def code_texts() -> Iterator[tuple[str, str]]:
    """Every text in the code, with sample values, and its place."""
    for folder in ("kernlab", "gdb_scripts"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, (ast.JoinedStr, ast.Constant)) and isinstance(
                    getattr(node, "value", ""), str
                ):
                    for text in texts(node, {}):
                        yield f"{path.relative_to(ROOT)}:{node.lineno}", text
