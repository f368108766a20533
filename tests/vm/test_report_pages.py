"""The page of a lab and of a race alone tells what happened and why, and every number on it is
in the record: labs of each kind on a real kernel, read back in a browser."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import reading
from browser import Browser, chromium

from kernlab.config.text import say
from kernlab.lessons.grade import grade
from kernlab.record.pcapng import losses
from kernlab.record.rundir import RunDir
from kernlab.report.write import report

Kernlab = Callable[..., "subprocess.CompletedProcess[bytes]"]
LABS = {"L01": "lo", "L03": "lo", "L14": "tun0", "L22": "tun0", "L28": "tun0", "L30": "tun0"}
SHOWN = "document.querySelector('main > section:not([hidden])')"


@pytest.fixture(scope="module")
def labs(
    request: pytest.FixtureRequest, kernlab: Kernlab, tmp_path_factory: pytest.TempPathFactory
) -> RunDir:
    """These labs, of the run of all where there is one in this session."""
    if any("every" in getattr(item, "fixturenames", ()) for item in request.session.items):
        run = RunDir(request.getfixturevalue("every"))
    else:
        run = RunDir(tmp_path_factory.mktemp("labs") / "run")
        said = kernlab("lab", "run", *LABS, "--json", "--out", str(run.path))
        assert said.returncode in (0, 1), said.stderr.decode()
    report(run)
    return run


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with chromium(tmp_path_factory.mktemp("profile")) as opened:
        yield opened


@pytest.mark.parametrize("name", LABS)
def test_a_lab_s_page_tells_its_story_and_no_number_is_its_own(
    labs: RunDir, browser: Browser, name: str
) -> None:
    leg = labs.path / name / "main"
    browser.open(labs.report, fragment=f"{name}-main")
    assert browser.said == []
    assert browser.asked == [labs.report.as_uri()]
    text = browser.run(f"{SHOWN}.innerText")
    graded = grade(labs.path / name)
    lab = graded.lab
    steps = [lab.steps[step] for step in json.loads((leg / "results.json").read_text())["steps"]]
    for told in (lab.title, lab.idea, lab.watch, *steps):
        assert _flat(say(told)) in _flat(text)
    marks = browser.run(f"[...{SHOWN}.querySelectorAll('td.mark')].map(x => x.textContent)")
    assert marks == [{True: "✓", False: "✗", None: "·"}[one.holds] for one in graded.legs["main"]]
    rows: list[dict[str, Any]] = json.loads((leg / "rst.json").read_text())
    for rst in rows:
        for part in (rst["cause"], rst["name"], rst["says"], rst["condition"], rst["remedy"]):
            assert _flat(part) in _flat(text)
        opened = browser.run(f"{SHOWN}.querySelector('.panel').innerText")
        assert rst["cause"] in opened
    assert reading.wrong_arrows(browser, leg / "capture.pcapng") == []
    assert reading.strange(browser, labs.path, leg) == []


@pytest.mark.parametrize("name", LABS)
def test_a_capture_names_the_device_that_the_lab_has(labs: RunDir, name: str) -> None:
    """tun0 is made by the lab's program after tcpdump began, and gone before it ends."""
    capture = labs.path / name / "main" / "capture.pcapng"
    rows = reading.fields(capture, "frame.interface_name", "tcp.stream", "_ws.malformed")
    assert {row["frame.interface_name"] for row in rows if row["tcp.stream"]} == {LABS[name]}
    assert {row["_ws.malformed"] for row in rows} == {""}
    assert not losses(capture).any


def test_what_sent_a_segment_again_stands_at_its_arrow(labs: RunDir, browser: Browser) -> None:
    browser.open(labs.report, fragment="L28-main")
    again = browser.run(
        f"[...{SHOWN}.querySelectorAll('.seg.warn')].map(x => {{ x.click(); "
        f"return [...{SHOWN}.querySelectorAll('.panel header strong')]"
        ".map(y => y.textContent); })"
    )
    assert again == [["tcp_retransmit_timer", "tcp_enter_loss", "tcp_retransmit_skb"]] * 3


