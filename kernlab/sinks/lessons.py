"""Labs to read: the catalogue, a lesson, a question."""

from __future__ import annotations

from collections.abc import Mapping

from rich.console import Console
from rich.table import Table

from kernlab.config.text import Language, say
from kernlab.lessons.lab import Lab, Question
from kernlab.lessons.words import TOPICS, word
from kernlab.sinks.console import words


def catalogue(console: Console, labs: Mapping[str, Lab], language: Language) -> None:
    """All labs, a table for each topic, the easier ones first."""
    for topic, titles in TOPICS.items():
        rows = [(lab.level, name, lab) for name, lab in labs.items() if lab.topic == topic]
        if not rows:
            continue
        console.print(words("\n", (titles[language], "bold")))
        table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
        table.add_column(no_wrap=True)
        table.add_column(no_wrap=True)
        table.add_column(ratio=1)
        for level, name, lab in sorted(rows, key=lambda row: row[0]):
            six = " · IPv6" if "ipv6" in lab.families else ""
            title = words(say(lab.title, language), (six, "dim"))
            table.add_row(words(f"  {name}"), "★" * level, title)
        console.print(table)
    hint = f"\nkernlab lab show ID · kernlab lab run ID · {len(labs)} labs"
    console.print(words((hint, "dim")))


def lesson(console: Console, name: str, lab: Lab, language: Language) -> None:
    """One lab to read before it is run."""
    title = (f"{name}  {say(lab.title, language)}", "bold")
    console.print(words("\n", title, f"  {'★' * lab.level}\n"))
    console.print(words(say(lab.idea, language)))
    _heading(console, "watch", language)
    console.print(words(f"  {say(lab.watch, language)}"))
    for heading, lines in (("kernel", lab.source), ("rfc", lab.rfc)):
        if lines:
            _heading(console, heading, language)
            for line in lines:
                console.print(words(f"  {line}"))
    if lab.predict:
        _heading(console, "predict", language)
        for number, asked in enumerate(lab.predict, 1):
            question(console, number, asked, language)
    if lab.then:
        _heading(console, "then", language)
        for then in lab.then:
            console.print(words(f"  {then.id:<16} {say(then.title, language)}"))
    if lab.elsewhere:
        _heading(console, "differs", language)
    for text in lab.elsewhere:
        console.print(words(f"  {say(text, language)}"))
    console.print(words((f"\nkernlab lab run {name} · kernlab lab run {name} --quiz", "dim")))


def _heading(console: Console, name: str, language: Language) -> None:
    console.print(words("\n", (word(name, language), "bold")))


def question(console: Console, number: int, asked: Question, language: Language) -> None:
    """A question and its choices, numbered from 1."""
    console.print(words(f"  {number}. {say(asked.ask, language)}"))
    for choice, one in enumerate(asked.choices, 1):
        console.print(words(f"       {choice}) {say(one.says, language)}"))
