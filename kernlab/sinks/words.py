"""What a guest's program prints, line by line among the events."""

from __future__ import annotations

import codecs

from rich.console import Console
from rich.text import Text

from kernlab.sinks.console import safe

_LONGEST = 4096  # characters of a line that is shown before its end has come


class WordsView:
    """Draws a program's stdout on ``out`` and its stderr on ``err``, each line marked."""

    def __init__(self, out: Console, err: Console) -> None:
        self._consoles = {"stdout": out, "stderr": err}
        decoder = codecs.getincrementaldecoder("utf-8")
        self._decoders = {name: decoder("replace") for name in self._consoles}
        self._half = dict.fromkeys(self._consoles, "")

    def piece(self, stream: str, data: bytes) -> None:
        """Something that was printed on stdout or stderr; a line's beginning waits for its end."""
        text = self._half[stream] + self._decoders[stream].decode(data)
        *lines, self._half[stream] = text.split("\n")
        for line in lines:
            self._line(stream, line)
        if len(self._half[stream]) > _LONGEST:
            self.flush()

    def flush(self) -> None:
        """Show the beginnings too: something else follows."""
        for stream, text in self._half.items():
            if text:
                self._half[stream] = ""
                self._line(stream, text)

    def _line(self, stream: str, text: str) -> None:
        line = Text("│ ", "dim").append(safe(text.rstrip("\r").expandtabs()), "")
        self._consoles[stream].print(line, soft_wrap=True)