def test_beyond_nat_a_journey_goes_on(labs: RunDir, browser: Browser) -> None:
    """The port of L30 is another one at tcp_v4_rcv than in the capture."""
    browser.open(labs.report, fragment="L30-main")
    browser.run(f"{SHOWN}.querySelectorAll('.seg')[3].click()")
    panel = _flat(browser.run(f"{SHOWN}.querySelector('.panel').innerText"))
    assert "packet.dport 1111 → 8080" in panel
    notes = browser.run(f"[...{SHOWN}.querySelectorAll('.note')].map(x => x.textContent)")
    assert [text for text in notes if "refused: RST in frame 8" in text] == [notes[5]]
    browser.run(f"[...{SHOWN}.querySelectorAll('.seg')].pop().click()")
    last = browser.run(
        f"[...{SHOWN}.querySelectorAll('.panel header strong')].map(x => x.textContent)"
    )
    assert last == ["nf_conntrack_tcp_packet", "tcp_v4_rcv", "tcp_reset"]
    assert "the other end sent it" in browser.run(f"{SHOWN}.querySelector('.seg.chosen').innerText")


def test_the_source_is_this_kernel_s(labs: RunDir, browser: Browser) -> None:
    tree = Path(labs.read()["resolved"]["source"])
    browser.open(labs.report, fragment="L14-main")
    number = browser.run(f"[...document.querySelectorAll('main > section')].indexOf({SHOWN})")
    places = json.loads(browser.run(f"JSON.stringify(kernlab.chapter({number}).sources)"))
    assert len(places) > 20
    for place, rows in places.items():
        lines = (tree / place.rpartition(":")[0]).read_text("utf-8", "replace").splitlines()
        assert [text for _, text in rows] == [
            lines[at - 1].expandtabs(8).rstrip() for at, _ in rows
        ]


def test_the_rst_of_a_race_has_its_card(kernlab: Kernlab, browser: Browser, tmp_path: Path) -> None:
    out = tmp_path / "run"
    said = kernlab("race", "run", "R-TW", "--times", "1", "--json", "--out", str(out))
    assert said.returncode == 0, said.stderr.decode()
    if json.loads(said.stdout.splitlines()[0])["ending"] != "rst":
        pytest.skip("this kernel sends no RST in this race")
    browser.open(out / "report.html")
    assert browser.said == []
    card = _flat(browser.run(f"{SHOWN}.querySelector('.rst').innerText"))
    ending = browser.run(f"{SHOWN}.querySelector('h2').textContent")
    assert f"race {_flat(ending)}" in card
    assert "because" in card
    picture = f"{SHOWN}.querySelector('.picture').shadowRoot"
    assert browser.run(f"{picture}.querySelector('svg') !== null")
    assert "RST" in browser.run(f"{SHOWN}.querySelector('.seg.chosen').innerText")
    leg = out / "R-TW" / "round-001"
    assert reading.wrong_arrows(browser, leg / "capture.pcapng") == []
    assert reading.strange(browser, out, leg) == []
    rows = reading.fields(leg / "capture.pcapng", "tcp.flags.str", "frame.comment")
    (rst,) = [row for row in rows if "RST: " in row["frame.comment"]]
    assert "R" in rst["tcp.flags.str"]
    assert "race: " in rst["frame.comment"]


def test_a_packet_that_the_kernel_dropped_says_so_in_its_comment(
    traced: Callable[..., tuple[list[dict[str, Any]], Path]],
) -> None:
    """A SYN to a port where nobody listens; its reason where this kernel tells one."""
    events, out = traced("--preset", "drop", "--workload", "connect-closed")
    dropped = [one for one in events if one["stack"][1]["func"] == "tcp_v4_rcv"]
    assert len(dropped) == 3
    reason = " (NO_SOCKET)" if "reason" in dropped[0]["args"] else ""
    rows = reading.fields(
        out / "capture.pcapng", "tcp.flags.str", "frame.comment", "frame.interface_name"
    )
    said = [row for row in rows if f"DROPPED in tcp_v4_rcv{reason} " in row["frame.comment"]]
    assert [row["frame.interface_name"] for row in said] == ["lo"] * 3
    assert all("S" in row["tcp.flags.str"] for row in said)


def _flat(text: str) -> str:
    return " ".join(text.split())
