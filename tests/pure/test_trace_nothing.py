"""Why a trace has no event, and which functions it refuses."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from kernlab.errors import BadInput
from kernlab.sinks.fold import fold, whole
from kernlab.symbols import places
from kernlab.symbols.dwarf import Function
from kernlab.symbols.kernel import KernelSymbols
from kernlab.symbols.probes import Probe
from kernlab.symbols.sites import UNLISTED
from kernlab.symbols.system_map import SystemMap
from kernlab.trace import workloads
from kernlab.trace.plan import Plan
from kernlab.trace.request import TraceRequest
from kernlab.trace.run import Outcome

MAP = """ffffffff81000000 T vfs_read
ffffffff82000000 D __init_begin
ffffffff82000010 t inet_init
ffffffff82000020 T inet_initpeers
ffffffff82001000 D __init_end
"""


def why(file: str, func: str = "f", workload: str = "none", segments: int | None = 0) -> str:
    place = Function(func, func, 1, file, 1, (), b"")
    request = TraceRequest((func,), workload=workloads.find(workload))
    plan = Plan(request, (Probe(func, place, UNLISTED, None, None),))
    return Outcome("workload", segments_in=segments).why_nothing(plan)


def test_of_tcp_is_told_where_tcp_is_asked_for() -> None:
    said = why("fs/read_write.c", "vfs_read", "udp-echo")
    assert "TCP" not in said
    assert "vfs_read was never called" in said
    assert "moved no TCP segment" in why("net/ipv4/tcp_ipv4.c", workload="udp-echo")
    assert "moved no TCP segment" not in why("net/ipv4/udp.c", workload="udp-echo")
    assert "TCP" not in why("kernel/time/timer.c", workload="http", segments=30)


@pytest.fixture
def symbols(tmp_path: Path) -> KernelSymbols:
    (tmp_path / "System.map").write_text(MAP)
    return cast(Any, SimpleNamespace(map=SystemMap(tmp_path / "System.map")))


@pytest.mark.parametrize("text", ["inet_init", "inet_init*"])
def test_what_is_gone_after_the_boot_is_refused(symbols: KernelSymbols, text: str) -> None:
    with pytest.raises(BadInput) as caught:
        places.resolve(places.parse(text), symbols, 64)
    assert "__init" in caught.value.what
    prefix = "" if text == "inet_init" else f"{text}: "
    assert places.init_only("inet_init", text).what.startswith(f"{prefix}inet_init is __init code")
    assert "hbreak inet_init" in caught.value.why
    assert caught.value.next_step == "kernlab boot --gdb-port 1234 --wait"
    assert not symbols.map.only_init("vfs_read")


def test_a_stack_whose_depth_was_asked_for_is_shown_whole() -> None:
    stack = [{"func": f, "inlined": f == "b"} for f in ("a", "b", "do_syscall_64", "c")]
    assert [part.text for part in whole(stack)] == ["a", "b (inlined)", "do_syscall_64", "c"]
    assert len(fold(stack)) < 4


def test_packets_that_tcpdump_lost_are_told_with_the_capture() -> None:
    assert Outcome("workload", captured=46).frames("/run") == "46 frames in /run/capture.pcapng"
    said = Outcome("workload", captured=46, uncaptured=65).frames("/run")
    assert said == "46 frames in /run/capture.pcapng; tcpdump lost 65 packets"
