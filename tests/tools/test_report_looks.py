"""How a report looks: in print, in both colours, and with hostile words from everywhere."""
# ruff: noqa: E501 - the page is asked in JavaScript, a question a line

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import made_run
import pytest
from browser import Browser
from contrast import DIM

from kernlab.record.pcapng import convert
from kernlab.record.rundir import RunDir
from kernlab.report.write import report

EVIL = "<img src=x onerror=\"document.title='taken'\"><script>document.title='taken'</script>"
DEVICE = "<b onload=x>"  # IFNAMSIZ is 16; no blank, slash or colon in a real one
LAB = """
title: {evil}
topic: handshake
level: 1
idea: {evil}
watch: {evil}
differs: {evil}
source: [net/ipv4/tcp.c]
program: l03
steps: {{one: {evil}}}
verdict:
  - {{counters: {{OutRsts: 1}}}}
  - {{got: {{{evil}: {evil}}}}}
"""


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> RunDir:
    """A lab's run in which every word that a user, a guest or a kernel chooses is hostile."""
    run = RunDir(tmp_path_factory.mktemp("lab") / "run")
    made_run.make(run.path / "L99" / "main", 12, 24, EVIL)
    (run.path / "L99" / "main" / "run.json").unlink()
    capture = run.path / "L99" / "main" / "capture.pcapng"
    convert(capture, capture, names={1: DEVICE})
    (run.path / "L99" / "lab.yaml").write_text(LAB.format(evil=json.dumps(EVIL)))
    results = {"status": 0, "said": "", "steps": ["one", EVIL], "got": {EVIL: EVIL}}
    (run.path / "L99" / "main" / "results.json").write_text(json.dumps(results))
    (run.path / "L99" / "main" / "counters.json").write_text('{"Tcp.OutRsts": 1}')
    told = {
        "asked": {"argv": ["kernlab", "lab", "run", EVIL]},
        "resolved": {"release": EVIL, "argv": ["qemu", EVIL]},
    }
    (run.path / "run.json").write_text(json.dumps(told))
    report(run)
    return run


def test_no_word_of_a_lab_a_guest_or_a_command_line_is_markup(
    browser: Browser, lab: RunDir
) -> None:
    browser.open(lab.report)
    browser.run("document.querySelector('.ev').click()")
    browser.run("document.querySelectorAll('details').forEach(one => { one.open = true; })")
    assert browser.said == []
    assert browser.asked == [lab.report.as_uri()]
    assert "taken" not in browser.run("document.title").replace(EVIL, "")
    assert browser.run("document.querySelectorAll('img').length") == 0
    text = browser.run("document.body.innerText")
    assert text.count("onerror=") > 12
    assert DEVICE in text
    assert browser.run("document.querySelectorAll('[onload], [onerror]').length") == 0
    assert browser.run("document.querySelectorAll('script:not([id])').length") == 1


def test_no_packet_s_bytes_are_in_the_page(lab: RunDir) -> None:
    """They are in the capture; a page is sent around."""
    text = lab.report.read_text()
    events = (lab.path / "L99" / "main" / "events.jsonl").read_text()
    raw = re.findall(r'"raw":"([^"]+)"', events)
    assert len(raw) == 24
    assert not any(one in text for one in raw)


