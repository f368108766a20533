"""A round's picture: what is in it, and what both drawings make of it."""

from __future__ import annotations

import io
import re
from typing import Any
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.console import Console

from kernlab.config.text import Language
from kernlab.config.yaml import parse
from kernlab.lessons.race import Race
from kernlab.sinks.timeline import Timeline
from kernlab.sinks.timeline_build import Round, build
from kernlab.sinks.timeline_svg import WIDTH, svg
from kernlab.sinks.timeline_text import draw
from kernlab.sinks.wrap import cells, mono, sans, wrap
from kernlab.verdict.judge import Line

RACE = parse(
    """
title: {en: "Data & <the> last ACK", zh: "首个数据段撞上握手的最后一个 ACK"}
idea: i
source: [s]
program: mine.c
actors: {A: {vcpu: 1}, B: {vcpu: 0}}
steps:
  - {hold: A, at: insert, when: "osk != 0", says: {en: "About to swap.", zh: "正要替换。"}}
  - {hold: A, at: {word: "osk->pprev", becomes: 0}, says: "It is out of the hash."}
  - {run: B, until: [tcp_v4_send_reset, blocked, done], says: "B brings the first data."}
  - release: all
endings:
  - {id: rst, title: "RST: found neither", fired: true, when: [{counters: {OutRsts: 1}}]}
  - {id: waited, title: "It waited", when: [{counters: {OutRsts: 0}}]}
""",
    Race,
    "my.yaml",
)
DATA = {
    "src": "10.9.0.2",
    "sport": 40000,
    "dst": "10.9.0.1",
    "dport": 8080,
    "flags": "PA",
    "seq": 1001,
    "ack": 700,
    "win": 65535,
    "len": 5,
    "ip_id": 3,
}
RST = {
    "src": "10.9.0.1",
    "sport": 8080,
    "dst": "10.9.0.2",
    "dport": 40000,
    "flags": "R",
    "seq": 700,
    "ack": 0,
    "win": 0,
    "len": 0,
    "ip_id": 0,
}
SLOCK = {
    "addr": "0x10",
    "name": "sk->sk_lock.slock",
    "what": "spinlock (slock) of the socket :8080 (SYN_RECV)",
    "func": "recv_sock",
    "file": "net/a.c",
    "line": 30,
    "since": 21,
}
BUCKET = {
    "addr": "0x20",
    "name": "lock",
    "what": "lock of an ehash bucket",
    "func": "insert",
    "file": "net/a.c",
    "line": 10,
}


def frame(func: str, line: int, inlined: bool = False) -> dict[str, Any]:
    return {"func": func, "file": "net/a.c", "line": line, "inlined": inlined}


def event(
    step: int,
    actor: str,
    reached: str,
    stack: list[dict[str, Any]],
    locks: list[dict[str, Any]],
    **more: Any,
) -> dict[str, Any]:
    waits = more.pop("waits", None)
    return {
        "probe": reached,
        "task": {"pid": 60 + step, "comm": actor},
        "stack": stack,
        "race": {
            "step": step,
            "actor": actor,
            "reached": reached,
            "locks": locks,
            "source": {
                "net/a.c:7": "ok = insert(sk, osk);",
                "net/a.c:10": "del(osk);",
                "net/a.c:44": "bh_lock_sock_nested(sk);",
            },
            **({"waits": waits} if waits else {}),
        },
        **more,
    }


HELD = [
    event(1, "A", "insert", [frame("insert", 5), frame("nolisten", 7)], [SLOCK]),
    event(
        2,
        "A",
        "osk->pprev becomes 0",
        [frame("del", 3, True), frame("insert", 10)],
        [SLOCK, BUCKET],
    ),
]
RESET = event(
    3,
    "B",
    "tcp_v4_send_reset",
    [frame("tcp_v4_send_reset", 60), frame("do_rcv", 44)],
    [],
    packet=DATA,
    sock={"state": "LISTEN", "sport": 8080, "dport": 0},
)
WAITS = event(
    3,
    "B",
    "blocked",
    [frame("queued_spin_lock_slowpath", 9), frame("rcv", 44)],
    [SLOCK],
    waits={"kind": "lock", "held_by": "A", **SLOCK},
    packet=DATA,
)
SEGMENTS = [{"packet": DATA}, {"packet": RST}]


def timeline(
    last: dict[str, Any] = RESET,
    ending: int | None = 0,
    language: Language = "en",
    events: list[dict[str, Any]] | None = None,
) -> Timeline:
    told = Round(
        "5.10 · round 1",
        None if ending is None else RACE.endings[ending],
        [Line("counters", "OutRsts +1", "+1", True)],
        "B did not come" if ending is None else "",
    )
    return build("R1", RACE, events or [*HELD, last], SEGMENTS, told, language)


