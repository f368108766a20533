"""A round's timeline as SVG: a pure function from the model to a text.

No script, no id, no font that must be there: the picture stands in a page beside others of
its kind. Widths are estimated on the safe side (``wrap``), so that nothing overlaps
whichever font a viewer takes.
"""

from __future__ import annotations

from html import escape

from kernlab.sinks.console import safe
from kernlab.sinks.timeline import Card, Fact, Timeline, standing, word
from kernlab.sinks.timeline_style import LOCKS, style
from kernlab.sinks.wrap import mono, sans, wrap

WIDTH = 1120
_EDGE = 28  # outer margin
_PAD = 16  # inside a card
_BAR = 14  # a lock's bar, and the gap beside it
_GAP = 10
_LINE = 34  # between a card and the first bar: the line of life
_SPACE = 26  # between two cards
_LABEL = 74  # of a fact

_MOODS = {"held": "", "waits": "warn", "reset": "bad", "done": "good", "lost": "bad"}


def svg(timeline: Timeline) -> str:
    """The picture, ending with a newline. Every text of the guest or a file is escaped."""
    return _Drawing(timeline).text()


class _Drawing:
    def __init__(self, timeline: Timeline) -> None:
        self._it = timeline
        self._out: list[str] = []
        counts = [sum(bar.lane == lane for bar in timeline.bars) for lane in (0, 1)]
        bars = [count * (_BAR + _GAP) for count in counts]
        self._card = (WIDTH - 2 * _EDGE - 2 * _LINE - sum(bars) - 24) / 2
        left = _EDGE + self._card
        self._life = (left + _LINE / 2, WIDTH - _EDGE - self._card - _LINE / 2)
        self._x = (_EDGE, WIDTH - _EDGE - self._card)
        self._middle = left + _LINE + bars[0] + 12
        self._bar_x: dict[int, float] = {}
        for lane in (0, 1):
            own = [at for at, bar in enumerate(timeline.bars) if bar.lane == lane]
            for place, at in enumerate(own):
                away = place * (_BAR + _GAP) + 4
                self._bar_x[at] = (
                    left + _LINE + away
                    if lane == 0
                    else WIDTH - _EDGE - self._card - _LINE - away - _BAR
                )

    def text(self) -> str:
        y = self._title(_EDGE)
        top = y
        y = self._heads(y)
        begin = y
        tops: list[float] = []
        bottoms: list[float] = []
        under = len(self._out)  # what is drawn later belongs below the cards
        for card in self._it.cards:
            tops.append(y)
            height = self._draw_card(card, y)
            bottoms.append(y + height)
            y += height + _SPACE
        end = y
        over = self._out[under:]
        del self._out[under:]
        self._lanes(top, begin, end, tops, bottoms)
        self._bars(tops, end)
        self._out += over
        self._marks(tops)
        y = self._release(end)
        y = self._wire(y)
        y = self._outcome(y)
        return self._whole(y + _EDGE - 8)

    def _whole(self, height: float) -> str:
        name = f"{self._it.id}: {self._it.title}. {self._it.outcome.title}"
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" class="klt" role="img" '
            f'viewBox="0 0 {WIDTH} {height:.0f}" width="{WIDTH}" height="{height:.0f}" '
            f'style="max-width:100%;height:auto">\n<title>{_text(name)}</title>\n'
            f"<style>{style()}</style>\n"
            f'<rect class="f-bg" width="{WIDTH}" height="{height:.0f}" rx="10"/>\n'
            + "\n".join(self._out)
            + "\n</svg>\n"
        )

    # -- primitives -----------------------------------------------------------------

    def _say(self, x: float, y: float, text: str, kind: str) -> None:
        self._out.append(
            f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}" '
            f'xml:space="preserve">{_text(text)}</text>'
        )

    def _box(
        self,
        x: float,
        y: float,
        width: float,
        height: float,
        kind: str,
        radius: float = 6,
        line: str = "",
    ) -> None:
        self._out.append(
            f'<rect class="{kind}" x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" '
            f'height="{height:.1f}" rx="{radius:g}"/>'
        )
        if line:
            self._out.append(
                f'<rect class="{line}" x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" '
                f'height="{height:.1f}" rx="{radius:g}"/>'
            )

    def _path(self, way: str, kind: str, more: str = "") -> None:
        self._out.append(f'<path class="{kind}" d="{way}"{more}/>')

    # -- the head -------------------------------------------------------------------

    def _title(self, y: float) -> float:
        it = self._it
        for row in wrap(f"{it.id}  {it.title}", WIDTH - 2 * _EDGE, sans(22)):
            y += 24
            self._say(_EDGE, y, row, "t f-text")
        tint = "bad" if it.outcome.fired or not it.outcome.known else "good"
        for row in wrap(it.outcome.title, WIDTH - 2 * _EDGE, sans(15)):
            y += 23
            self._say(_EDGE, y, row, f"h f-{tint}")
        if it.about:
            y += 20
            self._say(_EDGE, y, it.about, "s f-dim")
        return y + 18

    def _heads(self, y: float) -> float:
        for number, lane in enumerate(self._it.lanes):
            x, colour = self._x[number], "ab"[number]
            self._box(x, y, self._card, 34, f"f-{colour}")
            name = f"{lane.actor}   vCPU {lane.vcpu}"
            self._say(x + _PAD, y + 22, name, "h f-bg")
            if lane.task:
                self._say(x + self._card - _PAD, y + 22, lane.task, "s e f-bg")
        return y + 34 + 20

    def _lanes(
        self, top: float, begin: float, end: float, tops: list[float], bottoms: list[float]
    ) -> None:
        """Lines of life: solid while it runs to its next stop, dashed while it stands."""
        self._path(f"M{self._middle:.1f} {top:.1f}V{end:.1f}", "l-edge", ' stroke-width="1"')
        for lane in (0, 1):
            x, colour = self._life[lane], "ab"[lane]
            y = begin - 20
            free = not self._it.lanes[lane].waits  # until it stops for the first time
            for number, card in enumerate(self._it.cards):
                if card.lane != lane:
                    continue
                before = bottoms[number - 1] + 4 if number and not free else y
                if before > y:
                    self._dashed(x, y, before)
                self._path(
                    f"M{x:.1f} {before:.1f}V{tops[number] + 20:.1f}",
                    f"l-{colour}",
                    ' stroke-width="3"',
                )
                y = tops[number] + 20
                free = False
            last = [card for card in self._it.cards if card.lane == lane]
            if not last or last[-1].mood != "done":
                self._dashed(x, y, end)
        for number in range(len(self._it.cards)):
            self._stands(number, tops[number])

    def _dashed(self, x: float, y: float, end: float) -> None:
        self._path(
            f"M{x:.1f} {y:.1f}V{end:.1f}",
            "l-dim",
            ' stroke-width="2" stroke-dasharray="2 6" stroke-linecap="round"',
        )

    def _stands(self, number: int, y: float) -> None:
        text = standing(self._it, number)
        if not text:
            return
        lane = 1 - self._it.cards[number].lane
        x = self._x[lane] + (self._card - 8 if lane == 0 else 8)
        row = wrap(text, self._card - 40, sans(12))[0]
        self._say(x, y + 25, row, "s f-dim" + (" e" if lane == 0 else ""))

    # -- locks ------------------------------------------------------------------------

    def _bars(self, tops: list[float], end: float) -> None:
        for at, bar in enumerate(self._it.bars):
            x, kind = self._bar_x[at], f"lock{at % LOCKS}"
            y = tops[bar.first] + 12
            bottom = tops[bar.last] + 6 if bar.last < len(tops) else end - 4
            self._box(x, y, _BAR, max(bottom - y, 20), f"f-{kind}", 4)
            self._say(x + _BAR / 2, y + 14, bar.sign, "n f-bg")

    def _marks(self, tops: list[float]) -> None:
        """Numbers on the lines of life, and who waits for which bar."""
        for number, card in enumerate(self._it.cards):
            x, y = self._life[card.lane], tops[number] + 20
            colour = _MOODS[card.mood] or "ab"[card.lane]
            if card.wants is not None:
                self._arrow(card, x, y)
            self._out.append(f'<circle class="f-{colour}" cx="{x:.1f}" cy="{y:.1f}" r="12"/>')
            self._say(x, y + 4.5, str(card.step), "n f-bg")

    def _arrow(self, card: Card, x: float, y: float) -> None:
        assert card.wants is not None
        bar = self._bar_x[card.wants]
        to_left = bar < x
        tip = bar + _BAR + 2 if to_left else bar - 2
        back = 9 if to_left else -9
        kind = f"lock{card.wants % LOCKS}"
        self._path(f"M{x:.1f} {y:.1f}H{tip + back:.1f}", f"l-{kind}", ' stroke-width="3"')
        self._path(f"M{tip:.1f} {y:.1f}l{back} -6v12z", f"f-{kind}")

    # -- cards ------------------------------------------------------------------------

    def _draw_card(self, card: Card, y: float) -> float:
        """Draw a card whose top is at ``y``; its height."""
        x, inner = self._x[card.lane], self._card - 2 * _PAD
        left = x + _PAD
        place = len(self._out)
        at = y + 8
        tint = _MOODS[card.mood] or "ab"[card.lane]
        for row in wrap(card.verb, inner, sans(12)):
            at += 16
            self._say(left, at, row, f"s f-{tint}" + (" w" if not card.func else ""))
        for row in wrap(card.func, inner, mono(14.5)) if card.func else ():
            at += 20
            self._out.append(
                f'<text class="m h f-{tint}" x="{left:.1f}" y="{at:.1f}" '
                f'style="font-size:14.5px">{_text(row)}</text>'
            )
        if card.at:
            for row in wrap(card.at, inner, mono(12.5)):
                at += 17
                self._say(left, at, row, "m f-dim")
        if card.code:
            at = self._code(card, left, inner, at)
        if card.says:
            at += 5
            for row in wrap(card.says, inner, sans(14)):
                at += 19
                self._say(left, at, row, "f-text")
        if card.facts:
            at += 7
            self._path(f"M{left:.1f} {at:.1f}h{inner:.1f}", "l-edge", ' stroke-width="1"')
            at += 3
        for fact in card.facts:
            at = self._fact(fact, card, left, inner, at)
        height = at - y + 13
        drawn = self._out[place:]
        del self._out[place:]
        self._box(x, y, self._card, height, "f-panel", 8, f"l-{tint}")
        side = x + self._card if card.lane == 0 else x
        self._path(
            f"M{side:.1f} {y + 20:.1f}H{self._life[card.lane]:.1f}",
            f"l-{tint}",
            ' stroke-width="2"',
        )
        self._out += drawn
        return height

    def _code(self, card: Card, x: float, inner: float, at: float) -> float:
        rows = wrap(card.code, inner - 16, mono(12.5))
        at += 7
        height = 17 * len(rows) + 9
        self._box(x, at, inner, height, "f-code", 4)
        for row in rows:
            at += 17
            self._say(x + 8, at, row, "m f-text")
        at += 9
        if card.called:
            for row in wrap(word("line", self._it.language, at=card.called), inner, sans(12)):
                at += 15
                self._say(x, at, row, "s f-dim")
        return at

    def _fact(self, fact: Fact, card: Card, x: float, inner: float, at: float) -> float:
        colour = "dim" if fact.kind in ("when", "way") else "text"
        weight = label = ""
        name = fact.name
        if fact.bar is not None:
            bar = self._it.bars[fact.bar]
            label = f"lock{fact.bar % LOCKS}"
            name = f"{name} {bar.sign}"
        if fact.kind == "wants":
            colour, weight = "warn", " w"
        if fact.kind == "packet" or (fact.kind == "socket" and card.mood == "reset"):
            weight = " w"
            colour = "bad" if fact.kind == "socket" else colour
        prose = fact.kind in ("takes", "wants")
        measure = sans(13.9 if weight else 13) if prose else mono(12.5)
        first = at + 17
        for row in wrap(fact.text, inner - _LABEL, measure):
            at += 17
            self._out.append(
                f'<text class="{"" if prose else "m "}f-{colour}{weight}" '
                f'x="{x + _LABEL:.1f}" y="{at:.1f}"'
                f"{' style=' + chr(34) + 'font-size:13px' + chr(34) if prose else ''}>"
                f"{_text(row)}</text>"
            )
        self._say(x, first, name, f"s w f-{label}" if fact.bar is not None else "s f-dim")
        return at + 3

    # -- below --------------------------------------------------------------------------

    def _release(self, y: float) -> float:
        if not self._it.released:
            return y + 6
        self._box(_EDGE, y, WIDTH - 2 * _EDGE, 32, "f-code", 6)
        self._say(WIDTH / 2, y + 21, word("release", self._it.language), "h c f-text")
        return y + 32 + 20

    def _wire(self, y: float) -> float:
        it = self._it
        if not it.wire:
            return y
        self._say(_EDGE, y + 12, word("wire", it.language), "s f-dim")
        y += 20
        place = len(self._out)
        at = y + 6.0
        for one in it.wire:
            colour = "bad" if one.reset else "text"
            rows = wrap(one.text, 610.0, mono(12.5))
            notes = wrap(one.note, WIDTH - 2 * _EDGE - 700, sans(13)) if one.note else []
            high = max(len(rows), len(notes)) * 18 + 4
            if one.reset:
                self._box(_EDGE + 6, at, WIDTH - 2 * _EDGE - 12, high + 2, "l-bad", 5)
            for number, row in enumerate(rows):
                self._say(
                    _EDGE + _PAD,
                    at + 16 + 18 * number,
                    row,
                    f"m f-{colour}" + (" w" if one.reset or one.note else ""),
                )
            for number, row in enumerate(notes):
                tint = "bad" if one.reset else "ab"[one.lane or 0]
                self._say(
                    _EDGE + 660,
                    at + 16 + 18 * number,
                    ("← " if not number else "  ") + row,
                    f"w f-{tint}",
                )
            at += high
        if it.more:
            self._say(_EDGE + _PAD, at + 16, word("more", it.language, n=it.more), "s f-dim")
            at += 20
        height = at - y + 8
        drawn = self._out[place:]
        del self._out[place:]
        self._box(_EDGE, y, WIDTH - 2 * _EDGE, height, "f-panel", 8, "l-edge")
        self._out += drawn
        return y + height + 18

    def _outcome(self, y: float) -> float:
        it = self._it
        outcome = it.outcome
        tint = "bad" if outcome.fired or not outcome.known else "good"
        inner = WIDTH - 2 * _EDGE - 2 * _PAD - 8
        left = _EDGE + _PAD + 8
        place = len(self._out)
        at = y + 10.0
        if outcome.known:
            at += 16
            self._say(
                left, at, word("fired" if outcome.fired else "quiet", it.language), f"s w f-{tint}"
            )
        for row in wrap(outcome.title, inner, sans(17)):
            at += 24
            self._say(left, at, row, f"o f-{tint}")
        if outcome.evidence:
            at += 4
            for row in wrap("  ·  ".join(outcome.evidence), inner, mono(12.5)):
                at += 18
                self._say(left, at, row, "m f-dim")
        height = at - y + 16
        drawn = self._out[place:]
        del self._out[place:]
        self._box(_EDGE, y, WIDTH - 2 * _EDGE, height, "f-panel", 8, f"l-{tint}")
        self._box(_EDGE, y, 8, height, f"f-{tint}", 4)
        self._out += drawn
        return y + height


def _text(text: str) -> str:
    return escape(safe(text), quote=True)
