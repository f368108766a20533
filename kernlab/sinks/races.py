"""Races to read: the lesson, the rounds of a run, kernels side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from kernlab.config.text import Language, say
from kernlab.lessons.race import Race, Step
from kernlab.lessons.rounds import KernelRow
from kernlab.lessons.words import word
from kernlab.sinks.console import safe, words

_WORDS: dict[str, dict[Language, str]] = {
    "actors": {"en": "Actors", "zh": "角色"},
    "steps": {"en": "Steps", "zh": "步骤"},
    "endings": {"en": "How it can end", "zh": "可能的结局"},
    "fires": {"en": "the race", "zh": "竞态"},
    "any": {"en": "any task", "zh": "该 vCPU 上的任意代码"},
    "free": {"en": "has no mark", "zh": "不在标记处等待"},
    "at": {"en": "at", "zh": "于"},
    "until": {"en": "until", "zh": "直到"},
    "release": {"en": "release all", "zh": "全部释放"},
    "later": {"en": "known only when the actor has stopped", "zh": "角色停住时才能确定"},
    "unbuilt": {
        "en": "no kernel is built here; --kernel shows where the places are",
        "zh": "这里还没有构建内核：用 --kernel 查看各位置",
    },
    "on": {"en": "Places on {release}", "zh": "{release} 上的位置"},
    "kernel": {"en": "kernel", "zh": "内核"},
    "ending": {"en": "ending", "zh": "结局"},
    "place": {"en": "place", "zh": "位置"},
    "missing": {"en": "not there", "zh": "没有"},
    "agree": {"en": "They agree.", "zh": "各内核一致。"},
    "part": {"en": "They differ: {parts}", "zh": "分歧：{parts}"},
    "again": {"en": "done again", "zh": "重做"},
}


def begin(console: Console, name: str, race: Race, language: Language) -> None:
    """What a run is about, before its rounds."""
    console.print(words("\n", (f"{name}  {say(race.title, language)}", "bold")))
    console.print(words(say(race.idea, language)))


def lesson(
    console: Console,
    name: str,
    race: Race,
    language: Language,
    places: Mapping[str, tuple[str, str]],
    release: str,
) -> None:
    """One race to read. ``places``: for each place's words those of a kernel and its
    ``file:line``, empty where no kernel is built."""
    console.print(words("\n", (f"{name}  {say(race.title, language)}\n", "bold")))
    console.print(words(say(race.idea, language)))
    _heading(console, word("kernel", language))
    for line in race.source:
        console.print(words(f"  {line}"))
    _heading(console, _word("actors", language))
    for actor, one in race.actors.items():
        notes = [] if one.task else [_word("any", language)]
        notes += [] if one.mark or not one.task else [_word("free", language)]
        note = f"  {', '.join(notes)}" if notes else ""
        console.print(words(f"  {actor}  vCPU {one.vcpu}", (note, "dim")))
    _heading(console, _word("steps", language))
    for number, step in enumerate(race.steps, 1):
        _step(console, number, step, language)
    _heading(console, _word("endings", language))
    for ending in race.endings:
        mark = f"  ({_word('fires', language)})" if ending.fired else ""
        title = f"  {ending.id:<12} {say(ending.title, language)}"
        console.print(words(title, (mark, "red")))
    if race.differs is not None:
        _heading(console, word("differs", language))
        console.print(words(f"  {say(race.differs, language)}"))
    if release:
        _heading(console, _word("on", language, release=release))
        _places(console, places, language)
    else:
        console.print(words((f"\n{_word('unbuilt', language)}", "dim")))
    console.print(words((f"\nkernlab race run {name}", "dim")))


def _heading(console: Console, text: str) -> None:
    console.print(words("\n", (text, "bold")))


def _word(name: str, language: Language, **values: object) -> str:
    return _WORDS[name][language].format(**values)


def _step(console: Console, number: int, step: Step, language: Language) -> None:
    if step.release is not None:
        console.print(words(f"  {number}. {_word('release', language)}"))
        return
    verb = "hold" if step.hold is not None else "run"
    joint = _word("at" if step.hold is not None else "until", language)
    targets = [one if isinstance(one, str) else one.text() for one in step.targets]
    when = f"  when {step.when}" if step.when else ""
    console.print(
        words(
            f"  {number}. ",
            (f"{verb} {step.actor}", "cyan"),
            f" {joint} ",
            (" | ".join(targets), "bold"),
            (when, "dim"),
        ),
        soft_wrap=True,
    )
    if step.says is not None:
        console.print(words(f"     {say(step.says, language)}"))


def _places(console: Console, places: Mapping[str, tuple[str, str]], language: Language) -> None:
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    table.add_column(overflow="fold")
    table.add_column(overflow="fold")
    for name, where in places.values():
        said = words(where) if where else words((_word("later", language), "dim"))
        table.add_row(words(f"  {name}"), said)
    console.print(table)


def rounds_table(
    console: Console, race: Race, notes: Sequence[Mapping[str, Any]], language: Language
) -> None:
    """The rounds of a run, a line each."""
    fired = {one.id for one in race.endings if one.fired}
    for note in notes:
        ending = note.get("ending")
        how = str(ending or note.get("trouble") or "?")
        line = Text(f"round {safe(note.get('round', '?')):>3}  ")
        line.append(f"{safe(how):<12}", "bold red" if ending in fired else "bold")
        line.append(" " + safe(" → ".join(note.get("reached", ()))))
        if note.get("said") and not ending:
            line.append(f"  {safe(note['said'])}", "dim")
        if note.get("again"):
            line.append(f"  ({_word('again', language)})", "dim")
        console.print(line, soft_wrap=True)


def compared(
    console: Console, name: str, race: Race, rows: Sequence[KernelRow], language: Language
) -> None:
    """A race on several kernels (kernlab.race.compare.Row)."""
    console.print(words("\n", (f"{name}  {say(race.title, language)}\n", "bold")))
    titles = {one.id: say(one.title, language) for one in race.endings}
    fired = {one.id for one in race.endings if one.fired}
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    for heading in ("kernel", "ending"):
        table.add_column(_word(heading, language), overflow="fold", no_wrap=heading == "kernel")
    for row in rows:
        for at, (key, count) in enumerate(row.counts.items()):
            style = "bold red" if key in fired else "bold" if key in titles else "bold magenta"
            cell = Text(f"{count} × {safe(key)}", style)
            cell.append(f"  {safe(titles.get(key, ''))}", "")
            if at == 0 and row.again:
                cell.append(f"  ({row.again} {_word('again', language)})", "dim")
            table.add_row(words(row.release if at == 0 else ""), cell)
        if row.missing:
            said = f"{_word('missing', language)}: {row.missing}"
            table.add_row(words(row.release), words((said, "magenta")))
    console.print(table)
    console.print()
    for text in dict.fromkeys(text for row in rows for text in row.places):
        console.print(Text(f"  {safe(text)}", "bold"))
        for row in rows:
            if text in row.places:
                found, where = row.places[text]
                said = where or _word("later", language)
                line = Text(f"    {safe(row.release):<20} ")
                line.append(safe(said), "" if where else "dim")
                if found != text:
                    line.append(f"  {safe(found)}", "cyan")
                console.print(line, soft_wrap=True)
    console.print()
    parts = _parts(rows)
    said = _word("part", language, parts=parts) if parts else _word("agree", language)
    console.print(words((said, "bold" if parts else "")), soft_wrap=True)
    if race.differs is not None:
        console.print(words((say(race.differs, language), "dim")))


def _parts(rows: Sequence[KernelRow]) -> str:
    """Endings with the kernels that come to them; empty when all come to the same."""
    found: dict[str, list[str]] = {}
    for row in rows:
        key = " + ".join(sorted(row.counts)) or "-"
        found.setdefault(key, []).append(row.release)
    if len(found) < 2:
        return ""
    return "; ".join(f"{key}: {', '.join(kernels)}" for key, kernels in found.items())
