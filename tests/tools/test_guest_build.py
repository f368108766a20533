"""Guest programs are the same whatever checkout they are made in."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from kernlab.guest import build
from kernlab.progress import quiet

SOURCE = """
#include <assert.h>
#include <stdio.h>
#include "mine.h"
int main(void)
{
	fprintf(stderr, "%s\\n", __FILE__);
	where();
	assert(!"here");
}
"""
HEADER = """
static inline void where(void)
{
	fprintf(stderr, "%s\\n", __FILE__);
}
"""


@pytest.mark.parametrize("shipped", [False, True])
def test_a_program_names_no_path_of_its_checkout(
    own_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shipped: bool
) -> None:
    said, programs = [], []
    for checkout in ("first", "a second"):
        top = tmp_path / checkout
        folder = top / "rootfs" / "guest" / "labs"
        folder.mkdir(parents=True)
        (folder / "mine.c").write_text(SOURCE)
        (folder / "mine.h").write_text(HEADER)
        if shipped:
            monkeypatch.setattr(build, "shipped", top.joinpath)
        built = build.compiled(folder / "mine.c", quiet)
        programs.append(built.read_bytes())
        ran = subprocess.run([str(built)], capture_output=True, text=True)
        said.append(ran.stdout + ran.stderr)
        shutil.rmtree(built.parent)  # the second is to be compiled too
    assert programs[0] == programs[1]
    assert said[0] == said[1]
    assert str(tmp_path) not in said[0]
    assert str(tmp_path).encode() not in programs[0]
    names = said[0].splitlines()[:2]
    assert names == (["labs/mine.c", "labs/mine.h"] if shipped else ["mine.c", "mine.h"])
