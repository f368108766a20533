"""What the JSON of a record may look like: checked when it is read, whoever wrote it.

A record comes from this program, from an older one, from another laptop, or from somebody who
wants a reader to fail. Types are strict (a number is no text), numbers fit into the kernel's
widest, and values that we do not know lie in each other eight deep at most.
"""

from __future__ import annotations

from json import JSONDecodeError
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from kernlab.config.files import read_json
from kernlab.errors import BadInput

_DEEP = 8
_LEAST, _MOST = -(2**63), 2**64 - 1


def _plain(value: Any, deep: int = _DEEP) -> Any:
    """Raises ``ValueError`` for a value that is too deep, or a number that is too large."""
    if isinstance(value, int):
        if not _LEAST <= value <= _MOST:
            raise ValueError("a number of more than 64 bits")
    elif isinstance(value, (list, dict)):
        if not deep:
            raise ValueError(f"values lie more than {_DEEP} deep in each other")
        for one in value.values() if isinstance(value, dict) else value:
            _plain(one, deep - 1)
    return value


Int = Annotated[int, Field(ge=_LEAST, le=_MOST)]
Line = Annotated[int, Field(ge=0, le=2**31)]  # of a source file
Value = Annotated[Any, AfterValidator(_plain)]
T = TypeVar("T")


class Open(BaseModel):
    """What is known of an object; it may have more, of any plain shape."""

    model_config = ConfigDict(extra="allow", strict=True)
    __pydantic_extra__: dict[str, Value]


class Owner(Open):
    """The kernlab that runs a run: its pid, and when it started (seconds since 1970)."""

    pid: int = Field(gt=1, le=2**22)
    started: float = Field(ge=0, le=1e12)


class Asked(Open):
    argv: list[str] = []
    files: dict[str, str] = {}


class Resolved(Open):
    """What was found for what was asked."""

    release: str | None = None
    kernel: str | None = None
    image: str | None = None
    source: str | None = None
    accelerator: str | None = None
    argv: list[str] | None = None
    qemu: Int | None = None


class RunJson(Open):
    """run.json."""

    asked: Asked | None = None
    resolved: Resolved | None = None
    result: dict[str, Value] = {}
    owner: Owner | None = None


class Results(Open):
    """results.json of a leg."""

    status: Int = 0
    said: str = ""
    steps: list[str] = []
    got: dict[str, str] = {}
    symbols: dict[str, bool] | None = None


class RoundJson(Open):
    """round.json of a race's round."""

    round: Int = 0
    ending: str | None = None
    trouble: str = ""
    said: str = ""
    reached: list[str] = []
    again: bool = False


class Quiz(Open):
    """quiz.json of a lab: the choices that were predicted, from 0."""

    answers: list[Annotated[int, Field(ge=0, le=1000)] | None] = []


Counts = dict[str, Int]


def first_problem(error: ValidationError, but: str = "") -> str:
    """In a few words, where a value is not what it should be; empty where nothing is wrong
    ``but`` this kind of problem (pydantic's name of it)."""
    rows = error.errors(include_url=False, include_context=False, include_input=False)
    told = next((row for row in rows if row["type"] != but), None)
    if told is None:
        return ""
    where = ".".join(str(step)[:40] for step in told["loc"][:8])
    said = str(told["msg"]).removeprefix("Value error, ")
    return f"{where}: {said}" if where else said


def read(path: Path, shape: Any, below: Path, torn: bool = True) -> Any:
    """What a JSON file of a record holds, as plain dicts and lists of this ``shape`` (a model or
    a type); None when it is not there, and where ``torn`` when its end is lost.

    Raises ``BadInput`` that names the file and what is wrong in it.
    """
    try:
        value = read_json(path, below)
    except BadInput as error:
        if torn and isinstance(error.__cause__, (JSONDecodeError, UnicodeDecodeError)):
            return None
        raise
    if value is None:
        return None
    try:
        _adapter(shape).validate_python(value, strict=True)
    except ValidationError as error:
        raise BadInput(f"{path}: damaged", first_problem(error), f"rm {path}") from error
    return value


_ADAPTERS: dict[Any, TypeAdapter[Any]] = {}


def _adapter(shape: Any) -> TypeAdapter[Any]:
    key = repr(shape)
    if key not in _ADAPTERS:
        _ADAPTERS[key] = TypeAdapter(shape)
    return _ADAPTERS[key]
