"""configs/reasons: the causes of a RST, one file each, named by its id (A1.yaml).

A cause is matched by the functions on the call stack, the state of the socket, and
conditions on what was read; never by a line's number.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from kernlab.config.paths import config_files
from kernlab.config.text import Text
from kernlab.config.yaml import Model, load
from kernlab.errors import BadInput
from kernlab.record.expression import Expression


class Earlier(Model):
    """An event to remember: of a probe in the same call, before the RST.

    ``same``: what ties the two: the sock (its address), the skb, or the segment's tuple.
    ``reads``: C expressions there, by name (``before.PROBE.show.NAME``).
    """

    probe: str
    same: Literal["sock", "skb", "tuple"]
    reads: dict[str, str] = {}


Shape = Literal["active", "passive", "passive-syn"]
PASSIVE: tuple[Shape, ...] = ("passive", "passive-syn")  # what answers a segment


class Wire(Model):
    """How the cause looks in a capture (``rst explain``): its shape, or the shapes it can
    have. ``when`` may also name the segment that provoked the RST
    (``before.provoked.packet.flags``) and what the connection had seen (``connection``).
    ``elsewhere``: a machine on the way may send it in the peer's name."""

    shape: Shape | list[Shape]
    when: Expression | None = None
    elsewhere: bool = False


class Errno(Model):
    """What each side's next calls give."""

    local: Text
    peer: Text


class Reason(Model):
    """One cause.

    ``probes``: the functions that send the RST (entries; the first argument of each that
    is a sock or an skb is the event's). ``frames``: functions on the stack, innermost first,
    others may lie between; a list in the list: one of these. ``decides``: the function whose
    frame made the decision (a list: whichever of these is on the stack). ``reads``: C
    expressions at the probe, by name; a condition calls them ``show.NAME``. ``condition``:
    what was true, with ``{NAME}`` for a value read and ``{sock.state}`` for a field.
    ``instead_of``: causes that this one is a case of.
    """

    name: Text
    kind: Literal["active", "passive", "netfilter"]
    source: str
    probes: list[str]
    frames: list[str | list[str]] = []
    not_frames: list[str] = []
    when: Expression | None = None
    decides: str | list[str] | None = None
    instead_of: list[str] = []
    reads: dict[str, str] = {}
    earlier: list[Earlier] = []
    says: Text
    condition: str
    counters: list[str] = []
    errno: Errno
    remedy: Text
    labs: list[str] = []
    wire: Wire | None = None

    def all_reads(self) -> Iterator[tuple[str, str, str]]:
        """Probe, name and expression of everything that is read."""
        for probe in self.probes:
            yield from ((probe, name, text) for name, text in self.reads.items())
        for item in self.earlier:
            yield from ((item.probe, name, text) for name, text in item.reads.items())


Reasons = dict[str, Reason]


def senders(reasons: Reasons) -> set[str]:
    """Every function that sends a RST, by the causes' own word."""
    return {probe for reason in reasons.values() for probe in reason.probes}


def table() -> Reasons:
    """Every cause by its id, the user's own included.

    Raises ``BadInput`` for a file that is wrong, and for one name that two files give to
    two expressions at one probe.
    """
    found = {path.stem: (path, load(path, Reason)) for path in config_files("reasons", "*.yaml")}
    said: dict[tuple[str, str], tuple[str, str]] = {}
    for path, reason in found.values():
        for probe, name, text in reason.all_reads():
            before, file = said.setdefault((probe, name), (text, path.name))
            if before != text:
                raise BadInput(
                    f"{path}: reads.{name} is {text!r}",
                    f"{file} gives the same name at {probe} to {before!r}",
                    f"edit {path}: another name",
                )
    return {key: reason for key, (_, reason) in found.items()}
