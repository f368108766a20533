"""report.html in a real browser, against the run that it was made of."""
# ruff: noqa: E501 - the page is asked in JavaScript, a question a line

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import made_run
import pytest
import reading
from browser import Browser

from kernlab.record.pcapng import Lost, convert, losses, write
from kernlab.record.rundir import RunDir
from kernlab.record.segments import segments
from kernlab.record.store import read_events
from kernlab.report.write import keep, report

TABLE = json.loads((Path(__file__).parents[1] / "data" / "expressions.json").read_text())
EVIL = "<script>alert(1)</script>"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunDir:
    made = RunDir(made_run.make(tmp_path_factory.mktemp("run") / "run", 40, 120, EVIL))
    report(made)
    return made


@pytest.fixture
def page(browser: Browser, run: RunDir) -> Iterator[Browser]:
    browser.open(run.report)
    yield browser
    assert browser.said == []
    assert browser.asked == [run.report.as_uri()], "something was asked for beside the file"


def everything(browser: Browser) -> dict[str, Any]:
    """What the page holds, as its own scripts read it."""
    text = browser.run(
        "JSON.stringify({events: kernlab.chapter(0).events, segments: kernlab.chapter(0).segments})"
    )
    found: dict[str, Any] = json.loads(text)
    return found


def test_no_page_is_made_at_the_end_of_a_run_of_many_legs(tmp_path: Path) -> None:
    """Fifty rounds of all labs are judged again for a page: that takes minutes."""
    run = tmp_path / "run"
    made_run.make(run, 9)
    assert keep(RunDir(run)) == run / "report.html"
    for number in range(100):
        leg = run / f"L03.{number}" / "main"
        leg.mkdir(parents=True)
        for name in ("events.jsonl", "capture.pcapng"):
            (leg / name).write_bytes(b"")
    assert keep(RunDir(run)) is None


def test_every_number_on_the_page_is_in_the_run(page: Browser, run: RunDir) -> None:
    held = everything(page)
    kept = list(read_events(run.events))
    assert len(held["events"]) == len(kept)
    first = kept[0]["guest_ns"]
    for shown, event in zip(held["events"], kept, strict=True):
        at = shown.pop("at")
        assert at == event["guest_ns"] - first
        assert shown.pop("host_ns") == str(event.pop("host_ns"))
        for name in ("frame", "flow"):
            shown.pop(name, None)
        shown["packet"].pop("id")
        event["packet"].pop("raw")
        event["args"]["big"] = str(event["args"]["big"])  # no JavaScript number holds it
        assert shown == event
    wire = segments(run.capture)
    assert [one["number"] for one in held["segments"]] == [one["number"] for one in wire]
    for shown, one in zip(held["segments"], wire, strict=True):
        assert shown["at"] == one["at"] - wire[0]["at"]
        assert shown["packet"] == {k: v for k, v in one["packet"].items() if k != "raw"}


def test_every_number_that_is_shown_is_in_the_record(page: Browser, run: RunDir) -> None:
    assert reading.strange(page, run.path, run.path) == []
    assert reading.wrong_arrows(page, run.capture) == []


@pytest.mark.parametrize(
    ("true", "forged"),
    [
        ('"snd_una":1001', '"snd_una":1901'),
        ('"win":1002', '"win":1902'),
        ('"line":12', '"line":1912'),
        ('"n":1000,', '"n":845345000,'),
    ],
)
def test_a_forged_number_is_found(
    browser: Browser, run: RunDir, tmp_path: Path, true: str, forged: str
) -> None:
    """The test above can fail: with one number of the page's data another."""
    text = run.report.read_text()
    assert true in text
    forgery = tmp_path / "report.html"
    forgery.write_text(text.replace(true, forged, 1))
    browser.open(forgery)
    assert reading.strange(browser, run.path, run.path)


def test_a_click_on_an_arrow_shows_its_stops_and_their_stacks(page: Browser, run: RunDir) -> None:
    page.run("document.querySelector('.seg[data-frame=\"5\"]').click()")
    stops = page.run(
        "[...document.querySelectorAll('.panel .hop[data-seq]')].map(x => Number(x.dataset.seq))"
    )
    kept = {event["seq"]: event for event in read_events(run.events)}
    assert stops == [5, 45, 85]
    for seq in stops:
        stack = page.run(
            f"[...document.querySelectorAll('.panel .hop[data-seq=\"{seq}\"] .stack li b')].map(x => x.textContent)"
        )
        assert stack == [frame["func"] for frame in kept[seq]["stack"]]


def test_nothing_of_the_guest_is_markup(page: Browser) -> None:
    page.run("document.querySelector('.ev').click()")
    assert page.run("document.querySelector('.event').textContent").count(EVIL)
    assert page.run("document.querySelectorAll('script').length") == page.run(
        "document.querySelectorAll('script[id]').length + 1"
    )


