"""C programs of strangers: what the compiler may read for one, and nothing else of this host.

A lab or a race from the internet brings a program, which is compiled here and runs in the guest.
``#include "/etc/shadow"`` would show the file in the compiler's messages, ``.incbin`` bring it into
the guest. So what was included is looked at before anything is said, and the assembler is given
no directive by which it reads a file, or makes such a directive of pieces.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from kernlab.config.files import read_regular
from kernlab.errors import BadInput, WeFailed
from kernlab.process import run

_LIMIT = 120.0
_LONGEST = 64 << 20  # bytes of a program's assembly
# GNU as: .incbin and .include read files, the others make text of text. No case counts in them,
# and gcc writes none of them of its own.
_READS = re.compile(rb"\.(incbin|include|macro|irpc?|rept?|altmacro)\b", re.IGNORECASE)
_SYSTEM = re.compile(r"^ (/\S+)$", re.MULTILINE)


def assembly(
    source: Path, below: Path, flags: Sequence[str], own: Sequence[Path], out: Path
) -> str:
    """Compile ``source``, which lies ``below`` a directory, to assembly in ``out``; what the
    compiler said where it failed, or nothing. ``own``: directories with our headers.

    Raises ``BadInput`` for a program that reads other files, ``WeFailed`` for one that cannot be
    preprocessed.
    """
    system = _system()
    for named in _included(source, flags):
        path = named.resolve()
        if not (
            any(path.is_relative_to(place) for place in (below.resolve(), *own))
            or any(_is_below(named, place) for place in system)
        ):
            raise BadInput(
                f"{source.name} includes {path}",
                "a program may include only the system's headers, kernlab's, and files beside it",
                f"edit {source}",
            )
    said = run(_LIMIT, ["gcc", *flags, "-S", "-o", str(out), str(source)], check=False, merge=True)
    if said.returncode:
        return said.text
    if _READS.search(read_regular(out, _LONGEST)):
        raise BadInput(
            f"{source.name} uses assembler directives that are not allowed",
            "a lab's or a race's program may not use .incbin, .include, .macro, .irp or .rept",
            f"edit {source}",
        )
    return ""


def _included(source: Path, flags: Sequence[str]) -> list[Path]:
    """Every file that the preprocessor reads, as it names it. Nothing of its messages is shown
    but a line that names a directive: others quote what was included."""
    asked = ["-w", "-M", "-MG", "-fno-canonical-system-headers"]
    said = run(_LIMIT, ["gcc", *flags, *asked, str(source)], check=False)
    if said.returncode:
        lines = said.stderr.decode("utf-8", "replace").splitlines()
        first = next((line for line in lines if line.startswith(str(source))), "")
        raise WeFailed(f"{source.name} cannot be preprocessed", first[:300], f"edit {source}")
    words = re.split(r"(?<!\\)\s+", said.text.replace("\\\n", " ").partition(": ")[2].strip())
    return [Path(word.replace("\\ ", " ").replace("$$", "$")) for word in words if word]


def _is_below(named: Path, place: Path) -> bool:
    """Whether a header lies in a directory of the system's. What that has links to belongs to it
    (Debian 13's asm leads to /usr/lib/linux/uapi), but no name leads out of it."""
    resolved = named.resolve().is_relative_to(place.resolve())
    return resolved or (named.is_relative_to(place) and ".." not in named.parts)


def _system() -> list[Path]:
    """Where the compiler looks for headers by itself."""
    said = run(20, ["gcc", "-E", "-v", "-x", "c", "/dev/null"], check=False, merge=True)
    begin = said.text.partition("search starts here:")[2].partition("End of search list")[0]
    return [Path(place) for place in _SYSTEM.findall(begin)]
