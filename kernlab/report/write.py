"""report.html of a run, written when asked for, and at a run's end where that is cheap."""

from __future__ import annotations

from pathlib import Path

from kernlab.config.files import is_regular
from kernlab.config.text import Language
from kernlab.record.comments import annotate
from kernlab.record.rundir import RunDir
from kernlab.report.chapters import page
from kernlab.sinks.report.page import write

# What of a run is to be looked at: one of these.
SHOWN = ("events.jsonl", "capture.pcapng", "*/lab.yaml", "*/race.yaml")
_CHEAP = 16 << 20  # bytes of events and captures: about two seconds
_FEW = 200  # of these files: each leg and round is judged again


def report(run: RunDir, language: Language = "en") -> Path:
    """Write the page of a run. Raises ``BadInput`` when it holds nothing to look at."""
    write(run.report, page(run, language))
    return run.report


def keep(run: RunDir, language: Language = "en") -> Path | None:
    """At a run's end: comments in its captures, and its page; None where that would take
    long (``kernlab report`` makes the page)."""
    files = [
        path
        for name in ("events.jsonl", "capture.pcapng")
        for path in (*run.path.glob(name), *run.path.glob(f"*/*/{name}"))
        if is_regular(path, run.path)
    ]
    size = sum(path.stat().st_size for path in files)
    if not files or size > _CHEAP or len(files) > _FEW:
        return None
    made = page(run, language)
    for chapter in made.chapters:
        if chapter.capture is not None and chapter.capture.exists():
            annotate(chapter.capture, chapter.events())
    write(run.report, made)
    return run.report
