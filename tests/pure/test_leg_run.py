"""What a leg's program prints beside its story is told and kept, its last words too."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

from kernlab.leg.run import Run, Setup
from kernlab.record.leg import LegDir
from kernlab.vm.machine import Machine


class _Process:
    """A guest's program that has printed all it prints."""

    def done(self) -> bool:
        return True

    def wait(self, timeout: float) -> int:
        return 0


def test_all_that_is_printed_is_told_and_kept(tmp_path: Path) -> None:
    told: list[tuple[str, str]] = []

    def hear(kind: str, text: str = "", value: str = "", event: Any = None) -> None:
        told.append((kind, text))

    def start(argv: list[str], **sinks: Any) -> _Process:
        for data in (b"@step connect\nhel", b"lo\n@got errno 111\nthe e", b"nd"):
            sinks["on_stdout"](data)
        return _Process()

    (tmp_path / "share").mkdir()
    machine = cast(Machine, SimpleNamespace(channel=SimpleNamespace(start=start)))
    leg = LegDir(tmp_path / "leg")
    Run(Setup("L00", "one"), machine, tmp_path / "share", leg, None, hear).run()
    assert told == [("step", "connect"), ("said", "hello"), ("got", "errno"), ("said", "the end")]
    results = json.loads(leg.results.read_text())
    assert (results["printed"], results["steps"]) == (["hello", "the end"], ["connect"])
