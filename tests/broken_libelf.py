"""A host whose libelf.a cannot be linked, as Debian 13's: made of this host's own."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

SYMBOL = "eu_search_tree_fini"  # what elf_end.o of elfutils 0.192 calls, and no archive has


def path_with(folder: Path) -> str:
    """A PATH whose gcc takes a libelf.a, made in ``folder``, that calls what is nowhere."""
    gcc = subprocess.run(["which", "gcc"], capture_output=True, text=True, check=True)
    real = gcc.stdout.strip()
    found = subprocess.run(
        [real, "-print-file-name=libelf.a"], capture_output=True, text=True, check=True
    )
    folder.mkdir()
    archive = folder / "libelf.a"
    archive.write_bytes(Path(found.stdout.strip()).read_bytes())

    def step(*argv: str) -> None:
        subprocess.run(argv, cwd=folder, check=True, capture_output=True)

    step("ar", "x", archive.name, "elf_end.o")
    step("objcopy", "--redefine-sym", f"free={SYMBOL}", "elf_end.o")
    step("ar", "rs", archive.name, "elf_end.o")
    wrapper = folder / "gcc"
    wrapper.write_text(f'#!/bin/sh\nexec {real} -B{folder}/ -L{folder} "$@"\n')
    wrapper.chmod(0o755)
    return f"{folder}:{os.environ['PATH']}"
