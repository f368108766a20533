"""What is valid where: the table of ``configs/sites.yaml``."""

from __future__ import annotations

from typing import Literal

from kernlab.config.paths import config_file
from kernlab.config.yaml import Model, load
from kernlab.decode.place import Direction, Header, SiteSpec


class SiteRow(Model):
    """What a probe at a function's entry may read; the reason names the kernel file.

    ``sock``: the argument that the event is about, where it isn't the first sock. ``data``:
    the header that skb->data points at, where that is always the same one."""

    header: Header
    tcp_cb: bool = False
    lookup: bool = False
    sock: str | None = None
    data: Literal["ip", "tcp"] | None = None
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
        "listed": row is not UNLISTED,
    }


def specs() -> dict[str, SiteSpec]:
    """The whole table, by function."""
    return {name: spec(row) for name, row in table().sites.items()}
