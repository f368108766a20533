"""``kernlab rst --lab``: the RSTs of a lab's legs, explained."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kernlab.cli import common
from kernlab.cli.bootoptions import BootOptions

if TYPE_CHECKING:
    from kernlab.decode.expr import Expr


def explain_lab(
    lab: str, where: Expr | None, json: bool, full: bool, boot: BootOptions, out: str | None
) -> int:
    """Run a lab and show its RSTs, those for which ``where`` is true."""
    from kernlab.cli.output import print_json, reporter, stdout
    from kernlab.decode import expr
    from kernlab.lab.runner import run_labs
    from kernlab.lessons.results import requested
    from kernlab.record.isn import Isns
    from kernlab.sinks.rst import RstView

    requests = requested([lab])
    with reporter() as report:
        setting = boot.setting(report, out, named={one.path for one in requests})
        results = run_labs(requests, setting, lambda told: None)
    common.conclude(setting.run)
    view = RstView(stdout(), full)
    shown = sent = 0
    for result in results:
        for leg in result.legs:
            view.count_from(Isns.kept(leg.directory.capture))
            for event in leg.explained:
                sent += 1
                if not expr.passes(where, event):
                    continue
                shown += 1
                if json:
                    print_json({"lab": result.request.name, "leg": leg.name, **event})
                else:
                    view.event(event, shown)
    if not json:
        view.summary({"RSTs": f"{shown} of {sent}", "run": str(setting.run.path)})
    return 0
