"""Program counters → functions, files and lines, inlined calls included.

One ``addr2line`` answers for as long as the machine runs. A kernel has few distinct
program counters on its stacks, so answers are remembered.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import TypedDict

from kernlab.errors import WeFailed
from kernlab.process import DEVNULL, PIPE, Child, need
from kernlab.symbols.system_map import SystemMap, base_name


class FrameInfo(TypedDict, total=False):
    """One frame of an event's stack; file and line are absent where there is no debug info."""

    func: str
    file: str
    line: int
    inlined: bool


class Symbolizer:
    """Names program counters of one vmlinux; a context manager that ends addr2line."""

    def __init__(self, vmlinux: Path, source: Path, symbols: SystemMap) -> None:
        program = need("addr2line", "names the frames of call stacks", "binutils")
        self._symbols = symbols
        self._prefix = f"{source}/"
        self._known: dict[int, tuple[FrameInfo, ...]] = {}
        self._child = Child(
            [program, "-e", str(vmlinux), "-a", "-f", "-i"], stdin=PIPE, stdout=PIPE, stderr=DEVNULL
        )

    def close(self) -> None:
        self._child.close()

    def __enter__(self) -> Symbolizer:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        where: TracebackType | None,
    ) -> None:
        self._child.close()

    def frames(self, pc: int, exact: bool) -> tuple[FrameInfo, ...]:
        """The frames at ``pc``, innermost first; the last one is the real function.

        A return address is looked up one byte earlier, inside the call.
        """
        address = pc if exact else pc - 1
        if address not in self._known:
            self._known[address] = self._ask(address)
        return self._known[address]

    def stack(self, pcs: Iterable[tuple[int, bool]], entry: bool = True) -> list[FrameInfo]:
        """A whole stack. With ``entry`` the first pc is a function's first instruction.

        Nothing inlined can be running there yet, whatever the line table says of the
        instruction, so only the function itself is a frame.
        """
        found: list[FrameInfo] = []
        for index, (pc, exact) in enumerate(pcs):
            frames = self.frames(pc, exact)
            found.extend(frames[-1:] if entry and index == 0 else frames)
        return found

    def _ask(self, address: int) -> tuple[FrameInfo, ...]:
        # addr2line -a prints the address first; the next question's address, asked
        # together with it, marks where the answer ends.
        stdin, stdout = self._child.stdin, self._child.stdout
        assert stdin is not None
        assert stdout is not None
        with suppress(BrokenPipeError):
            stdin.write(f"0x{address:x}\n0x0\n".encode())
            stdin.flush()
        lines: list[str] = []
        while True:
            line = stdout.readline().decode("utf-8", "replace").rstrip("\n")
            if not line:
                raise WeFailed("addr2line ended", "it reads vmlinux's line table", "kernlab doctor")
            if line == f"0x{0:016x}":
                stdout.readline()
                stdout.readline()
                break
            lines.append(line)
        pairs = list(zip(lines[1::2], lines[2::2], strict=True))
        named = [self._frame(func, place) for func, place in pairs if func != "??"]
        if not named:
            symbol = self._symbols.symbol_at(address)
            return ({"func": base_name(symbol) if symbol else f"0x{address:x}", "inlined": False},)
        for frame in named[:-1]:
            frame["inlined"] = True
        named[-1]["inlined"] = False
        return tuple(named)

    def _frame(self, func: str, place: str) -> FrameInfo:
        frame: FrameInfo = {"func": base_name(func)}
        file, _, number = place.split(" (discriminator")[0].rpartition(":")
        if file and file != "??":
            frame["file"] = file.removeprefix(self._prefix).removeprefix("./")
            if number.isdigit() and int(number):
                frame["line"] = int(number)
        return frame
