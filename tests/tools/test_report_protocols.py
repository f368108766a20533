"""Packets that are no segments on the page: their line, their lane, the filter."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import made_run
from browser import Browser

from kernlab.record.rundir import RunDir
from kernlab.report.write import report

ABOUT = {"family": "ipv4", "proto": "udp", "src": "10.0.0.1", "sport": 5000}
ABOUT |= {"dst": "10.0.0.9", "dport": 53, "len": 4}
ICMP = {"family": "ipv4", "proto": "icmp", "src": "10.0.0.9", "dst": "10.0.0.1", "id": "x1"}
ICMP |= {"icmp_type": 3, "icmp_code": 3, "icmp_name": "DEST_UNREACH"}
ICMP |= {"icmp_code_name": "PORT_UNREACH", "quoted": ABOUT}
ERROR = {"proto": "icmp", "icmp_type": 3, "icmp_code": 3, "icmp_name": "DEST_UNREACH"}
ERROR |= {"icmp_code_name": "PORT_UNREACH"}


def event(seq: int, probe: str, file: str, **more: Any) -> dict[str, Any]:
    when = made_run.BASE + 10**9 + seq
    head = {"v": 1, "seq": seq, "engine": "gdb", "probe": probe, "cpu": 0, "host_ns": when}
    return {**head, "site": {"func": probe, "file": file, "line": 1}, **more}


def test_icmp_is_on_the_page(browser: Browser, tmp_path: Path) -> None:
    run = RunDir(made_run.make(tmp_path / "run", 12))
    with run.events.open("a", encoding="utf-8") as out:
        for one in (
            event(13, "__icmp_send", "net/ipv4/icmp.c", packet={**ABOUT, "id": "x0"}, error=ERROR),
            event(14, "icmp_rcv", "net/ipv4/icmp.c", packet=ICMP),
        ):
            out.write(json.dumps(one) + "\n")
    report(run)
    browser.open(run.report)
    browser.run(
        "(() => { const i = document.querySelector('.filter input'); "
        "i.value = 'icmp.type == DEST_UNREACH'; i.dispatchEvent(new Event('input')); })()"
    )
    assert browser.run("document.querySelector('.count').textContent") == "2 of 14 events"
    rows = browser.run("[...document.querySelectorAll('.ev')].map(x => x.textContent).join('\\n')")
    assert "UDP  10.0.0.1:5000 > 10.0.0.9:53  len 4  sends ICMP DEST_UNREACH PORT_UNREACH" in rows
    about = "about UDP 10.0.0.1:5000 > 10.0.0.9:53"
    line = f"ICMP  10.0.0.9 > 10.0.0.1  DEST_UNREACH PORT_UNREACH {about}"
    assert line in rows
    browser.run("[...document.querySelectorAll('.ev')].at(-1).click()")
    hop = "document.querySelector('.event [data-seq=\"14\"]')"
    assert line in browser.run(hop + ".textContent")
    assert browser.run(hop + ".querySelector('.tag').textContent") == "ICMP"
    assert browser.said == []
