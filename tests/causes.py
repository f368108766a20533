"""tests/data/causes.yaml: calls of senders, each with the cause that explains it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

_DATA = yaml.safe_load((Path(__file__).parent / "data" / "causes.yaml").read_text("utf-8"))

BESIDE: dict[str, list[str]] = _DATA["beside"]


def _event(row: dict[str, Any]) -> dict[str, Any]:
    stack = [{"func": name, "line": 1} for name in row["stack"]]
    return {"cpu": 0, "task": {"pid": 7}, **row, "stack": stack}


EVENTS: dict[str, tuple[list[dict[str, Any]], str]] = {
    row["name"]: ([_event(one) for one in row["events"]], row["cause"]) for row in _DATA["known"]
}