def test_the_filter_hides_and_shows(page: Browser) -> None:
    def type_in(text: str) -> tuple[str, str, int]:
        page.run(
            f"(() => {{ const i = document.querySelector('.filter input'); i.value = {text!r}; i.dispatchEvent(new Event('input')); }})()"
        )
        said, wrong = (
            page.run(f"document.querySelector('{name}').textContent")
            for name in (".count", ".wrong")
        )
        return said, wrong, page.run("document.querySelectorAll('.seg').length")

    assert type_in("flags has R") == ("3 of 120 events", "", 1)
    assert type_in("state == LISTEN")[0] == "6 of 120 events"
    assert "no field" in type_in("prt == 80")[1]
    said, wrong, arrows = type_in("")
    assert (said, wrong) == ("120 of 120 events", "")
    assert arrows > 10


def test_arrow_keys_go_through_the_diagram(page: Browser) -> None:
    page.run("document.querySelector('.wire').focus()")
    for _ in range(3):
        page.key("ArrowDown")
    page.key("Enter")
    assert page.run("document.activeElement.dataset.frame") == "3"
    assert "frame 3 " in page.run("document.querySelector('.panel').textContent")


def test_the_page_is_used_without_a_mouse(page: Browser) -> None:
    """Tab comes to the filter, the connection, the list as one stop, and into what was opened;
    each shows that it has the focus; Escape leads back."""
    where = "(() => { const x = document.activeElement; return [x.closest('.filter,.flows,.wire,.panel,.events')?.className.split(' ')[0] ?? x.tagName, getComputedStyle(x).outlineStyle]; })()"
    page.run("document.querySelector('.filter input').focus()")
    seen = [page.run(where)]
    for _ in range(2):
        page.key("Tab")
        seen.append(page.run(where))
    assert seen == [["filter", "solid"], ["flows", "solid"], ["wire", "solid"]]
    page.key("ArrowDown")
    page.key("ArrowDown")
    page.key("Enter")
    assert page.run(where) == ["wire", "solid"]
    page.key("Tab")
    assert page.run(where) == ["panel", "solid"]
    assert page.run("document.activeElement.tagName") == "SUMMARY"
    page.key("Enter")
    assert page.run("document.activeElement.parentElement.open") is True
    page.key("Escape")
    assert page.run("document.activeElement.dataset.frame") == "2"
    page.key("End")
    assert page.run("document.activeElement.dataset.frame") == "40"


@pytest.mark.parametrize(
    "text",
    [
        "args.big == 18446744073709551615",
        "args.big > 18446744073709551614",
        "args.big == 18446744073709551614",
        f"host_ns <= {made_run.BASE + 12345}",
        f"host_ns == {made_run.BASE + 12346}",
        "args.nothing == 1",
        "not args.nothing == 1",
        "args.nothing",
        "not args.nothing",
        "snd_cwnd > 1",
        "sock.snd_cwnd >= 15",
        "packet.options.mss == 1",
        "stack has caller_2",
        "comm ~ script",
        "locals.x == 1 or flags has R",
        "not (locals.x == 1 or flags has R)",
        "drop.reason == NO_SOCKET",
    ],
)
def test_the_box_finds_what_show_finds(page: Browser, run: RunDir, text: str) -> None:
    """Big numbers and fields that are not there too."""
    from kernlab.decode import expr

    kept = list(read_events(run.events))
    try:
        wanted = sum(expr.parse(text).evaluate(event) is True for event in kept)
    except expr.ExprError:
        wanted = -1
    found = page.run(
        f"(() => {{ try {{ const t = kernlab.language.parse({json.dumps(text)}); return kernlab.chapter(0).events.filter(x => t(x) === true).length; }} catch (e) {{ if (e.column === undefined) throw e; return -1; }} }})()"
    )
    assert found == wanted


def test_the_expression_table(page: Browser) -> None:
    page.run(f"window.table = {json.dumps(TABLE)}")
    wrong = page.run(
        "table.rows.filter(([text, event, wanted]) => ({true: 'true', false: 'false', null: 'absent'})"
        "[kernlab.language.parse(text)(table.events[event])] !== wanted)"
    )
    assert wrong == []


@pytest.mark.parametrize(
    "text",
    [
        "",
        "prt == 80",
        "port == abc",
        "flags < S",
        "port ==",
        "and",
        "(port == 80",
        "addr == 1.2.3.400",
        "comm ~ '['",
    ],
)
def test_a_bad_expression_is_refused_in_the_same_column(page: Browser, text: str) -> None:
    from kernlab.decode import expr

    with pytest.raises(expr.ExprError) as caught:
        expr.parse(text)
    column = page.run(
        f"(() => {{ try {{ kernlab.language.parse({json.dumps(text)}); return 0; }} catch (e) {{ return e.column; }} }})()"
    )
    assert column == caught.value.column


