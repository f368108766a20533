"""What the detective has recorded: the RST senders, and what happens before them."""

from __future__ import annotations

from kernlab.reasons import watch
from kernlab.reasons.match import Matcher
from kernlab.reasons.model import Reasons, senders
from kernlab.trace.request import Show


def probes(reasons: Reasons) -> tuple[tuple[str, ...], ...]:
    """Groups as a preset has them: a function that a kernel lacks is left out."""
    return tuple((name,) for name in Matcher(reasons).probes)


def watches(reasons: Reasons) -> tuple[tuple[str, ...], ...]:
    """More groups, for a live run: what shows that a sender sends, and what else happens to
    connections and tasks."""
    rules = watch.table()
    known = {name for group in probes(reasons) for name in group}
    return tuple((name,) for name in (*rules.passes(), *rules.watches) if name not in known)


def shows(reasons: Reasons) -> tuple[Show, ...]:
    """What the reasons read at their probes. An expression that has no meaning on a kernel
    has no value there, and conditions on it do not hold."""
    found = {
        (probe, name): Show(probe, name, text)
        for reason in reasons.values()
        for probe, name, text in reason.all_reads()
    }
    rules = watch.table()
    places = {name: row.reads for name, row in rules.senders.items() if name in senders(reasons)}
    places |= {name: row.reads for name, row in rules.watches.items()}
    for place, reads in places.items():
        for name, text in reads.items():
            found.setdefault((place, name), Show(place, name, text))
    return tuple(found.values())
