"""YAML files into validated models, with errors a user can act on.

Every error names file, line and key, says what was expected, and for an unknown
key or choice offers the nearest known one. All errors of a file come at once.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from kernlab.config.files import read_regular
from kernlab.errors import BadInput

# libyaml's parser is ten times as fast; PyYAML is built without it on some platforms.
_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

M = TypeVar("M", bound=BaseModel)
T = TypeVar("T")


_LONGEST = 1 << 20  # bytes of a file
_VALUES = 100_000  # values in a file, aliases counted as often as they stand there
_WORD = 200  # letters of a word that may have been meant as another
_TOLD = 40  # problems that are told


class Model(BaseModel):
    """Base of every model read from a file: unknown keys are errors, values do not change."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class FileProblem(NamedTuple):
    """What is wrong in a file, and in which line."""

    line: int
    text: str


class WrongFile(BadInput):
    """A file of which it is known what is wrong where. ``more``: how many problems there are
    besides; ``why`` explains a single one; ``lines``: all of it, a line each."""

    def __init__(
        self, name: str, problems: Sequence[FileProblem], why: str = "", more: int = 0
    ) -> None:
        self.problems = tuple(problems)
        self.more = more
        self.lines = [f"{name}:{one.line}: {one.text}" for one in problems]
        self.lines += [f"and {more} more"] if more else []
        count = len(problems) + more
        what = self.lines[0] if count == 1 else f"{name}: {count} errors"
        super().__init__(what, why if count == 1 else "\n".join(self.lines), f"edit {name}")


def near(word: str, known: Iterable[str], count: int = 3) -> list[str]:
    """The known words that ``word`` may have been meant as, nearest first."""
    if len(word) > _WORD:
        return []  # difflib's time grows with the square
    return difflib.get_close_matches(word, list(known), n=count, cutoff=0.6)


def unknown(
    what: str, word: str, known: Iterable[str], next_step: str, otherwise: str = ""
) -> BadInput:
    """The error for a ``word`` that is none of those known: it names the nearest, or all. "{}"
    in ``next_step`` stands for the nearest, or ``otherwise``."""
    names = list(known)
    close = near(word, names)
    return BadInput(
        what,
        f"did you mean {close[0]}?" if close else f"there are: {', '.join(names)}",
        next_step.format(close[0] if close else otherwise),
    )


def listed(value: T | list[T] | None) -> list[T]:
    """The values of a key that takes one or a list of them; none for None."""
    if isinstance(value, list):
        return value
    return [] if value is None else [value]


def load(path: Path, model: type[M], below: Path | None = None) -> M:
    """Read ``path`` into ``model``; with ``below``, as a file of a record, without following a
    link. Raises ``BadInput`` with every problem found."""
    try:
        text = read_regular(path, _LONGEST, below).decode("utf-8")
    except (OSError, ValueError) as error:
        said = error.strerror if isinstance(error, OSError) else str(error)
        raise BadInput(f"cannot read {path}", said or str(error), f"ls -l {path}") from error
    return parse(text, model, str(path))


def parse(text: str, model: type[M], name: str) -> M:
    """Like ``load``, from text; ``name`` stands for the file in messages."""
    try:
        loader = _LOADER(text)
        try:
            node = loader.get_single_node()
            _bounded(node)
            data = None if node is None else loader.construct_document(node)
        finally:
            loader.dispose()
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        problem = FileProblem(line, "not valid YAML")
        raise WrongFile(name, [problem], error.problem or str(error)) from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise BadInput(f"{name}: not valid YAML", str(error), f"edit {name}") from error
    try:
        return model.model_validate(data)
    except ValidationError as error:
        problems = [_explain(item, node, model) for item in error.errors()[:_TOLD]]
        raise WrongFile(name, problems, more=max(0, error.error_count() - _TOLD)) from error


def _bounded(node: Any) -> None:
    """Raise ``ValueError`` for a document that would become more values than a file of ours has:
    an alias of an alias of an alias is short to write. One inside itself has no end."""
    sizes: dict[int, int] = {}
    stack: list[tuple[Any, bool]] = [(node, False)]
    under_way: set[int] = set()
    while stack:
        one, counted = stack.pop()
        inner = _inside(one)
        if counted:
            under_way.discard(id(one))
            sizes[id(one)] = 1 + sum(sizes.get(id(part), 1) for part in inner)
            if sizes[id(one)] > _VALUES:
                raise ValueError(f"more than {_VALUES} values")
        elif id(one) in under_way:
            raise ValueError("an alias contains itself")
        elif id(one) not in sizes and inner:
            under_way.add(id(one))
            stack.append((one, True))
            stack += [(part, False) for part in inner]


def _inside(node: Any) -> list[Any]:
    if isinstance(node, yaml.MappingNode):
        return [part for pair in node.value for part in pair]
    return list(node.value) if isinstance(node, yaml.SequenceNode) else []


def line_of(text: str, *keys: int | str) -> int:
    """The line (1-based) of a key or an item in a YAML text that ``parse`` takes, by the way
    to it: ``line_of(text, "steps", 2, "until")``. Of what is not there, the nearest above."""
    loader = _LOADER(text)
    try:
        return _line(loader.get_single_node(), keys)
    finally:
        loader.dispose()


def _line(node: Any, loc: tuple[int | str, ...]) -> int:
    """The line of the deepest part of ``loc`` that is in the file (1-based)."""
    line: int = node.start_mark.line + 1 if node is not None else 1
    for step in loc:
        if isinstance(node, yaml.MappingNode):
            for key, value in node.value:
                if key.value == str(step):
                    line, node = key.start_mark.line + 1, value
                    break
            else:
                continue  # a union's tag in the location, not a key of the file
        elif isinstance(node, yaml.SequenceNode) and isinstance(step, int):
            if step >= len(node.value):
                break
            node = node.value[step]
            line = node.start_mark.line + 1
    return line


def _fields(model: type[BaseModel], loc: tuple[int | str, ...]) -> list[str]:
    """The keys that were allowed where ``loc`` points."""
    current: Any = model
    for step in loc:
        if not (isinstance(current, type) and issubclass(current, BaseModel)):
            break
        field = current.model_fields.get(str(step))
        if field is None:
            break
        current = _inner_model(field.annotation)
    if isinstance(current, type) and issubclass(current, BaseModel):
        return [field.alias or key for key, field in current.model_fields.items()]
    return []


def _inner_model(annotation: Any) -> Any:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    for argument in getattr(annotation, "__args__", ()):
        found = _inner_model(argument)
        if found is not None:
            return found
    return None


def _explain(item: Any, node: Any, model: type[BaseModel]) -> FileProblem:
    loc = tuple(item["loc"])
    key = _short(".".join(str(step) for step in loc)) or "(top)"
    line = _line(node, loc)
    if item["type"] == "extra_forbidden":
        parent = tuple(step for step in loc[:-1] if not isinstance(step, int))
        guesses = near(str(loc[-1]), _fields(model, parent))
        hint = f", did you mean '{guesses[0]}'?" if guesses else ""
        return FileProblem(line, f"unknown key '{_short(loc[-1])}'{hint}")
    if item["type"] == "missing":
        return FileProblem(line, f"key '{key}' is missing")
    got = item.get("input")
    shown = f" (got {_short(repr(got))})" if isinstance(got, (str, int, float, bool)) else ""
    message = item["msg"].removeprefix("Value error, ")
    return FileProblem(line, message if key == "(top)" else f"{key}: {message}{shown}")


def _short(text: object) -> str:
    """As much of a name or a value as a message has room for."""
    said = str(text)
    return said if len(said) <= _WORD else said[:_WORD] + "…"
