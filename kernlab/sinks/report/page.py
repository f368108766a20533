"""The page: what it says, and writing it as one file, event by event."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kernlab import __version__
from kernlab.config.paths import arriving_file
from kernlab.decode import fields, protocols
from kernlab.decode.names import TCP_STATES
from kernlab.record.identity import Identity
from kernlab.record.links import Links
from kernlab.record.source import excerpt
from kernlab.sinks import lanes
from kernlab.sinks.console import safe_lines
from kernlab.sinks.report.pack import Packer, dumps, segment_rows
from kernlab.verdict.judge import Line

_HERE = Path(__file__).parent
_SCRIPTS = ("expr.js", "data.js", "parts.js", "journey.js", "drawings.js", "main.js")
_AROUND = 3  # source lines before and after one
_PLACES = 3000  # places whose source is embedded; more are rare


@dataclass
class Chapter:
    """One part of a run: a trace, a lab's leg, a race's round.

    ``events`` gives the events anew at each call; ``lines``: a verdict's, each with
    ``holds``, ``expected``, ``seen``, ``says``; ``rsts``: what the detective says of each;
    ``picture``: an SVG of ours.
    """

    id: str
    name: str
    title: str
    events: Callable[[], Iterable[dict[str, Any]]]
    segments: Sequence[Mapping[str, Any]] = ()
    about: Sequence[str] = ()
    steps: Sequence[str] = ()
    got: Sequence[tuple[str, str]] = ()
    lines: Sequence[Line] = ()
    rsts: Sequence[Mapping[str, Any]] = ()
    facts: Sequence[tuple[str, str]] = ()
    holds: bool | None = None
    picture: str = ""
    capture: Path | None = None


@dataclass
class Page:
    """A run. ``source``: the tree its kernel was built from, where it is still there."""

    title: str
    chapters: Sequence[Chapter]
    kicker: str = ""
    holds: bool | None = None
    facts: Sequence[tuple[str, str]] = ()
    argv: str = ""
    source: Path | None = None
    language: str = "en"
    _places: dict[str, tuple[str, int]] = field(default_factory=dict)


def write(path: Path, page: Page) -> None:
    """Write the page. Memory grows with the distinct stacks and the segments of a capture,
    not with the events."""
    from jinja2 import Environment, FileSystemLoader
    from markupsafe import Markup

    environment = Environment(
        loader=FileSystemLoader(_HERE),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_shown,
    )
    made = environment.get_template("page.html.j2").generate(
        page=page,
        version=__version__,
        css=Markup((_HERE / "page.css").read_text("utf-8")),
        script=Markup("\n".join((_HERE / name).read_text("utf-8") for name in _SCRIPTS)),
        meta=Markup(dumps(_meta())),
        rows=lambda chapter: map(Markup, _rows(page, chapter)),
        segments=lambda chapter: map(Markup, _comma(segment_rows(chapter.segments))),
        sources=lambda chapter: Markup(dumps(_sources(page))),
        picture=lambda chapter: Markup(dumps(chapter.picture)),
    )
    with arriving_file(path) as temporary, temporary.open("w", encoding="utf-8") as file:
        for piece in made:
            file.write(piece)


def _shown(value: Any) -> Any:
    """Text of others without what would turn its direction; our own markup as it is."""
    return value if hasattr(value, "__html__") or not isinstance(value, str) else safe_lines(value)


def _meta() -> dict[str, Any]:
    return {
        "fields": {
            "types": fields.TYPES,
            "short": {**fields.SHORT, **fields.BESIDE},
            "words": {name: sorted(words) for name, words in fields.WORDS.items()},
            "open": fields.OPEN_PREFIXES,
            "states": sorted(set(TCP_STATES.values())),
            "numbers": {name: number for number, name in TCP_STATES.items()},
        },
        "states": TCP_STATES,
        "lanes": {"columns": lanes.COLUMNS, "rows": lanes.ROWS},
        "titles": {row.name: row.title for row in protocols.TABLE},
    }


def _comma(rows: Iterable[str]) -> Iterator[str]:
    for number, row in enumerate(rows):
        yield f",\n{row}" if number else row


def _rows(page: Page, chapter: Chapter) -> Iterator[str]:
    page._places.clear()
    return _comma(_packed(page, chapter))


def _packed(page: Page, chapter: Chapter) -> Iterator[str]:
    packer, links, identity = Packer(), Links(chapter.segments), Identity()
    for event in chapter.events():
        if "id" not in (event.get("packet") or {}):  # an older record
            identity.take(event)
        for place in (event.get("site") or {}, *(event.get("stack") or ())):
            _note(page, place)
        yield dumps(packer.row(event, links.take(event), links.refused(event)))


def _note(page: Page, place: Mapping[str, Any]) -> None:
    file, line = place.get("file"), place.get("line")
    if file and line and len(page._places) < _PLACES:
        page._places.setdefault(f"{file}:{line}", (str(file), int(line)))


def _sources(page: Page) -> dict[str, Any]:
    """The lines around every place of the chapter that was written last."""
    if page.source is None:
        return {}
    found = {
        name: excerpt(page.source, *place, around=_AROUND) for name, place in page._places.items()
    }
    return {name: rows for name, rows in found.items() if rows}
