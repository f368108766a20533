"""What is valid where: the table of ``configs/sites.yaml``."""

from __future__ import annotations

from typing import Literal

from kernlab.config.paths import config_file
from kernlab.config.yaml import Model, load


class SiteRow(Model):
    """What a probe at a function's entry may read; the reason names the kernel file.

    ``sock``: the argument that the event is about, where it isn't the first sock. ``data``:
    the header that skb->data points at, where that is always the same one."""

    header: Literal["network", "transport", "protocol", "tcp", "cb", "none"]
    tcp_cb: bool = False
    lookup: bool = False
    sock: str | None = None
    data: Literal["ip", "tcp"] | None = None
    direction: Literal["in", "out", "none"] = "none"
    why: str


class SiteTable(Model):
    sites: dict[str, SiteRow]


UNLISTED = SiteRow(header="none", why="not in the table")


def table() -> SiteTable:
    """The user's own table or the shipped one. Raises ``BadInput`` naming file and line."""
    return load(config_file("sites.yaml"), SiteTable)
