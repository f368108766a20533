"""kernlab's command line as tests start it: each command that boots is told the kernel under
test, where KERNLAB_TEST_KERNEL names another one than the default."""

from __future__ import annotations

import os
import sys

VERSION = os.environ.get("KERNLAB_TEST_KERNEL")
_BOOT = (
    ("boot",),
    ("debug",),
    ("run",),
    ("trace",),
    ("rst",),
    ("lab", "run"),
    ("race", "run"),
    ("race", "explore"),
    ("bpf", "run"),
)


def kernlab(*words: str) -> list[str]:
    """The argv of ``kernlab WORDS``, which begin with a command."""
    for command in _BOOT:
        if VERSION and words[: len(command)] == command:
            words = (*command, "--kernel", VERSION, *words[len(command) :])
    return [sys.executable, "-m", "kernlab", *words]
