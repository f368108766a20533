"""Reads a page back: every number that it shows, held against the run that it was made of.

The capture's own numbers come from tshark, which we did not write. What the page counts or
subtracts (stops of an arrow, times since the first segment) is done here again.
"""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterable, Iterator
from decimal import ROUND_HALF_UP, Decimal
from pathlib import Path
from typing import Any

from browser import Browser

# Every piece of text of a chapter with all its arrows opened one after the other; lines of the
# kernel's source apart (``quoted``).
_TEXTS = """(() => {
  const section = document.querySelector('main > section:not([hidden])'), found = new Set();
  const take = (root) => {
    const walk = document.createTreeWalker(root, NodeFilter.SHOW_TEXT);
    while (walk.nextNode()) if (!walk.currentNode.parentElement.closest('.source')) found.add(walk.currentNode.nodeValue);
  };
  take(section);
  for (const flow of [null, ...section.querySelectorAll('.flows button')]) {
    if (flow) flow.click();
    for (const arrow of [...section.querySelectorAll('.seg')]) { arrow.click(); take(section); }
  }
  for (const row of [...section.querySelectorAll('.ev')]) { row.click(); take(section.querySelector('.event')); }
  take(document.querySelector('.top')); take(document.querySelector('footer'));
  return [...found];
})()"""  # noqa: E501
_ARROWS = """(() => {
  const section = document.querySelector('main > section:not([hidden])'), found = {};
  for (const flow of [null, ...section.querySelectorAll('.flows button')]) {
    if (flow) flow.click();
    for (const arrow of section.querySelectorAll('.seg')) found[arrow.dataset.frame] = [arrow.querySelector('.time').textContent, arrow.querySelector('.label').textContent];
  }
  return JSON.stringify(found);
})()"""  # noqa: E501
_WORD = re.compile(r"[\w.+\-−]*\d[\w.+\-−]*")
_TIME = re.compile(r"(?<![\w.])\+?-?\d+\.\d+ m?s\b")
_COUNTED = re.compile(
    r"\d+ stops?\b|stack, \d+ frames|\d+ values|\d+ of \d+ events|\d+ more sockets?"
    r"|gap of \d+ bytes|and \d+ more|one of \d+ rounds|· \d+(?: · RST)?$|\d+ ×"
    r"|\d+ packets that tcpdump lost"
)
_FIELDS = (
    "frame.number",
    "frame.time_relative",
    "tcp.seq",
    "tcp.ack",
    "tcp.window_size_value",
    "tcp.len",
    "tcp.stream",
    "tcp.options.mss_val",
    "tcp.options.wscale.shift",
)


def strange(browser: Browser, run: Path, *legs: Path) -> list[str]:
    """What the open chapter shows that neither the record in ``legs`` (directories with
    events.jsonl and capture.pcapng) nor the run's own files have: each number's text."""
    known: set[str] = set()
    times: set[str] = set()
    for leg in legs:
        known |= _record(run, leg)
        times |= _times(leg)
    found = []
    for text in browser.run(_TEXTS):
        rest = _COUNTED.sub(" ", text)
        for one in (word.lstrip("+") for word in _TIME.findall(rest)):
            if one not in times and one.split()[0] not in known:
                found.append(f"{one} in {text!r}")
        for word in _words([_TIME.sub(" ", rest)]):
            if word[:1].isdigit() and word not in known:
                found.append(f"{word} in {text!r}")
    return found


def wrong_arrows(browser: Browser, capture: Path) -> list[str]:
    """The arrows of the open chapter that say something else than tshark says of their frame."""
    read = {row["frame.number"]: row for row in fields(capture, *_FIELDS) if row["tcp.seq"]}
    first = next(iter(read.values()))["frame.time_relative"]
    shown: dict[str, list[str]] = json.loads(browser.run(_ARROWS))
    found = [f"frame {number} has no segment" for number in shown if number not in read]
    for number, (at, label) in shown.items():
        row = read.get(number)
        if row is None:
            continue
        told = dict(re.findall(r"(seq|ack|win|len|mss|wscale) (\d+)", label))
        for name, key in (
            ("seq", "tcp.seq"),
            ("ack", "tcp.ack"),
            ("len", "tcp.len"),
            ("win", "tcp.window_size_value"),
            ("mss", "tcp.options.mss_val"),
            ("wscale", "tcp.options.wscale.shift"),
        ):
            if name in told and told[name] != row[key]:
                found.append(f"frame {number}: {name} {told[name]}, tshark {row[key]}")
        if "len" not in told and row["tcp.len"] != "0":
            found.append(f"frame {number}: no length, tshark {row['tcp.len']}")
        since = _ns(row["frame.time_relative"]) - _ns(first)
        if at != time(since):
            found.append(f"frame {number}: at {at}, tshark {time(since)}")
    return found


def fields(capture: Path, *names: str) -> list[dict[str, str]]:
    """Fields of each frame by tshark, relative sequence numbers and all."""
    asked = [word for name in names for word in ("-e", name)]
    said = _tshark(capture, "-T", "fields", "-E", "separator=/t", "-E", "occurrence=f", *asked)
    return [dict(zip(names, line.split("\t"), strict=True)) for line in said.splitlines()]


def _ns(seconds: str) -> int:
    """Exact: a float's last bit decides whether 20.05 ms are 20.0 or 20.1."""
    return int(Decimal(seconds) * 10**9)


def time(ns: float) -> str:
    """A time as the page writes it: toFixed() takes the larger of two that are as near."""
    if abs(ns) < 1e9:
        return f"{Decimal(ns / 1e6).quantize(Decimal('0.1'), ROUND_HALF_UP)} ms"
    return f"{Decimal(ns / 1e6 / 1000).quantize(Decimal('0.001'), ROUND_HALF_UP)} s"


def _tshark(capture: Path, *words: str) -> str:
    argv = ["tshark", "-r", str(capture), "-o", "tcp.relative_sequence_numbers:TRUE", *words]
    return subprocess.run(argv, capture_output=True, text=True, check=True).stdout


def _events(leg: Path) -> list[dict[str, Any]]:
    path = leg / "events.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def _record(run: Path, leg: Path) -> set[str]:
    files = [run / "run.json", *leg.glob("*.json"), *leg.parent.glob("*.yaml")]
    said = [path.read_text("utf-8") for path in files]
    said += [_tshark(leg / "capture.pcapng", "-V")]
    for event in _events(leg):
        (event.get("packet") or {}).pop("raw", None)
        said.append(json.dumps(event, ensure_ascii=False))
        sock = event.get("sock") or {}
        if "snd_nxt" in sock and "snd_una" in sock:
            said.append(str((sock["snd_nxt"] - sock["snd_una"]) & 0xFFFFFFFF))  # in flight
    return _words(said)


def _times(leg: Path) -> set[str]:
    """Every difference of two times of the record that a page may show."""
    stamps = [one["guest_ns"] for one in _events(leg)]
    found = {time(b - a) for a in stamps for b in stamps}
    wire = [
        _ns(row["frame.time_relative"])
        for row in fields(leg / "capture.pcapng", "frame.time_relative", "tcp.seq")
        if row["tcp.seq"]
    ]
    return found | {time(b - a) for a in wire for b in wire if b >= a}


def _words(texts: Iterable[str]) -> set[str]:
    return set(_split(texts))


def _split(texts: Iterable[str]) -> Iterator[str]:
    for text in texts:
        for word in _WORD.findall(text.replace("\\u2212", "-")):
            yield word.strip(".+-−")
