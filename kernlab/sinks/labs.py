"""A lab on the terminal: the story while it happens, the verdict, the table at the end."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from kernlab.config.text import Language, say
from kernlab.record.segments import segments
from kernlab.record.segments import text as segment_text
from kernlab.sinks.fold import fold
from kernlab.sinks.terminal import safe, stack_lines

_MARK = {True: "[green]✓[/]", False: "[red]✗[/]", None: "[dim]·[/]"}
_MOST = 40  # segments shown of a leg


class LabView:
    """Draws what the runner tells. With ``quiet`` only one line a leg. ``senders``: the
    probes that stand for a RST, which are shown beside the lab's own."""

    def __init__(self, console: Console, language: Language = "en", quiet: bool = False,
                 senders: Collection[str] = ()) -> None:  # fmt: skip
        self._senders = set(senders)
        self._console = console
        self._language: Language = language
        self._quiet = quiet
        self._parts: Any = None

    def told(self, told: Any) -> None:
        """One piece of the story (kernlab.lab.leg.Told)."""
        if told.kind == "verdict":
            self._verdict(told)
        elif not self._quiet:
            getattr(self, f"_{told.kind}")(told)

    def _leg(self, told: Any) -> None:
        lab = told.request.lab
        self._parts = None
        if told.leg == "main":
            title = say(lab.title, self._language)
            self._console.print(f"\n[bold]{told.request.name}  {escape(title)}[/]")
            self._console.print(f"  [dim]{escape(say(lab.watch, self._language))}[/]\n")
        else:
            then = next(one for one in lab.then if one.id == told.leg)
            self._console.print(f"\n  [bold]then: {escape(say(then.title, self._language))}[/]")
            self._console.print(f"  [dim]{escape(say(then.teaches, self._language))}[/]\n")

    def _step(self, told: Any) -> None:
        words = told.request.lab.steps.get(told.text)
        text = say(words, self._language) if words is not None else safe(told.text)
        self._console.print(f"  [cyan]▸[/] {escape(text)}")

    def _got(self, told: Any) -> None:
        line = Text(f"      {safe(told.text)} = ", "dim")
        line.append(safe(told.value), "yellow")
        self._console.print(line)

    def _said(self, told: Any) -> None:
        if told.text.strip():
            self._console.print(Text(f"      {safe(told.text)}", "dim"))

    def _event(self, told: Any) -> None:
        """A stop at one of the lab's own probes, or at a RST's sender."""
        event = told.event
        wanted = {name for row in told.request.lab.probes for name in row.places}
        if event["probe"] not in wanted | self._senders:
            return
        line = Text("    ● ", "magenta")
        line.append(safe(event["probe"]), "bold magenta")
        state = (event.get("sock") or {}).get("state")
        if state:
            line.append(f"  {safe(state)}", "magenta")
        packet = event.get("packet")
        if packet and "flags" in packet:
            line.append(f"  {safe(segment_text({'packet': packet}))}", "dim")
        for key, value in (event.get("show") or {}).items():
            line.append(f"  {safe(key)}=")
            line.append(safe(value), "bold")
        self._console.print(line, soft_wrap=True)
        parts = fold(event.get("stack") or ())
        if parts and parts != self._parts:
            for row in stack_lines(parts, self._console, len(event["stack"])):
                self._console.print(row, soft_wrap=True)
        self._parts = parts

    def _verdict(self, told: Any) -> None:
        leg = told.result
        if self._quiet:
            failed = [line for line in leg.lines if line.holds is False]
            self._console.print(
                f"{_MARK[leg.holds]} {told.request.name:<10} {leg.name:<16} "
                f"{len(leg.lines) - len(failed)} of {len(leg.lines)}"
            )
            self._lines(failed)
        else:
            if leg.directory.capture.exists():
                self._segments(leg.directory.capture)
            for event in leg.explained:
                rst = event["rst"]
                self._console.print(f"    [bold red]RST[/] [bold]{rst['cause']}[/] "
                                    f"{escape(rst.get('name', ''))}")  # fmt: skip
                if rst.get("condition"):
                    self._console.print(f"        [dim]{escape(safe(rst['condition']))}[/]")
            self._console.print()
            self._lines(leg.lines)
        if leg.error:
            self._console.print(f"    [red]{escape(leg.error)}[/]")

    def _segments(self, capture: Any) -> None:
        rows = segments(capture)
        self._console.print()
        first = rows[0]["at"] if rows else 0
        for row in rows[:_MOST]:
            line = Text(f"    {(row['at'] - first) / 1e6:>8.1f} ms  ", "dim")
            reset = "R" in row["packet"]["flags"]
            line.append(safe(segment_text(row)), "bold red" if reset else "")
            self._console.print(line)
        if len(rows) > _MOST:
            self._console.print(f"    [dim]and {len(rows) - _MOST} more segments[/]")

    def _lines(self, lines: Iterable[Any]) -> None:
        for line in lines:
            row = Text.from_markup(f"    {_MARK[line.holds]} ")
            row.append(safe(line.expected))
            row.append("   seen: ", "dim")
            row.append(safe(line.seen), "yellow" if line.holds is False else "dim")
            self._console.print(row, soft_wrap=True)
            if line.says:
                self._console.print(f"        [dim]{escape(line.says)}[/]", soft_wrap=True)

    def summary(self, rows: list[dict[str, Any]], path: str) -> None:
        """The table at the end."""
        table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
        for name in ("lab", "legs", "holds", "seconds"):
            table.add_column(name)
        for row in rows:
            legs = f"{sum(leg['holds'] for leg in row['legs'])} of {len(row['legs'])}"
            table.add_row(row["lab"], legs, _MARK[row["holds"]], f"{row['seconds']:.1f}")
        self._console.print()
        self._console.print(table)
        held = sum(row["holds"] for row in rows)
        self._console.print(f"{held} of {len(rows)} labs hold   run  {path}", soft_wrap=True)

    def grade(self, grade: Any) -> None:
        """A lab that was judged again (kernlab.lab.grade.Grade)."""
        self._console.print(f"\n{_MARK[grade.holds]} [bold]{grade.name}  "
                            f"{escape(say(grade.lab.title, self._language))}[/]")  # fmt: skip
        for name, lines in grade.legs.items():
            self._console.print(f"  {name}")
            self._lines(lines)
        for name, error in grade.errors.items():
            self._console.print(f"  {name}: [red]{escape(safe(error))}[/]")
        self.score(grade)

    def score(self, grade: Any) -> None:
        """Predictions, the truth, and why."""
        asked = [one for one in grade.quiz if one.given is not None]
        if not asked:
            return
        self._console.print()
        for one in asked:
            self._console.print(f"  {_MARK[one.right]} "
                                f"{escape(say(one.question.ask, self._language))}")  # fmt: skip
            given = say(one.question.choices[one.given].says, self._language)
            self._console.print(f"      you said: {escape(given)}")
            if one.truth is not None and not one.right:
                true = say(one.question.choices[one.truth].says, self._language)
                self._console.print(f"      it was:   [bold]{escape(true)}[/]")
            self._console.print(f"      [dim]{escape(say(one.question.why, self._language))}[/]",
                                soft_wrap=True)  # fmt: skip
        right = sum(one.right for one in grade.quiz)
        self._console.print(f"\n  score: [bold]{right} of {len(grade.quiz)}[/]")

    def compared(self, name: str, lab: Any, kernels: Sequence[str], rows: Iterable[Any]) -> None:
        """A lab on several kernels, line by line (kernlab.lab.grade.Parted)."""
        self._console.print(f"\n[bold]{name}  {escape(say(lab.title, self._language))}[/]")
        table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
        for heading in ("", "leg", "expected", *kernels):
            table.add_column(heading, overflow="fold")
        parted = 0
        for row in rows:
            parted += row.parts
            cells = [f"{_MARK[held]} {escape(safe(seen))}"
                     for held, seen in zip(row.holds, row.seen, strict=True)]  # fmt: skip
            style = "bold" if row.parts else "dim"
            table.add_row("[red]≠[/]" if row.parts else "", row.leg, escape(row.expected), *cells,
                          style=style)  # fmt: skip
        self._console.print(table)
        self._console.print(f"they part in {parted} lines" if parted else "they agree")
        if lab.differs is not None:
            self._console.print(f"[dim]{escape(say(lab.differs, self._language))}[/]")
