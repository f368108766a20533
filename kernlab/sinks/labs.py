"""A lab on the terminal: the story while it happens, the verdict, the table at the end."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from kernlab.config.text import Language, say
from kernlab.lessons.grade import Grade, Parted
from kernlab.lessons.lab import Lab
from kernlab.lessons.results import Told
from kernlab.lessons.words import word
from kernlab.record.isn import Isns
from kernlab.record.numbers import Numbers
from kernlab.record.segments import segments
from kernlab.record.segments import text as segment_text
from kernlab.sinks.console import safe, words
from kernlab.sinks.fold import Part, fold
from kernlab.sinks.terminal import stack_lines
from kernlab.verdict.judge import Line

_MARK = {True: ("✓", "green"), False: ("✗", "red"), None: ("·", "dim")}
_MOST = 40  # segments shown of a leg


class LabView:
    """Draws what the runner tells. With ``quiet`` only one line a leg. ``senders``: the
    probes that stand for a RST, which are shown beside the lab's own."""

    def __init__(
        self,
        console: Console,
        language: Language = "en",
        quiet: bool = False,
        senders: Collection[str] = (),
    ) -> None:
        self._senders = set(senders)
        self._console = console
        self._language: Language = language
        self._quiet = quiet
        self._parts: list[Part] | None = None
        self._numbers = Numbers()

    def told(self, told: Told) -> None:
        """One piece of the story (kernlab.lessons.results.Told)."""
        if told.kind == "verdict":
            self._verdict(told)
        elif not self._quiet:
            getattr(self, f"_{told.kind}")(told)

    def _print(self, *parts: str | tuple[str, str], soft_wrap: bool = False) -> None:
        self._console.print(words(*parts), soft_wrap=soft_wrap)

    def _leg(self, told: Told) -> None:
        lab = told.request.lab
        self._parts = None
        self._numbers = Numbers()
        if told.capture is not None:
            self._numbers.count_from(Isns.growing(told.capture))
        if told.leg == "main":
            title = say(lab.title, self._language)
            self._print("\n", (f"{told.request.name}  {title}", "bold"))
            self._print(f"  {say(lab.idea, self._language).strip()}")
            watch = word("watch", self._language)
            self._print((f"  {watch}: {say(lab.watch, self._language)}\n", "dim"))
        else:
            then = next(one for one in lab.then if one.id == told.leg)
            self._print((f"\n  then: {say(then.title, self._language)}", "bold"))
            self._print((f"  {say(then.teaches, self._language)}\n", "dim"))

    def _step(self, told: Told) -> None:
        named = told.request.lab.steps.get(told.text)
        text = say(named, self._language) if named is not None else safe(told.text)
        self._print(("  ▸", "cyan"), f" {text}")

    def _got(self, told: Told) -> None:
        line = Text(f"      {safe(told.text)} = ", "dim")
        line.append(safe(told.value), "yellow")
        self._console.print(line)

    def _said(self, told: Told) -> None:
        if told.text.strip():
            self._console.print(Text(f"      {safe(told.text)}", "dim"))

    def _event(self, told: Told) -> None:
        """A stop at one of the lab's own probes, or at a RST's sender."""
        event = told.event
        assert event is not None
        wanted = {name for row in told.request.lab.probes for name in row.places}
        if event["probe"] not in wanted | self._senders:
            return
        line = Text("    ● ", "magenta")
        line.append(safe(event["probe"]), "bold magenta")
        state = (event.get("sock") or {}).get("state")
        if state:
            line.append(f"  {safe(state)}", "magenta")
        packet = self._numbers.of(event.get("packet") or {})
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

    def _verdict(self, told: Told) -> None:
        leg = told.result
        assert leg is not None
        if self._quiet:
            failed = [line for line in leg.lines if line.holds is False]
            self._print(
                _MARK[leg.holds],
                f" {told.request.name:<10} {leg.name:<16} "
                f"{len(leg.lines) - len(failed)} of {len(leg.lines)}",
            )
            self._lines(failed)
            for note in dict.fromkeys(line.kernel for line in leg.lines if line.holds is not False):
                if note:
                    self._print((f"    {note}", "dim"), soft_wrap=True)
        else:
            if leg.directory.capture.exists():
                self._segments(leg.directory.capture)
            for event in leg.explained:
                rst = event["rst"]
                self._print(
                    ("    RST", "bold red"), (f" {rst['cause']} ", "bold"), str(rst.get("name", ""))
                )
                if rst.get("condition"):
                    self._print((f"        {safe(rst['condition'])}", "dim"))
            self._console.print()
            self._lines(leg.lines)
        if leg.error:
            self._print((f"    {leg.error}", "red"))

    def _segments(self, capture: Path) -> None:
        rows = segments(capture)
        self._console.print()
        first = rows[0]["at"] if rows else 0
        for row in rows[:_MOST]:
            line = Text(f"    {(row['at'] - first) / 1e6:>8.1f} ms  ", "dim")
            reset = "R" in row["packet"]["flags"]
            line.append(safe(segment_text(row)), "bold red" if reset else "")
            self._console.print(line)
        if len(rows) > _MOST:
            self._print((f"    and {len(rows) - _MOST} more segments", "dim"))

    def _lines(self, lines: Iterable[Line]) -> None:
        for line in lines:
            row = words("    ", _MARK[line.holds], " ")
            row.append(safe(line.expected))
            row.append("   seen: ", "dim")
            row.append(safe(line.seen), "yellow" if line.holds is False else "dim")
            self._console.print(row, soft_wrap=True)
            for note in (line.says, line.kernel):
                if note:
                    self._print((f"        {note}", "dim"), soft_wrap=True)

    def summary(self, rows: list[dict[str, Any]], path: str, report: str = "") -> None:
        """The table at the end: a line for each lab, whatever the number of its rounds; last
        where the ``report`` is."""
        labs: dict[str, list[dict[str, Any]]] = {}
        for row in rows:
            labs.setdefault(row["lab"], []).append(row)
        again = any(len(rounds) > 1 for rounds in labs.values())
        table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
        for name in ("lab", "legs", *(("rounds",) if again else ()), "holds", "seconds"):
            table.add_column(name)
        for lab, rounds in labs.items():
            legs = [leg["holds"] for row in rounds for leg in row["legs"]]
            held = sum(row["holds"] for row in rounds)
            table.add_row(
                words(lab),
                f"{sum(legs)} of {len(legs)}",
                *((f"{held} of {len(rounds)}",) if again else ()),
                Text(*_MARK[held == len(rounds)]),
                f"{sum(row['seconds'] for row in rounds):.1f}",
            )
        self._console.print()
        self._console.print(table)
        held = sum(all(row["holds"] for row in rounds) for rounds in labs.values())
        self._print(f"{held} of {len(labs)} labs hold   run  {path}", soft_wrap=True)
        if report:
            self._print(f"report  {report}", soft_wrap=True)

    def grade(self, grade: Grade) -> None:
        """A lab that was judged again (kernlab.lessons.grade.Grade)."""
        title = f" {grade.name}  {say(grade.lab.title, self._language)}"
        self._print("\n", _MARK[grade.holds], (title, "bold"))
        for said in grade.said:
            self._print("  ", (said, "yellow"))
        for name, lines in grade.legs.items():
            self._print(f"  {name}")
            self._lines(lines)
        for name, error in grade.errors.items():
            self._print(f"  {name}: ", (safe(error), "red"))
        self.score(grade)

    def score(self, grade: Grade) -> None:
        """Predictions, the truth, and why."""
        asked = [(one, one.given) for one in grade.quiz if one.given is not None]
        if not asked:
            return
        self._console.print()
        for one, number in asked:
            self._print("  ", _MARK[one.right], f" {say(one.question.ask, self._language)}")
            given = say(one.question.choices[number].says, self._language)
            self._print(f"      you said: {given}")
            if one.truth is not None and not one.right:
                true = say(one.question.choices[one.truth].says, self._language)
                self._print("      it was:   ", (true, "bold"))
            self._print((f"      {say(one.question.why, self._language)}", "dim"), soft_wrap=True)
        right = sum(one.right for one in grade.quiz)
        self._print("\n  score: ", (f"{right} of {len(grade.quiz)}", "bold"))

    def compared(self, name: str, lab: Lab, kernels: Sequence[str], rows: Iterable[Parted]) -> None:
        """A lab on several kernels, line by line (kernlab.lessons.grade.Parted)."""
        self._print("\n", (f"{name}  {say(lab.title, self._language)}", "bold"))
        table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
        for heading in ("", "leg", "expected", *kernels):
            table.add_column(words(heading), overflow="fold")
        parted = 0
        for row in rows:
            parted += row.parts
            cells = [
                words(_MARK[held], f" {safe(seen)}")
                for held, seen in zip(row.holds, row.seen, strict=True)
            ]
            style = "bold" if row.parts else "dim"
            table.add_row(
                Text("≠" if row.parts else "", "red"),
                words(row.leg),
                words(row.expected),
                *cells,
                style=style,
            )
        self._console.print(table)
        self._console.print(f"they differ in {parted} lines" if parted else "they agree")
        for text in lab.elsewhere:
            self._print((say(text, self._language), "dim"))
