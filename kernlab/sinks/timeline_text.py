"""A round's timeline in the terminal: two columns, and a bar beside a column for each lock."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import Console
from rich.text import Text

from kernlab.sinks.console import safe
from kernlab.sinks.timeline import Card, Fact, Timeline, standing, word
from kernlab.sinks.wrap import cells, wrap

_WIDEST = 132  # columns; a line that is longer is hard to read
_MOODS = {
    "held": "bold cyan",
    "waits": "bold yellow",
    "reset": "bold red",
    "done": "bold green",
    "lost": "bold magenta",
}
_LOCKS = ("yellow", "blue", "magenta", "green", "cyan")
_NAMES = 8  # columns of a fact's name
_ASCII = str.maketrans("┃│─┆⇄←→·", "||-:=<>-")


def draw(console: Console, timeline: Timeline) -> None:
    """The whole picture."""
    code = console.encoding or "ascii"
    for line in _Drawing(timeline, min(console.width, _WIDEST)).lines():
        if not code.lower().startswith("utf"):
            line.plain = line.plain.translate(_ASCII).encode(code, "replace").decode(code)
        console.print(line, no_wrap=True, overflow="crop", soft_wrap=True)


class _Drawing:
    def __init__(self, timeline: Timeline, width: int) -> None:
        self._it = timeline
        self._bars = [
            [at for at, bar in enumerate(timeline.bars) if bar.lane == lane] for lane in (0, 1)
        ]
        room = width - 3 - 2 * sum(map(len, self._bars))
        self._widths = (room // 2, room - room // 2)
        self._width = width

    def lines(self) -> Iterator[Text]:
        it = self._it
        title = Text(f"{it.id}  ", "bold")
        title.append(safe(it.title), "bold")
        yield Text()
        yield title
        if it.about:
            yield Text(safe(it.about), "dim")
        yield Text()
        yield self._row(self._head(0), self._head(1), -1)
        yield self._rule()
        for number, card in enumerate(it.cards):
            yield from self._card(number, card)
        yield self._rule(word("release", it.language) if it.released else "")
        yield from self._wire()
        yield from self._outcome()

    def _head(self, lane: int) -> Text:
        one = self._it.lanes[lane]
        head = Text(f"{one.actor}  vCPU {one.vcpu}", "bold")
        if one.task:
            head.append(f"  {safe(one.task)}", "dim")
        return head

    def _rule(self, text: str = "") -> Text:
        line = Text("──", "dim")
        if text:
            line.append(f" {text} ", "bold")
        line.append("─" * max(0, self._width - line.cell_len), "dim")
        return line

    # -- cards --------------------------------------------------------------------

    def _card(self, number: int, card: Card) -> Iterator[Text]:
        mine = self._body(card, self._widths[card.lane])
        words = standing(self._it, number)
        stands = self._it.stands(number)
        for at, line in enumerate(mine):
            other = Text("┆" if stands else "", "dim")
            if words and at == 0:
                other.append(f" {safe(words)}")
            sides = (line, other) if card.lane == 0 else (other, line)
            yield self._row(*sides, number, first=at == 0)
        yield self._row(Text(), Text(), number)

    def _body(self, card: Card, width: int) -> list[Text]:
        style = _MOODS[card.mood]
        found: list[Text] = []
        head = f"{card.verb} {card.func}" if card.func else card.verb
        for at, row in enumerate(wrap(safe(head), width - 3, cells)):
            line = Text(f"{card.step:>2} " if at == 0 else "   ", style)
            line.append(row, style)
            found.append(line)
        self._add(found, card.at, width, "dim")
        if card.code:
            self._add(found, card.code, width, "italic", "│ ")
        if card.called and card.code:
            self._add(found, word("line", self._it.language, at=card.called), width, "dim")
        self._add(found, card.says, width, "")
        for fact in card.facts:
            self._fact(found, fact, width, card)
        return found

    def _fact(self, found: list[Text], fact: Fact, width: int, card: Card) -> None:
        kind, name, bar = fact.kind, fact.name, fact.bar
        style = "dim" if kind in ("way", "when") else ""
        if bar is not None:
            name = f"{name} {self._it.bars[bar].sign}"
            style = _LOCKS[bar % len(_LOCKS)]
        if kind == "wants":
            style = "bold yellow"
        if kind == "packet":
            style = "bold"
        if kind == "socket" and card.mood == "reset":
            style = "bold red"
        label = max(_NAMES, int(cells(name)) + 1)
        for at, row in enumerate(wrap(safe(fact.text), width - 3 - label, cells)):
            line = Text("   ")
            shown = name if at == 0 else ""
            line.append(shown + " " * (label - int(cells(shown))), "dim" if bar is None else style)
            line.append(row, style)
            found.append(line)

    @staticmethod
    def _add(found: list[Text], text: str, width: int, style: str, before: str = "") -> None:
        if text:
            for row in wrap(safe(text), width - 3 - cells(before), cells):
                found.append(Text(f"   {before}{row}", style))

    # -- a line of the two columns ---------------------------------------------------

    def _row(self, left: Text, right: Text, number: int, first: bool = False) -> Text:
        line = self._padded(left, self._widths[0])
        self._draw_bars(line, 0, number, first)
        line.append(" │ ", "dim")
        self._draw_bars(line, 1, number, first)
        line.append_text(self._padded(right, self._widths[1]))
        line.rstrip()
        return line

    @staticmethod
    def _padded(text: Text, width: int) -> Text:
        padded = text.copy()
        padded.truncate(width)
        padded.append(" " * max(0, width - padded.cell_len))
        return padded

    def _draw_bars(self, line: Text, lane: int, number: int, first: bool) -> None:
        for at in self._bars[lane]:
            bar = self._it.bars[at]
            mark = ""
            if bar.first <= number < bar.last:
                mark = bar.sign if first and number == bar.first else "┃"
            style = f"bold {_LOCKS[at % len(_LOCKS)]}"
            line.append(f"{mark:>2}" if lane == 0 else f"{mark:<2}", style)

    # -- below ----------------------------------------------------------------------

    def _wire(self) -> Iterator[Text]:
        it = self._it
        if not it.wire:
            return
        yield Text(f" {word('wire', it.language)}", "dim")
        for one in it.wire:
            line = Text("   ")
            line.append(safe(one.text), "bold red" if one.reset else "")
            if one.note:
                line.append(f"  ← {one.note}", "red" if one.reset else "cyan")
            for at, row in enumerate(wrap(line.plain, self._width - 3, cells)):
                yield (
                    line
                    if row == line.plain
                    else Text(row if at == 0 else f"       {row}", "bold red" if one.reset else "")
                )
        if it.more:
            yield Text(f"   {word('more', it.language, n=it.more)}", "dim")

    def _outcome(self) -> Iterator[Text]:
        it = self._it
        outcome = it.outcome
        style = "bold red" if outcome.fired else "bold green" if outcome.known else "bold magenta"
        yield self._rule(word("outcome", it.language))
        for row in wrap(safe(outcome.title), self._width - 3, cells):
            yield Text(f"   {row}", style)
        facts = list(outcome.evidence)
        if outcome.known:
            facts.insert(0, word("fired" if outcome.fired else "quiet", it.language))
        for row in wrap(safe(" · ".join(facts)), self._width - 3, cells) if facts else ():
            yield Text(f"   {row}", "dim")
