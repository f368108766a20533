"""Captures with bytes turned, cut out, doubled: words and a status, never a traceback.

KERNLAB_FUZZ sets how many are tried; some hundreds without it.
"""

from __future__ import annotations

import gzip
import io
import os
import random
import resource
from pathlib import Path

import captures

from kernlab.errors import BadInput
from kernlab.reasons.model import table
from kernlab.reasons.wire import Explained
from kernlab.sinks.console import Console
from kernlab.sinks.explained import ExplainedView

EXAMPLES = int(os.environ.get("KERNLAB_FUZZ", "300"))
SOUND = [
    *captures.WHOLE.values(),
    *(one[0] for one in captures.DAMAGED.values()),
    *(one[0] for one in captures.CUT.values()),
]
# Numbers that lengths, counts and offsets stumble over.
EDGES = [
    0,
    1,
    3,
    7,
    8,
    12,
    16,
    0x7F,
    0x80,
    0xFF,
    0xFFFF,
    0x10000,
    0x7FFFFFFF,
    0x80000000,
    0xFFFFFFF0,
    0xFFFFFFFF,
]


def bent(data: bytes, dice: random.Random) -> bytes:
    """A capture with one to six wounds."""
    zipped = data[:2] == b"\x1f\x8b"
    if zipped and dice.random() < 0.5:
        return gzip.compress(bent(gzip.decompress(data), dice)) if whole(data) else data
    body = bytearray(data)
    for _ in range(dice.randint(1, 6)):
        at = dice.randrange(len(body) + 1)
        size = dice.choice([1, 2, 4, 4, 8, 40])
        kind = dice.randrange(5)
        if kind == 0:
            body[at : at + 1] = bytes([dice.getrandbits(8)])
        elif kind == 1:
            order = dice.choice(["little", "big"])
            body[at : at + 4] = dice.choice(EDGES).to_bytes(4, order)  # type: ignore[arg-type]
        elif kind == 2:
            del body[at : at + size]
        elif kind == 3:
            body[at:at] = body[at : at + size]
        else:
            del body[at:]
    return bytes(body)


def whole(data: bytes) -> bool:
    """Whether gzip's end is there."""
    try:
        gzip.decompress(data)
    except (EOFError, OSError):
        return False
    return True


def test_a_bent_capture_is_read_or_refused(tmp_path: Path) -> None:
    dice = random.Random(11)
    path, reasons = tmp_path / "bent", table()
    read, refused = 0, []
    for _ in range(EXAMPLES):
        data = bent(dice.choice(SOUND), dice)
        path.write_bytes(data)
        view = ExplainedView(Console(file=io.StringIO()))
        try:
            reading = Explained(path, reasons, reader="kernlab")
            for row in reading:
                view.row(row)
            view.limits(reading.stream, reading.forgotten, "")
            read += 1
        except BadInput as error:
            refused.append((error.exit_status, bool(error.what), bool(error.next_step)))
    assert read
    assert set(refused) == {(2, True, True)}
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss < 500 << 10  # KiB
