"""Causes by calls that are written as data: N1, P14, and what tells P14 from P1."""

from __future__ import annotations

import pytest
from causes import EVENTS

from kernlab.reasons.match import findings
from kernlab.reasons.model import table


@pytest.mark.parametrize("name", EVENTS)
def test_one_cause_and_no_other(name: str) -> None:
    given, cause = EVENTS[name]
    *_, found = findings(given, table())
    assert (found.cause, found.also) == (cause, ())


def test_the_condition_names_the_port_that_was_not_translated() -> None:
    (found,) = findings(EVENTS["INVALID"][0], table())
    assert "to port 1111" in found.condition()
    assert "_nfct = 0" in found.condition()
    assert found.decides == 1
