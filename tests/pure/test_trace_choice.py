"""Which engine is picked for what is asked."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from kernlab.config.needs import Need
from kernlab.decode import expr
from kernlab.errors import BadInput
from kernlab.record.expression import parse_where
from kernlab.trace import choice
from kernlab.trace.plan import Plan
from kernlab.trace.request import TraceRequest


@pytest.mark.parametrize(
    ("asked", "lacks", "engine"),
    [
        ({"show": ("skb->len",)}, False, "gdb"),
        ({"functions": ("tcp_ipv4.c:1961",)}, False, "gdb"),
        ({"count": 200}, False, "gdb"),
        ({"count": 201}, False, "bpf"),
        ({}, False, "bpf"),
        ({}, True, "ftrace"),
    ],
)
def test_an_engine_is_picked_by_what_is_asked(
    monkeypatch: pytest.MonkeyPatch, asked: dict[str, Any], lacks: bool, engine: str
) -> None:
    gap = [Need("clang", "compiles BPF programs", program="clang")] if lacks else []
    monkeypatch.setattr(choice, "missing", lambda needs: gap)
    kind, why = choice.pick(TraceRequest(**{"functions": ("tcp_v4_rcv",), **asked}))
    assert kind.name == engine
    assert why


@pytest.mark.parametrize(
    ("lacks", "engine"),
    [((), "bpf"), (("CONFIG_DEBUG_INFO_BTF",), "ftrace"), (("CONFIG_KPROBE_EVENTS",), "gdb")],
)
def test_an_engine_that_the_kernel_was_not_built_for_is_not_picked(
    tmp_path: Path, lacks: tuple[str, ...], engine: str
) -> None:
    config = tmp_path / "config"
    config.write_text(
        "".join(f"{name}=y\n" for name in choice.ENGINES["bpf"].options if name not in lacks)
    )
    kind, why = choice.settle(choice.find("bpf"), config)
    assert kind.name == engine
    assert all(name in why for name in lacks)
    assert bool(why) == bool(lacks)


def test_an_unknown_engine_is_refused_with_those_there_are() -> None:
    with pytest.raises(BadInput, match="no such engine") as caught:
        choice.find("bfp")
    assert caught.value.next_step == "--engine bpf"
    assert all(name in caught.value.why for name in ("gdb", "ftrace", "bpf", "auto"))


def test_a_filter_is_parsed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """What it says goes with the request: checks and choices read that."""
    parsed: list[str] = []
    parse = expr.parse
    monkeypatch.setattr(expr, "parse", lambda text: (parsed.append(text), parse(text))[1])
    request = TraceRequest(("tcp_v4_rcv",), parse_where("sk->sk_err != 0 and port == 80"))
    kind, _ = choice.pick(request)
    kind.check(request)
    assert Plan(request, ()).where is request.where.expr
    assert kind.name == "gdb"
    assert parsed == ["sk->sk_err != 0 and port == 80"]
