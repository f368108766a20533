"""A lab on the terminal: the story while it happens, the verdict, the table at the end."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from kernlab.config.text import Language, say

_MARK = {True: "[green]✓[/]", False: "[red]✗[/]", None: "[dim]·[/]"}


class LabView:
    """Draws what the runner tells. With ``quiet`` only one line a leg."""

    def __init__(self, console: Console, language: Language = "en", quiet: bool = False) -> None:
        self._console = console
        self._language: Language = language
        self._quiet = quiet

    def told(self, told: Any) -> None:
        """One piece of the story (kernlab.lab.runner.Told)."""
        draw = getattr(self, f"_{told.kind}")
        draw(told)

    def _leg(self, told: Any) -> None:
        if self._quiet:
            return
        lab = told.request.lab
        if told.leg == "main":
            title = say(lab.title, self._language)
            self._console.print(f"\n[bold]{told.request.name}[/]  {escape(title)}")
            self._console.print(f"  [dim]{escape(say(lab.watch, self._language))}[/]\n")
        else:
            then = next(one for one in lab.then if one.id == told.leg)
            self._console.print(f"\n  [bold]then: {escape(say(then.title, self._language))}[/]")

    def _step(self, told: Any) -> None:
        if not self._quiet:
            words = told.request.lab.steps.get(told.text)
            text = say(words, self._language) if words is not None else told.text
            self._console.print(f"  [cyan]▸[/] {escape(text)}")

    def _got(self, told: Any) -> None:
        if not self._quiet:
            self._console.print(f"      {escape(told.text)} = [yellow]{escape(told.value)}[/]")

    def _said(self, told: Any) -> None:
        if not self._quiet and told.text.strip():
            self._console.print(f"      [dim]{escape(told.text)}[/]")

    def _event(self, told: Any) -> None:
        if self._quiet:
            return
        event = told.event
        names = [frame["func"] for frame in event.get("stack") or ()][:6]
        state = (event.get("sock") or {}).get("state", "")
        shown = " ".join(f"{key}={value}" for key, value in (event.get("show") or {}).items())
        self._console.print(
            f"      [magenta]{escape(' ← '.join(names))}[/] {state} [dim]{escape(shown)}[/]"
        )

    def _verdict(self, told: Any) -> None:
        leg = told.result
        if self._quiet:
            failed = [line for line in leg.lines if line.holds is False]
            self._console.print(
                f"{_MARK[leg.holds]} {told.request.name:<10} {leg.name:<16} "
                f"{len(leg.lines) - len(failed)} of {len(leg.lines)}"
            )
            for line in failed:
                self._line(line)
        else:
            self._console.print()
            for line in leg.lines:
                self._line(line)
        if leg.error:
            self._console.print(f"    [red]{escape(leg.error)}[/]")

    def _line(self, line: Any) -> None:
        seen = "" if line.holds else f"  seen: [yellow]{escape(line.seen)}[/]"
        self._console.print(f"    {_MARK[line.holds]} {escape(line.expected)}{seen}")

    def summary(self, rows: list[dict[str, Any]], path: str) -> None:
        """The table at the end."""
        table = Table(box=None, pad_edge=False, header_style="dim")
        for name in ("lab", "legs", "holds", "seconds"):
            table.add_column(name)
        for row in rows:
            legs = f"{sum(leg['holds'] for leg in row['legs'])} of {len(row['legs'])}"
            table.add_row(row["lab"], legs, _MARK[row["holds"]], f"{row['seconds']:.1f}")
        self._console.print()
        self._console.print(table)
        held = sum(row["holds"] for row in rows)
        self._console.print(f"{held} of {len(rows)} labs hold   run  {path}")