def test_no_word_of_a_race_is_markup(browser: Browser, tmp_path: Path) -> None:
    """Its picture is an SVG of ours, which the page takes as markup."""
    shipped = (Path(__file__).parents[2] / "configs" / "races" / "R1.yaml").read_text()
    evil = json.dumps(EVIL)
    text = re.sub(r"^title: .*$", lambda _: f"title: {evil}", shipped, count=1, flags=re.MULTILINE)
    text = text.replace('{en: "B brings the first data.", ', f"{{en: {evil}, ").replace(
        "sport == 8080", "sport == 80"
    )
    text = text.replace(
        '{en: "RST: B found neither, and the listener refused the data", ', f"{{en: {evil}, "
    )
    assert text.count("onerror") == 3
    run = RunDir(tmp_path / "run")
    made_run.make(run.path / "R1" / "round-001", 8, 3, EVIL)
    (run.path / "R1" / "round-001" / "run.json").unlink()
    events = run.path / "R1" / "round-001" / "events.jsonl"
    rows = [json.loads(line) for line in events.read_text().splitlines()]
    for number, (row, actor) in enumerate(zip(rows, "AAB", strict=True), 1):
        row |= {
            "race": {"actor": actor, "step": number, "reached": EVIL, "place": EVIL},
            "probe": EVIL,
        }
    events.write_text("".join(json.dumps(row) + "\n" for row in rows))
    (run.path / "R1" / "race.yaml").write_text(text)
    (run.path / "R1" / "round-001" / "round.json").write_text('{"round": 1, "ending": "rst"}')
    (run.path / "R1" / "round-001" / "results.json").write_text(
        json.dumps({"status": 0, "said": "", "steps": [], "got": {"server.recv": EVIL}})
    )
    (run.path / "run.json").write_text(
        json.dumps(
            {"asked": {"argv": ["kernlab", "race", "run", EVIL]}, "resolved": {"release": EVIL}}
        )
    )
    report(run)
    browser.open(run.report)
    assert browser.said == []
    assert browser.run("document.title.replace(/<.*>/, '')").count("taken") == 0
    inside = "document.querySelector('.picture').shadowRoot"
    assert browser.run(f"{inside}.querySelector('svg') !== null")
    assert (
        browser.run(
            f"{inside}.querySelectorAll('img, script').length + document.querySelectorAll('img').length"
        )
        == 0
    )
    assert "onerror" in browser.run(f"{inside}.textContent")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_all_text_can_be_read(browser: Browser, lab: RunDir, scheme: str) -> None:
    browser.scheme(scheme)
    browser.open(lab.report)
    browser.run("document.querySelectorAll('details').forEach(one => { one.open = true; })")
    assert (
        browser.run("getComputedStyle(document.body).backgroundColor")
        == {"light": "rgb(255, 255, 255)", "dark": "rgb(13, 17, 23)"}[scheme]
    )
    assert browser.run(DIM) == []
    browser.run(
        "document.documentElement.style.setProperty('--dim', getComputedStyle(document.documentElement).getPropertyValue('--edge'))"
    )
    assert browser.run(DIM), "what is too dim is found"
    browser.scheme("light")


def test_what_is_printed_is_what_is_shown_and_nothing_is_cut(
    browser: Browser, tmp_path: Path
) -> None:
    if shutil.which("pdftotext") is None:
        pytest.skip("no pdftotext here: apt-get install poppler-utils")
    made = RunDir(made_run.make(tmp_path / "run", 40, 120))
    report(made)
    browser.open(made.report)
    rows = browser.run(
        "[...document.querySelectorAll('.wire .label')].map(x => x.textContent.split(/\\s+/).join(' '))"
    )
    heads = browser.run(
        "[...document.querySelectorAll('section:not([hidden]) h2, section:not([hidden]) h3')].filter(x => x.getClientRects().length).map(x => x.textContent)"
    )
    browser.printed(tmp_path / "page.pdf")
    said = subprocess.run(
        ["pdftotext", "-layout", str(tmp_path / "page.pdf"), "-"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    flat = " ".join(said.split())
    assert len(rows) > 10
    assert [text for text in (*rows, *heads) if " ".join(text.split()) not in flat] == []
    assert "#120" in flat or re.search(r"\b120\b", flat), "the last event too"
    boxes = subprocess.run(
        ["pdftotext", "-bbox", str(tmp_path / "page.pdf"), "-"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    width = max(float(one) for one in re.findall(r'<page width="([\d.]+)"', boxes))
    right = [
        (float(x), word) for x, word in re.findall(r'xMax="([\d.]+)"[^>]*>([^<]*)</word>', boxes)
    ]
    assert len(right) > 500
    assert [one for one in right if one[0] > width - 20] == []


def test_an_arrow_is_not_torn_between_two_sheets(browser: Browser, tmp_path: Path) -> None:
    """Each row of a list is kept whole: it is in the flow of the page, where break-inside counts."""
    made = RunDir(made_run.make(tmp_path / "run", 60))
    report(made)
    browser.open(made.report)
    browser.call("Emulation.setEmulatedMedia", media="print")
    assert browser.run(
        "[...document.querySelectorAll('.row')].map(x => getComputedStyle(x)).every(x => x.position === 'relative' && x.breakInside === 'avoid')"
    )
    browser.call("Emulation.setEmulatedMedia", media="")
