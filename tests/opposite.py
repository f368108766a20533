"""Predicates turned into their opposites, for tests of verdicts."""

from __future__ import annotations

from kernlab.verdict.model import Check, atoms


def inverted(check: Check) -> list[Check]:
    """Each part of a predicate turned into its opposite."""
    return [
        part.negated if part.negated is not None else Check.model_validate({"not": part})
        for part in atoms(check)
    ]