@pytest.mark.parametrize("width", [800, 1280, 1920])
@pytest.mark.parametrize("count", [3, 40])
def test_no_text_runs_out_of_the_page_or_over_another(
    browser: Browser, run: RunDir, tmp_path: Path, width: int, count: int
) -> None:
    if count == 3:
        run = RunDir(made_run.make(tmp_path / "run", 3))
        report(run)
    browser.open(run.report, width)
    assert browser.run("document.documentElement.scrollWidth <= innerWidth")
    over = browser.run(
        "(() => { const rows = [...document.querySelectorAll('.row')].filter(x => x.offsetParent)"
        ".map(x => [x.parentElement, x.getBoundingClientRect()]); const found = [];"
        "for (let i = 1; i < rows.length; i++) if (rows[i][0] === rows[i-1][0] && rows[i][1].top < rows[i-1][1].bottom - 1) found.push(i);"
        "for (const lane of document.querySelectorAll('.lane')) { const box = lane.closest('.row').getBoundingClientRect();"
        "for (const part of lane.children) if (part.getBoundingClientRect().bottom > box.bottom + 1) found.push(part.textContent); }"
        "return found; })()"
    )
    assert over == []


def test_a_hundred_thousand_events(browser: Browser, tmp_path: Path) -> None:
    """Memory of the writer stays far below the events' 100 MB; the page scrolls to any place."""
    made = RunDir(made_run.make(tmp_path / "run", 10_000, 100_000))
    script = (
        "import resource, sys; from pathlib import Path;"
        "from kernlab.record.rundir import RunDir; from kernlab.report.write import report;"
        f"report(RunDir(Path({str(made.path)!r})));"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"
    )
    said = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert int(said.stdout) < 400_000, "KiB"
    browser.open(made.report)
    assert browser.said == []
    assert browser.run("kernlab.chapter(0).events.length") == 100_000
    browser.run(
        "new Promise(done => { const box = document.querySelector('.events'); box.scrollTop = box.scrollHeight; requestAnimationFrame(() => requestAnimationFrame(done)); })"
    )
    assert browser.run("[...document.querySelectorAll('.ev')].pop().dataset.seq") == "100000"
    assert browser.run("document.querySelectorAll('.row').length") < 200


def test_the_capture_of_a_kept_run_opens_clean_and_says_what_the_kernel_did(tmp_path: Path) -> None:
    made = RunDir(made_run.make(tmp_path / "run", 12))
    before = [one["packet"] for one in segments(made.capture)]
    assert keep(made) == made.report
    assert [one["packet"] for one in segments(made.capture)] == before
    said = subprocess.run(
        [
            "tshark",
            "-r",
            str(made.capture),
            "-T",
            "fields",
            "-e",
            "frame.number",
            "-e",
            "frame.comment",
            "-e",
            "_ws.malformed",
        ],
        capture_output=True,
        text=True,
        check=True,
    )
    rows = [line.split("\t") for line in said.stdout.splitlines()]
    assert [row[0] for row in rows] == [str(n) for n in range(1, 13)]
    assert all(f"#{row[0]} tcp_v4_rcv" in row[1] and not row[2] for row in rows)


def test_interfaces_comments_and_losses_are_what_wireshark_reads(tmp_path: Path) -> None:
    made = RunDir(made_run.make(tmp_path / "run", 12))
    convert(made.capture, made.capture, names={1: "lo"}, lost=Lost(14, 2))
    keep(made)
    rows = reading.fields(made.capture, "frame.interface_name", "frame.comment", "_ws.malformed")
    assert [(row["frame.interface_name"], row["_ws.malformed"]) for row in rows] == [
        ("lo", "")
    ] * 12
    assert all("tcp_v4_rcv" in row["frame.comment"] for row in rows)
    said = subprocess.run(
        ["capinfos", str(made.capture)], capture_output=True, text=True, check=True
    ).stdout
    assert [
        line.split("=")[1].strip()
        for line in said.splitlines()
        if line.strip().startswith("Name =")
    ] == ["lo", "any"]
    assert "Number of stat entries = 1" in said
    assert losses(made.capture) == Lost(14, 2)
    text = made.report.read_text()
    assert "2 packets that tcpdump lost" in text


def test_what_a_socket_has_over_time_is_drawn(page: Browser) -> None:
    assert page.run(
        "[...document.querySelectorAll('.plotted figcaption b')].map(x => x.textContent).slice(0, 2)"
    ) == ["cwnd", "in flight"]


