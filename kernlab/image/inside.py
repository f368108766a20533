"""A program out of the Debian image's disk, without booting it."""

from __future__ import annotations

from pathlib import Path

from kernlab.errors import BadInput
from kernlab.image.model import Image
from kernlab.process import need, run

_WHERE = ("usr/local/sbin", "usr/local/bin", "usr/sbin", "usr/bin")
_LIMIT = 60.0


def copied_out(image: Image, program: str, into: Path) -> Path:
    """A copy of ``program``, a name or an absolute path, from an image's disk, under the name
    that it has there.

    Raises ``BadInput`` when the image has no disk or no such program, ``HostLacks``.
    """
    debugfs = need("debugfs", "reads the image's file system", "e2fsprogs")
    # As people call bcc's tools, and as Debian does.
    names = [program, f"{program}-bpfcc"]
    places = [f"/{one}/{name}" for name in names for one in _WHERE]
    if program.startswith("/"):
        places = [program]
    for place in places if image.disk is not None else ():
        out = into / Path(place).name
        # debugfs(8) ends with 0 whatever happens; a symlink's copy is empty.
        run(_LIMIT, [debugfs, "-R", f'dump "{place}" "{out}"', str(image.disk)], check=False)
        if out.is_file() and out.stat().st_size:
            return out
    raise BadInput(
        f"the image {image.kind} has no program {program}",
        "looked in " + ", ".join(places) if image.disk else "it has this host's programs",
        "give the program with --add" + (" or --package" if image.disk else ""),
    )
