"""Damaged records and files: every command that reads one answers, in time and in little memory.

KERNLAB_FUZZ sets how many are tried; a hundred without it. ``tests/fuzzing.py`` has what is
changed in them and what is asked of each command.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import fuzzing

COUNT = int(os.environ.get("KERNLAB_FUZZ", "100"))
MOST = 500  # MB


def test_no_damaged_record_or_file_breaks_a_promise(tmp_path: Path) -> None:
    argv = [sys.executable, fuzzing.__file__, str(tmp_path / "fuzz"), str(COUNT), "20261129"]
    environment = {**os.environ, "PYTHONPATH": str(Path(fuzzing.__file__).parents[1])}
    said = subprocess.run(
        argv, capture_output=True, text=True, timeout=60 + COUNT * 10, env=environment
    )
    assert said.returncode == 0, said.stderr[-3000:]
    told = json.loads(said.stdout)
    assert told["broken"] == []
    assert told["examples"] == COUNT
    assert told["MB"] < MOST
    # Commands end in more than one way: that all refuse all would be no success.
    assert min(told["ended"].get(status, 0) for status in "02") > COUNT // 4
