"""docs/labs: a page for each lab in each language, made from the lab's file alone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from kernlab.config.text import Language, say
from kernlab.config.yaml import listed
from kernlab.lessons.lab import Lab, Part
from kernlab.lessons.words import TOPICS, word
from kernlab.verdict.model import atoms

FOLDERS: dict[Language, str] = {"en": "en", "zh": "zh-CN"}
_WORDS: dict[str, dict[Language, str]] = {
    "labs": {"en": "Labs", "zh": "实验"},
    "made": {
        "en": "Made from configs/labs by `kernlab lab docs`; edit there.",
        "zh": "本页由 `kernlab lab docs` 根据 configs/labs 生成，请在那里修改。",
    },
    "level": {"en": "Level", "zh": "难度"},
    "program": {"en": "Program", "zh": "程序"},
    "story": {"en": "The story", "zh": "过程"},
    "verdict": {"en": "What the verdict checks", "zh": "判定内容"},
    "answer": {"en": "Why", "zh": "原因"},
    "nothing": {"en": "On such a kernel this is not checked.", "zh": "此时不检查这一项。"},
    "set": {"en": "set before", "zh": "事先设置"},
    "other": {"en": "中文", "zh": "English"},
}


def pages(labs: Mapping[str, Lab]) -> dict[Path, str]:
    """Every page by its path below docs/labs."""
    found = {}
    for language, folder in FOLDERS.items():
        found[Path(folder) / "README.md"] = _index(labs, language)
        for name, lab in labs.items():
            found[Path(folder) / f"{name}.md"] = _page(name, lab, language)
    return found


def _index(labs: Mapping[str, Lab], language: Language) -> str:
    lines = [f"# {_WORDS['labs'][language]}", "", _WORDS["made"][language], ""]
    for topic, titles in TOPICS.items():
        rows = [(lab.level, name, lab) for name, lab in labs.items() if lab.topic == topic]
        if rows:
            lines += [f"## {titles[language]}", ""]
            lines += [
                f"- [{name}]({name}.md) {'★' * level} {say(lab.title, language)}"
                for level, name, lab in sorted(rows, key=lambda row: row[0])
            ]
            lines.append("")
    return "\n".join(lines)


def _page(name: str, lab: Lab, language: Language) -> str:
    other: Language = "zh" if language == "en" else "en"
    lines = [
        f"# {name}: {say(lab.title, language)}",
        "",
        f"[{_WORDS['other'][language]}](../{FOLDERS[other]}/{name}.md) · "
        f"{_WORDS['level'][language]} {'★' * lab.level} · {TOPICS[lab.topic][language]}",
        "",
        say(lab.idea, language),
        "",
        f"**{word('watch', language)}** {say(lab.watch, language)}",
        "",
        f"    kernlab lab run {name}",
        f"    kernlab lab run {name} --quiz",
        "",
        f"## {_WORDS['story'][language]}",
        "",
        *(f"{n}. {say(text, language)}" for n, text in enumerate(lab.steps.values(), 1)),
        "",
        f"{_WORDS['program'][language]}: `rootfs/guest/labs/{lab.program}.c`"
        f"{_settings(lab, language)}",
        "",
        *_sources(lab, language),
        *_questions(lab, language),
        f"## {_WORDS['verdict'][language]}",
        "",
        *_verdict(lab.verdict, lab.kernels, language),
        "",
    ]
    for then in lab.then:
        lines += [
            f"## {word('then', language)}: {say(then.title, language)}",
            "",
            f"{say(then.teaches, language)}{_settings(then, language)}",
            "",
            *_verdict(then.verdict, lab.kernels, language),
            "",
        ]
    if lab.elsewhere:
        lines += [f"## {word('differs', language)}", ""]
    for text in lab.elsewhere:
        lines += [say(text, language), ""]
    lines += [_WORDS["made"][language], ""]
    return "\n".join(lines)


def _settings(part: Part, language: Language) -> str:
    settings = [f"`{key}={value}`" for key, value in part.sysctl.items()]
    settings += [f"`{command}`" for command in part.setup]
    settings += [f"`{' '.join(part.args)}`"] if part.args else []
    return f" ({_WORDS['set'][language]}: {', '.join(settings)})" if settings else ""


def _sources(lab: Lab, language: Language) -> Iterator[str]:
    for heading, rows in (("kernel", lab.source), ("rfc", lab.rfc)):
        if rows:
            yield f"**{word(heading, language)}**"
            yield ""
            yield from (f"- {row}" for row in rows)
            yield ""


def _questions(lab: Lab, language: Language) -> Iterator[str]:
    if not lab.predict:
        return
    yield f"## {word('predict', language)}"
    yield ""
    for number, asked in enumerate(lab.predict, 1):
        yield f"{number}. {say(asked.ask, language)}"
        yield from (f"   - {say(choice.says, language)}" for choice in asked.choices)
        yield ""
        yield f"   <details><summary>{_WORDS['answer'][language]}</summary>"
        yield f"   {say(asked.why, language)}</details>"
        yield ""


def _verdict(checks: Any, others: Any, language: Language) -> Iterator[str]:
    for check in checks:
        for part in atoms(check):
            yield f"- {_check(part)}"
            if part.says is not None:
                yield f"  {say(part.says, language)}"
        for name, instead in check.unless.items():
            yield f"  - {say(others[name].says, language)}"
            asked = [f"    {_check(part)}  " for one in listed(instead) for part in atoms(one)]
            yield from asked or [f"    {_WORDS['nothing'][language]}"]


def _check(check: Any) -> str:
    if check.negated is not None:
        return f"not: {_check(check.negated)}"
    value = getattr(check, check.kind)
    kind = check.kind.replace("_", " ")
    if isinstance(value, dict):
        ((name, wanted),) = value.items()
        return f"{kind}: `{name}` {wanted}"
    if isinstance(value, list):
        return f"{kind}: " + (" → ".join(f"`{one}`" for one in value) or "none")
    return f"{kind}: `{value}`" + (f" × {check.count}" if check.count is not None else "")