def test_a_card_says_where_it_stands_and_what_the_schedule_says() -> None:
    one, two, three = timeline().cards
    assert (one.func, one.at, one.code) == ("insert()", "net/a.c:5", "ok = insert(sk, osk);")
    assert (two.func, two.at, two.code) == ("insert()", "net/a.c:10", "del(osk);")
    assert (two.says, three.says) == ("It is out of the hash.", "B brings the first data.")
    assert (one.lane, three.lane, three.mood) == (0, 1, "reset")
    assert {fact.kind: fact.text for fact in three.facts}["socket"] == "LISTEN  port 8080"


def test_a_bar_begins_where_the_lock_was_first_seen_and_ends_with_the_release() -> None:
    slock, bucket = timeline().bars
    assert (slock.first, slock.last, slock.since) == (0, 3, "taken at recv_sock:21")
    assert (bucket.first, bucket.last, bucket.since) == (1, 3, "held in insert()")
    assert bucket.title == "lock of an ehash bucket"


def test_both_locks_of_a_socket_are_told_apart() -> None:
    owned = {
        **SLOCK,
        "addr": "0x30",
        "name": "sk->sk_lock.owned",
        "what": "ownership (owned) of the socket :8080 (SYN_RECV)",
    }
    del owned["since"]
    events = [event(1, "A", "insert", [frame("insert", 5)], [SLOCK, owned])]
    english, chinese = (timeline(events=events, language=one).bars for one in ("en", "zh"))
    assert [(bar.title, bar.since) for bar in english] == [
        ("spinlock (slock) of the socket :8080 (SYN_RECV)", "taken at recv_sock:21"),
        ("ownership (owned) of the socket :8080 (SYN_RECV)", "held in recv_sock()"),
    ]
    assert ["slock" in bar.title for bar in chinese] == [True, False]
    assert ["owned" in bar.title for bar in chinese] == [False, True]


def test_a_lock_that_is_no_longer_seen_has_been_let_go() -> None:
    bars = timeline(events=[HELD[1], event(3, "A", "insert", [frame("insert", 5)], [SLOCK])]).bars
    assert [(bar.name, bar.first, bar.last) for bar in bars] == [
        ("sk->sk_lock.slock", 0, 2),
        ("lock", 0, 1),
    ]


def test_who_waits_points_at_the_bar_and_has_none_itself() -> None:
    picture = timeline(WAITS, 1)
    assert [bar.lane for bar in picture.bars] == [0, 0]
    card = picture.cards[2]
    assert (card.wants, card.mood, card.func) == (0, "waits", "rcv()")
    (wants,) = [fact.text for fact in card.facts if fact.kind == "wants"]
    assert wants.endswith("A has it, taken at recv_sock:21")


@pytest.mark.parametrize(
    ("which", "english", "chinese"),
    [
        (
            {"kind": "slock", "port": 9000, "state": "LISTEN"},
            "spinlock (slock) of the socket :9000 (LISTEN)",
            "套接字 :9000 (LISTEN) 的自旋锁 (slock)",
        ),
        (
            {"kind": "owned", "port": 9000, "state": "LISTEN"},
            "ownership (owned) of the socket :9000 (LISTEN)",
            "套接字 :9000 (LISTEN) 的所有权 (owned)",
        ),
        ({"kind": "table", "table": "bind"}, "lock of a bind bucket", "绑定桶锁"),
        ({"kind": "table", "table": "of another kernlab"}, "as it was said", "as it was said"),
    ],
)
def test_which_lock_it_is_is_data(which: dict[str, Any], english: str, chinese: str) -> None:
    lock = {**SLOCK, "which": which, "what": "as it was said"}
    stop = event(1, "A", "insert", [frame("insert", 5)], [lock])
    languages: tuple[tuple[Language, str], ...] = (("en", english), ("zh", chinese))
    for language, said in languages:
        (bar,) = timeline(events=[stop], language=language).bars
        assert bar.title == said


def test_a_lock_that_no_stop_showed_has_no_bar_but_its_words() -> None:
    bare = [dict(one, race={**one["race"], "locks": []}) for one in (*HELD, WAITS)]
    card = timeline(events=bare, ending=1).cards[2]
    assert card.wants is None
    (wants,) = [fact.text for fact in card.facts if fact.kind == "wants"]
    assert wants.startswith("spinlock (slock) of the socket :8080")
    assert "A has it" in wants
    rcu = dict(WAITS, race={**WAITS["race"], "waits": {"kind": "rcu", "of": ["A"]}})
    assert timeline(rcu, 1).cards[2].verb == "waits for an RCU grace period in"


def test_segments_are_given_to_the_steps_that_handled_and_sent_them() -> None:
    data, reset = timeline().wire
    assert (data.note, data.lane) == ("handled by B, step 3", 1)
    assert (reset.note, reset.reset) == ("sent by B, step 3", True)
    other = dict(RST, seq=999)  # refuses another segment
    told = Round(ending=RACE.endings[0])
    wire = build("R1", RACE, [*HELD, RESET], [{"packet": other}], told).wire
    assert wire[0].note == ""


