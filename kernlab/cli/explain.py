"""``kernlab rst explain``: what a capture alone can tell of its RSTs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kernlab.decode.expr import Expr


def explain(path: Path, where: Expr | None, json: bool) -> int:
    """Classify each RST of a capture by its wire shape."""
    from kernlab.cli.output import print_json, stdout
    from kernlab.decode import expr
    from kernlab.reasons.model import table
    from kernlab.reasons.wire import explained
    from kernlab.sinks.explained import ExplainedView

    view = ExplainedView(stdout())
    shown = 0
    for row in explained(path, table()):
        if not expr.passes(where, row):
            continue
        shown += 1
        if json:
            print_json(row)
        else:
            view.row(row)
    if not json:
        view.summary(shown, str(path))
    return 0
