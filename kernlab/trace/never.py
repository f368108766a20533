"""A program that never ran: why, and what brings it into the guest."""

from __future__ import annotations

import errno
import os
import re
from pathlib import Path, PurePosixPath

from kernlab.decode.arch import ARCH
from kernlab.errors import BadInput

_SHARE = "/mnt/share/"
# As dash, bash, env and the agent say it, the last thing before status 127.
_NOT_FOUND = re.compile(
    r"([^\s:'\"]+)[:'\"]*: (?:command )?(?:not found|No such file or directory)"
)
SHELL = (126, 127)  # a shell's statuses for what it cannot execute, and does not find


def never_ran(name: str, number: int, image: str, share: Path) -> BadInput:
    """The error for a program ``name`` that the guest could not start, by its errno."""
    words = "not found" if number == errno.ENOENT else os.strerror(number)
    why, step = _why(name, number, image, share)
    return BadInput(f"the program never ran: {name}: {words}", why, step)


def by_shell(said: str, image: str, share: Path) -> BadInput | None:
    """The same for one that a shell in the guest did not find, by what it ``said`` last."""
    found = _NOT_FOUND.findall(said[-2000:])
    return never_ran(found[-1], errno.ENOENT, image, share) if found else None


def _why(name: str, number: int, image: str, share: Path) -> tuple[str, str]:
    file = PurePosixPath(name).name
    there = name.startswith(_SHARE) and os.path.lexists(share / name[len(_SHARE) :])
    if number == errno.EACCES:
        return "the file is not executable in the guest", f"chmod +x {file}"
    if number == errno.ENOEXEC:
        return (
            f"it is neither a program for {ARCH.title} nor a script that begins with #!",
            f"file {file}",
        )
    if number != errno.ENOENT:
        return "the guest's kernel refused to start it", "kernlab run -- ls -l /mnt/share"
    if there:
        return (
            "it is in the share, but the guest lacks what it needs to start: a dynamic loader, or "
            "the interpreter that its first line names; --add brings the libraries of a program",
            f"--add ./{file}",
        )
    if name.startswith(_SHARE):
        return "the guest's /mnt/share has only the files given with --share", f"--share ./{file}"
    own = f"--add ./{file} brings a program of your own, --share ./{file} puts it into {_SHARE}"
    if image == "busybox":
        return (
            f"the image busybox has no {file}; the image debian has python3, curl, strace, iperf3 "
            f"and others; {own}",
            "--image debian",
        )
    return f"the image {image} has no {file}; {own}", f"--add ./{file}"
