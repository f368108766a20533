"""Words for people in a data file: one text, or the same in several languages."""

from __future__ import annotations

from typing import Literal

from kernlab.config.yaml import Model

Language = Literal["en", "zh"]


class InLanguages(Model):
    """A text in English and in simplified Chinese (zh-CN)."""

    en: str
    zh: str


Text = str | InLanguages


def say(text: Text, language: Language = "en") -> str:
    """The text in a language; what has only one is said as it is."""
    if isinstance(text, str):
        return text.strip()
    return (text.zh if language == "zh" else text.en).strip()
