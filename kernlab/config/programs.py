"""How a file names a guest program: a name in rootfs/guest, or a C file beside it."""

from __future__ import annotations

import re
from pathlib import PurePosixPath
from typing import Annotated

from pydantic import AfterValidator

NAME = re.compile(r"[\w-]+(?:/[\w-]+)*", re.ASCII)


def program_name(name: str) -> str:
    """The name. Raises ``ValueError`` for what names no program: a file from the internet says
    where its program lies, and must not lead to other files of the host."""
    if name.endswith(".c"):
        parts = PurePosixPath(name).parts
        if name.startswith(("/", "~")) or ".." in parts or "\0" in name or len(name) > 200:
            raise ValueError("a program lies beside its file or below, and is named from there")
    elif not NAME.fullmatch(name):
        raise ValueError("a program is a name in rootfs/guest, or a path that ends in .c")
    return name


Program = Annotated[str, AfterValidator(program_name)]
