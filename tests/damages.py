"""Ways in which a file is damaged, and what is said of it."""

from __future__ import annotations

from collections.abc import Callable

from kernlab.progress import Report, Said

DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "cut": lambda data: data[: len(data) // 2],
    "empty": lambda data: b"",
    "garbage": lambda data: bytes(255 - byte for byte in data[:4096]) + data[4096:],
}


def said(seen: list[Report]) -> list[str]:
    return [one.text for one in seen if isinstance(one, Said)]