def drawn(
    browser: Browser, tmp_path: Path, stops: list[dict[str, Any]]
) -> list[tuple[str, list[tuple[str, str]]]]:
    """The drawings of a run with these stops: states as they are written below, edges with their kind."""
    made = RunDir(made_run.make(tmp_path / "run", 4, 0))
    made.events.write_text(
        "".join(
            json.dumps(
                {"v": 1, "seq": n, "engine": "gdb", "probe": "p", "cpu": 0, "host_ns": n, **one}
            )
            + "\n"
            for n, one in enumerate(stops, 1)
        )
    )
    report(made)
    browser.open(made.report)
    assert browser.said == []
    found = browser.run(
        "[...document.querySelectorAll('.machines figure')].map(one => [one.querySelector('figcaption .dim').textContent.trim(),"
        " [...one.querySelectorAll('[data-edge].went')].map(e => [e.dataset.edge, e.getAttribute('class').split(' ').pop()])])"
    )
    return [(way, [tuple(edge) for edge in edges]) for way, edges in found]


def stop(addr: int, state: str, sport: int = 80, dport: int = 40000, **more: Any) -> dict[str, Any]:
    return {
        "sock": {
            "addr": hex(addr),
            "state": state,
            "src": "127.0.0.1",
            "dst": "127.0.0.1",
            "sport": sport,
            "dport": dport,
            "protocol": "tcp",
        },
        **more,
    }


def test_only_changes_that_a_sock_can_make_are_drawn(browser: Browser, tmp_path: Path) -> None:
    """Two socks whose stops are mixed; what was not seen is not drawn; who is at the address afterwards is another one."""
    change = {"probe": "tcp_set_state"}
    assert drawn(
        browser,
        tmp_path,
        [
            stop(1, "LISTEN", dport=0),
            stop(2, "SYN_SENT", 40000, 80, **change, args={"state": 1}),
            stop(3, "NEW_SYN_RECV"),
            stop(4, "SYN_RECV"),
            stop(2, "ESTABLISHED", 40000, 80),
            stop(4, "ESTABLISHED"),
            stop(2, "FIN_WAIT1", 40000, 80),
            stop(4, "LAST_ACK"),
            stop(2, "FIN_WAIT2", 40000, 80),
            stop(6, "TIME_WAIT", 40000, 80),
            stop(4, "CLOSE"),
            stop(2, "CLOSE", 40000, 80),
            stop(4, "SYN_RECV"),
            stop(4, "CLOSE"),
            stop(3, "SYN_RECV"),
            stop(3, "ESTABLISHED"),
            stop(
                7,
                "CLOSE",
                0,
                0,
                sock={"addr": "0x7", "state": "CLOSE", "sport": 53, "dport": 0, "protocol": "udp"},
            ),
        ],
    ) == [
        (
            "SYN_SENT (#2) → ESTABLISHED (#2) → FIN_WAIT1 (#7) → FIN_WAIT2 (#9) → CLOSE (#12)",
            [
                ("SYN_SENT ESTABLISHED", "sure"),
                ("ESTABLISHED FIN_WAIT1", "sure"),
                ("FIN_WAIT1 FIN_WAIT2", "sure"),
                ("FIN_WAIT2 CLOSE", "sure"),
            ],
        ),
        (
            "SYN_RECV (#4) → ESTABLISHED (#6) … LAST_ACK (#8) → CLOSE (#11)",
            [("SYN_RECV ESTABLISHED", "sure"), ("LAST_ACK CLOSE", "sure")],
        ),
        ("SYN_RECV (#13) … CLOSE (#14)", [("SYN_RECV CLOSE", "maybe")]),
        ("SYN_RECV (#15) → ESTABLISHED (#16)", [("SYN_RECV ESTABLISHED", "sure")]),
    ]


def test_the_states_of_a_record_with_unknown_and_strange_ones_are_drawn(
    browser: Browser, tmp_path: Path
) -> None:
    names = [*"ABC", "CLOSE", "TIME_WAIT", "NEW_SYN_RECV", "constructor", "CLOSE"]
    ways = drawn(browser, tmp_path, [stop(1, name) for name in names])
    assert all(edges == [] for _, edges in ways)


def test_sent_again_is_what_was_sent_before_and_nothing_else(
    browser: Browser, tmp_path: Path
) -> None:
    """A segment below one far out of the window is new."""
    sent = [
        (True, 1000, 0, "S", 0),
        (False, 5000, 1001, "SA", 0),
        (True, 1001, 5001, "PA", 4),
        (True, 901001, 5001, "PA", 3),
        (True, 1005, 5001, "PA", 4),
        (True, 1003, 5001, "PA", 4),
    ]
    made = RunDir(made_run.make(tmp_path / "run", 3, 0))
    write(made.capture, (made_run.segment(n * 50, *one) for n, one in enumerate(sent)))
    report(made)
    browser.open(made.report)
    notes = browser.run("kernlab.chapter(0).segments.map(x => x.notes.join())")
    assert notes == ["", "", "", "gap of 899996 bytes before it", "", "sent again"]
