"""``kernlab rst explain``: what a capture alone can tell of its RSTs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kernlab.decode.expr import Expr
    from kernlab.reasons.wire import Explained


def explain(path: Path, where: Expr | None, json: bool) -> int:
    """Classify each RST of a capture by its wire shape."""
    from kernlab.cli.output import print_json, stdout
    from kernlab.decode import expr
    from kernlab.reasons.model import table
    from kernlab.reasons.wire import Explained
    from kernlab.sinks.console import Console
    from kernlab.sinks.explained import ExplainedView

    view = ExplainedView(Console(stderr=True) if json else stdout())
    reading = Explained(path, table())
    shown = 0
    try:
        for row in reading:
            if not expr.passes(where, row):
                continue
            shown += 1
            if json:
                print_json(row)
            else:
                view.row(row)
    finally:  # also of a file that is damaged in the middle: what came before is counted
        if reading.stream.tally.frames or reading.stream.cut is not None:
            if not json:
                view.summary(shown, str(path))
            view.limits(reading.stream, reading.forgotten, _more(reading))
    _understood(reading)
    return 0


def _more(reading: Explained) -> str:
    """How more is understood, where our own decoder was all there was."""
    if reading.stream.reader != "kernlab" or not reading.stream.tally.lost:
        return ""
    from kernlab.config.packages import closing_command

    return f"tshark reads more ({closing_command(['tshark'])}), and scapy does ({_pip()})"


def _pip() -> str:
    import shlex
    import sys

    return f"{shlex.quote(sys.executable)} -m pip install scapy"


def _understood(reading: Explained) -> None:
    """Raise ``HostLacks`` where our own decoder knew no frame at all: that no RST is shown
    then means nothing."""
    from kernlab.config.packages import closing_command
    from kernlab.errors import HostLacks
    from kernlab.record.dissected import CUT

    tally = reading.stream.tally
    foreign = sum(count for kind, count in tally.unknown.items() if kind != CUT)
    if reading.stream.reader == "kernlab" and tally.frames and foreign == tally.frames:
        raise HostLacks(
            "kernlab understood no frame of the capture, and tshark is not installed",
            "kernlab's own decoder knows IP in Ethernet, raw IP and tcpdump's -i any, without tags "
            f"and tunnels. scapy does without tshark: {_pip()}",
            closing_command(["tshark"]),
        )
