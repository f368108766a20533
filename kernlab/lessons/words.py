"""Headings of lessons in both languages."""

from __future__ import annotations

from kernlab.config.text import Language

TOPICS: dict[str, dict[Language, str]] = {
    "handshake": {"en": "The handshake", "zh": "三次握手"},
    "close": {"en": "Closing", "zh": "关闭连接"},
    "abort": {"en": "Aborting: active RSTs", "zh": "中止：主动 RST"},
    "timers": {"en": "Timers", "zh": "定时器"},
    "queues": {"en": "Queues", "zh": "队列"},
    "segments": {"en": "Unwanted segments: passive RSTs", "zh": "不速之客：被动 RST"},
    "timewait": {"en": "TIME_WAIT", "zh": "TIME_WAIT"},
    "netfilter": {"en": "Netfilter", "zh": "Netfilter"},
    "course": {"en": "The course: three cases", "zh": "课程：三个案例"},
}
_WORDS: dict[str, dict[Language, str]] = {
    "watch": {"en": "Watch for", "zh": "观察"},
    "kernel": {"en": "In the kernel", "zh": "内核源码"},
    "rfc": {"en": "In the RFCs", "zh": "RFC"},
    "predict": {"en": "Predict before you run it", "zh": "运行之前先预测"},
    "then": {"en": "Then", "zh": "变体"},
    "differs": {"en": "Other kernels", "zh": "其他内核"},
    "run": {"en": "Run it", "zh": "运行"},
}


def word(name: str, language: Language) -> str:
    """A heading of a lesson."""
    return _WORDS[name][language]