def test_the_outcome() -> None:
    fired = timeline().outcome
    assert (fired.title, fired.fired, fired.evidence) == (
        "RST: found neither",
        True,
        ("OutRsts +1",),
    )
    lost = timeline(ending=None)
    assert (lost.outcome.title, lost.outcome.known) == ("B did not come", False)
    assert not lost.released


# -- SVG ------------------------------------------------------------------------------

SVG = "{http://www.w3.org/2000/svg}"


def drawn(picture: Timeline) -> ElementTree.Element:
    return ElementTree.fromstring(svg(picture))


def said(root: ElementTree.Element) -> str:
    return "\n".join(one.text or "" for one in root.iter(f"{SVG}text"))


def test_svg_is_well_formed_and_every_text_is_escaped() -> None:
    evil = [dict(one, task={"pid": 1, "comm": "<script>"}) for one in (*HELD, RESET)]
    root = drawn(timeline(events=evil))
    assert not list(root.iter(f"{SVG}script"))
    assert "<script>/1" in said(root)
    assert "R1  Data & <the> last ACK" in said(root)
    assert not [one for one in root.iter() if "id" in one.attrib or "href" in one.attrib]
    assert all("klt" in rule for rule in _selectors(root))


def _selectors(root: ElementTree.Element) -> list[str]:
    style = root.findtext(f"{SVG}style") or ""
    return re.findall(r"[^{}]+(?=\{font|\{fill|\{stroke|\{text)", style)


@pytest.mark.parametrize("language", ["en", "zh"])
@pytest.mark.parametrize("last", [RESET, WAITS], ids=["reset", "waits"])
def test_nothing_leaves_the_picture_and_no_card_covers_another(
    last: dict[str, Any], language: Language
) -> None:
    long = dict(last, sock={"state": "LISTEN " * 30, "sport": 8080, "dport": 0})
    root = drawn(timeline(long, language=language))
    height = float(root.attrib["height"])
    for text in root.iter(f"{SVG}text"):
        kind = text.attrib["class"].split()
        measure = mono(12) if "m" in kind else sans(11.5)
        wide = measure(text.text or "")
        start = float(text.attrib["x"]) - (wide if "e" in kind else wide / 2 if "c" in kind else 0)
        assert start >= 0, text.text
        assert start + wide <= WIDTH, text.text
        assert 0 < float(text.attrib["y"]) < height
    boxes = [
        [float(one.attrib[key]) for key in ("x", "y", "width", "height")]
        for one in root.iter(f"{SVG}rect")
        if "f-panel" in one.attrib["class"]
    ]
    for at, one in enumerate(boxes):
        for other in boxes[at + 1 :]:
            apart = (
                one[0] + one[2] <= other[0]
                or other[0] + other[2] <= one[0]
                or one[1] + one[3] <= other[1]
                or other[1] + other[3] <= one[1]
            )
            assert apart


def test_svg_says_the_ending_and_marks_the_lock_that_is_waited_for() -> None:
    root = drawn(timeline(WAITS, 1))
    assert "It waited" in said(root)
    assert "needs a" in said(root)
    assert any(" -6v12z" in one.attrib["d"] for one in root.iter(f"{SVG}path"))
    assert not any(" -6v12z" in one.attrib["d"] for one in drawn(timeline()).iter(f"{SVG}path"))


# -- terminal ---------------------------------------------------------------------------


def printed(picture: Timeline, width: int, encoding: str = "utf-8") -> str:
    raw = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    draw(Console(file=raw, width=width, no_color=True, highlight=False), picture)
    raw.flush()
    raw.seek(0)
    return raw.read()


@pytest.mark.parametrize("language", ["en", "zh"])
@pytest.mark.parametrize("width", [80, 120])
def test_the_terminal_keeps_its_width_and_its_columns(width: int, language: Language) -> None:
    lines = printed(timeline(WAITS, 1, language), width).splitlines()
    assert max(map(cell_len, lines)) <= width
    rows = [line for line in lines if "┃" in line]
    left = {cell_len(line[: line.index("│", line.rindex("┃"))]) for line in rows}
    assert len(left) == 1  # the columns part at one place, whatever the letters' width
    assert sum("┃ ┃" in line for line in lines) > 5


def test_the_terminal_says_it_without_colour_and_without_unicode() -> None:
    text = printed(timeline(), 100)
    assert "RST: found neither" in text
    assert "held at insert()" in text
    assert "is stopped in insert()" in text
    assert "sent by B, step 3" in text
    plain = printed(timeline(WAITS, 1), 80, "ascii")
    assert plain.isascii()
    assert "||" in plain.replace(" ", "")


# -- lines ------------------------------------------------------------------------------

WORDS = st.text("ab_ .,()->中文，。:/", max_size=60)


@given(WORDS, st.integers(4, 30))
def test_wrap_loses_nothing_and_keeps_the_width(text: str, width: int) -> None:
    lines = wrap(text, width, cells)
    assert all(cells(line) <= width for line in lines)
    assert "".join("".join(lines).split()) == "".join(text.split())
