"""What is valid where: the table of ``configs/sites.yaml``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

from pydantic import AfterValidator, Field

from kernlab.config.paths import config_file
from kernlab.config.yaml import Model, load
from kernlab.decode import protocols
from kernlab.decode.place import Direction, SiteSpec

_PROTOCOLS = tuple(row.name for row in protocols.TABLE if row.fields)
_LAYERS = ("network", "transport", "protocol", "cb", "none", *_PROTOCOLS)
_DATA = ("ip", *_PROTOCOLS)


def _one_of(known: Sequence[str]) -> AfterValidator:
    def check(text: str) -> str:
        if text not in known:
            raise ValueError(f"is one of {', '.join(known)}")
        return text

    return AfterValidator(check)


def _schema(known: Sequence[str]) -> Any:
    return Field(json_schema_extra={"enum": list(known)})


Header = Annotated[str, _one_of(_LAYERS), _schema(_LAYERS)]
Data = Annotated[str, _one_of(_DATA), _schema(_DATA)]
Name = Annotated[str, _one_of(_PROTOCOLS), _schema(_PROTOCOLS)]


class SiteRow(Model):
    """What a probe at a function's entry may read; the reason names the kernel file.

    ``sock``: the argument that the event is about, where it isn't the first sock. ``data``:
    the header that skb->data points at, where that is always the same one. ``sends``: the
    protocol of the error that the function is about to send about the skb; its arguments
    ``type`` and ``code`` say which."""

    header: Header
    tcp_cb: bool = False
    lookup: bool = False
    sock: str | None = None
    data: Data | None = None
    sends: Name | None = None
    direction: Direction = "none"
    why: str


class SiteTable(Model):
    sites: dict[str, SiteRow]


UNLISTED = SiteRow(header="none", why="not in the table")


def table() -> SiteTable:
    """The user's own table or the shipped one. Raises ``BadInput`` naming file and line."""
    return load(config_file("sites.yaml"), SiteTable)


def spec(row: SiteRow) -> SiteSpec:
    """A row as the engines are told it."""
    return {
        "header": row.header,
        "direction": row.direction,
        "tcp_cb": row.tcp_cb,
        "lookup": row.lookup,
        "data": row.data,
        "sends": row.sends,
        "listed": row is not UNLISTED,
    }


def specs() -> dict[str, SiteSpec]:
    """The whole table, by function."""
    return {name: spec(row) for name, row in table().sites.items()}
