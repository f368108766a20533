"""The report of a real run: the page says what events and capture say, and Wireshark why."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

from browser import chromium

from kernlab.record.segments import segments
from kernlab.record.store import read_events

Kernlab = Callable[..., "subprocess.CompletedProcess[bytes]"]


def test_a_lab_is_told_by_its_page_and_its_capture(kernlab: Kernlab, tmp_path: Path) -> None:
    out = tmp_path / "run"
    said = kernlab("rst", "--lab", "L03", "--json", "--out", str(out))
    assert said.returncode == 0, said.stderr.decode()
    told = json.loads(said.stdout.splitlines()[0])["rst"]
    capture = out / "L03" / "main" / "capture.pcapng"
    read = subprocess.run(
        [
            "tshark",
            "-r",
            str(capture),
            "-T",
            "json",
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
    layers: list[dict[str, Any]] = [one["_source"]["layers"] for one in json.loads(read.stdout)]
    assert not any("_ws.malformed" in one for one in layers)
    comment = layers[told["frame"] - 1]["frame.comment"][0]
    for part in (
        f"RST: {told['cause']} {told['name']}",
        told["condition"],
        told["remedy"],
        "tcp_send_active_reset",
        "__tcp_close",
    ):
        assert part in comment
    wire = segments(capture)
    kept = list(read_events(out / "L03" / "main" / "events.jsonl"))
    with chromium(tmp_path / "profile") as page:
        page.open(out / "report.html", fragment="L03-main")
        assert page.said == []
        number = page.run(
            "[...document.querySelectorAll('main > section')].findIndex(x => !x.hidden)"
        )
        shown = json.loads(
            page.run(
                f"JSON.stringify([kernlab.chapter({number}).events"
                ".map(x => [x.seq, x.probe]), "
                f"kernlab.chapter({number}).segments.map(x => x.packet.seq)])"
            )
        )
        assert shown == [
            [[one["seq"], one["probe"]] for one in kept],
            [one["packet"]["seq"] for one in wire],
        ]
        text = page.run("document.querySelector('main > section:not([hidden])').innerText")
        for part in (told["says"], told["condition"], told["remedy"], "ECONNRESET"):
            assert part in text
        page.run(f"document.querySelector('.seg[data-frame=\"{told['frame']}\"]').click()")
        stop = next(one for one in kept if one["probe"] == "tcp_send_active_reset")
        stack = page.run(
            "[...document.querySelectorAll('section:not([hidden]) .panel "
            f'.hop[data-seq="{stop["seq"]}"] .stack li b\')].map(x => x.textContent)'
        )
        assert stack == [frame["func"] for frame in stop["stack"]]


def test_a_packet_is_followed_from_its_sender_to_the_receive_queue(
    traced: Callable[..., tuple[list[dict[str, Any]], Path]],
) -> None:
    events, out = traced("--follow", "journey", "--workload", "http")
    ways: dict[str, list[dict[str, Any]]] = {}
    for event in events:
        name = (event.get("packet") or {}).get("id")
        if name:
            ways.setdefault(name, []).append(event)
    data = [
        way
        for way in ways.values()
        if any(
            (one["packet"].get("flags"), bool(one["packet"].get("len"))) == ("PA", True)
            for one in way
        )
    ]
    assert data
    for way in data:
        probes = [one["probe"] for one in way]
        order = ["__tcp_transmit_skb", "ip_output", "dev_hard_start_xmit", "ip_rcv", "tcp_v4_rcv"]
        assert [name for name in probes if name in order] == order
        assert len({one["skb"]["addr"] for one in way}) == 2, "the original and its clone"
        assert len({one["packet"]["seq"] for one in way if "seq" in one["packet"]}) == 1
    # tcpdump's frames of this data are as many as the packets that were told apart.
    wire = [one for one in segments(out / "capture.pcapng") if one["packet"]["len"]]
    assert len(wire) == len(data)
