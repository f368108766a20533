"""What the detective has recorded: the RST senders, and what happens before them."""

from __future__ import annotations

from kernlab.reasons.match import Matcher
from kernlab.reasons.model import Reasons
from kernlab.trace.plan import Show


def probes(reasons: Reasons) -> tuple[tuple[str, ...], ...]:
    """Groups as a preset has them: a function that a kernel lacks is left out."""
    return tuple((name,) for name in Matcher(reasons).probes)


def shows(reasons: Reasons) -> tuple[Show, ...]:
    """What the reasons read at their probes. An expression that has no meaning on a kernel
    has no value there, and conditions on it do not hold."""
    found = {
        (probe, name): Show(probe, name, text)
        for reason in reasons.values()
        for probe, name, text in reason.all_reads()
    }
    return tuple(found.values())
