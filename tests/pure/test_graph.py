"""A call's tree: built from events, folded, drawn, kept."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from kernlab.errors import BadInput
from kernlab.record.calls import Call, Graph
from kernlab.sinks import calls
from kernlab.trace import workloads
from kernlab.trace.graph import Builder, GraphRequest, _Event


def feed(builder: Builder, text: str) -> list[Graph]:
    """``+a`` enters a, ``-a`` returns, ``!a`` enters in an interrupt; one tick each; a depth
    is how many are open. ``.`` is a lost event."""
    found, depth = [], 0
    for tick, word in enumerate(text.split()):
        if word == ".":
            continue
        name = word[1:]
        if word[0] != "-":
            got = builder.take(_Event(tick * 1000, 0, 7, ord(name), depth, True, word[0] == "!"))
            depth += 1
        else:
            depth -= 1
            got = builder.take(_Event(tick * 1000, 0, 7, ord(name), depth, False, False))
        if got is not None:
            found.append(got)
    return found


def shape(call: Call) -> str:
    name = chr(int(call.func, 16)) + ("!" if call.interrupt else "")
    return name + (f"({' '.join(map(shape, call.calls))})" if call.calls else "")


def test_calls_become_a_tree_with_durations() -> None:
    (found,) = feed(Builder(), "+a +b -b +c +d -d -c -a")
    assert shape(found.call) == "a(b c(d))"
    assert [one.ns for one in found.call.walk()] == [7000, 1000, 3000, 1000]
    assert (found.cpu, found.pid) == (0, 7)


def test_an_interrupts_outermost_calls_are_marked() -> None:
    (found,) = feed(Builder(), "+a +b !c !d -d -c -b !e -e -a")
    assert shape(found.call) == "a(b(c!(d)) e!)"
    assert found.call.interrupted == 3000 + 1000


def test_an_interrupt_is_known_before_the_kernel_counts_it() -> None:
    """As 5.4's smp_apic_timer_interrupt(), which calls irq_enter() itself."""
    handlers = range(ord("x"), ord("z"))
    (found,) = feed(Builder(handlers), "+a +b -b +x +c !d -d -c -x -a")
    assert shape(found.call) == "a(b x!(c(d)))"
    (found,) = feed(Builder(handlers), "+x !d -d -x")
    assert shape(found.call) == "x(d)"  # what was asked for is no interrupt of its own


@pytest.mark.parametrize("seed", range(40))
def test_lost_events_make_no_wrong_tree(seed: int) -> None:
    """Whatever is lost, a call has only children that began and ended inside it."""
    import random

    words = ["+a", "+b", "+c", "-c", "-b", "+d", "-d", "-a", "+a", "+b", "-b", "-a"]
    source = random.Random(seed)
    kept = [word for word in words if source.random() > 0.25]
    builder, found = Builder(), []
    depths = {"a": 0, "b": 1, "c": 2, "d": 1}
    for tick, word in enumerate(kept):
        event = _Event(tick, 0, 7, ord(word[1]), depths[word[1]], word[0] == "+", False)
        found += [one for one in [builder.take(event)] if one is not None]
    for one in found:
        for call in one.call.walk():
            assert call.ns is None or all(
                call.start < inner.start and inner.start + (inner.ns or 0) < call.start + call.ns
                for inner in call.calls
            )


def a_call() -> Call:
    leaf = [Call(name, 0, 100) for name in ("lock", "lock", "unlock")]
    deep = Call("deep", 0, 60_000, calls=[Call("deeper", 0, 55_000, calls=[Call("d", 0, 5000)])])
    irq = Call("handle_irq", 0, 9_000, interrupt=True, calls=[Call("timer", 0, 8_000)])
    return Call("top", 0, 100_000, "net/x.c", 7, calls=[*leaf, irq, deep])


def drawn(width: int = 80, full: bool = False, fancy: bool = True) -> list[str]:
    return [line.plain for line in calls.lines(Graph(a_call(), 1, 2), width, full, fancy)]


def test_the_tree_is_folded_to_what_took_time() -> None:
    assert drawn() == [
        "    100 µs  top",
        "    300 ns  ├ lock ×2, unlock",
        "      9 µs  ├ ╱interrupt╱  (2 calls)",
        "     60 µs  └ deep → deeper → d",
    ]


def test_in_full_every_call_is_a_line_and_ascii_is_enough() -> None:
    lines = drawn(full=True, fancy=False)
    assert len(lines) == sum(1 for _ in a_call().walk())
    assert "".join(lines).isascii()
    assert all(len(line) <= 30 for line in drawn(30))
    assert "net/x.c:7" in drawn(120)[0]


def test_one_call_is_not_calls() -> None:
    leaf = Graph(Call("leaf", 0, 5), 1, 7)
    assert calls.summary(leaf) == "1 call on cpu1 in task 7"
    irq = Call("irq", 0, 5, interrupt=True)
    (below,) = calls.fold(Call("top", 0, 100, calls=[irq])).below
    assert below.interrupt
    tree = Graph(Call("top", 0, 100, calls=[irq, Call("leaf", 5, 50)]), 0, 7)
    assert any("(1 call)" in line.plain for line in calls.lines(tree, 80))


def test_what_is_kept_is_what_was_seen() -> None:
    assert Call.of(a_call().as_data()) == a_call()
    assert "interrupts took 9 µs" in calls.text(Graph(a_call(), 1, 2))


@pytest.mark.parametrize(
    "asked",
    [
        lambda: GraphRequest("tcp_*"),
        lambda: GraphRequest("tcp_ipv4.c:3"),
        lambda: GraphRequest("f", depth=-1),
        lambda: GraphRequest("f", count=0),
        lambda: GraphRequest("f", timeout=0),
        lambda: GraphRequest("f", workload=workloads.find("htp")),
    ],
)
def test_a_request_that_makes_no_sense_is_refused(asked: Callable[[], GraphRequest]) -> None:
    with pytest.raises(BadInput):
        asked()
