"""What a shell offers for values, from a home with known contents."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from kernlab.cli import complete

MAP = """\
ffffffff81000000 T _text
ffffffff81000010 T tcp_v4_rcv
ffffffff81000020 t tcp_v4_fill_cb
ffffffff81000030 t tcp_v4_fill_cb.isra.0
ffffffff82000000 D tcp_v4_data
ffffffff81000040 t ip_tcp_v4_not_at_the_start
"""


@pytest.fixture
def home(own_home: Path) -> Path:
    for version in ("5.10.223", "5.15.1"):
        kernel = own_home / "kernels" / f"{version}-0123456789ab"
        kernel.mkdir(parents=True)
        (kernel / "kernel.json").write_text("{}")
    (own_home / "kernels" / "5.10.223-0123456789ab" / "System.map").write_text(MAP)
    (own_home / "sources" / "linux-5.4.9").mkdir(parents=True)
    (own_home / "sources" / "kernel_org-5.4.7").mkdir()
    (own_home / "sources" / "git-6dae7c28bdab1443").mkdir()
    for run in ("20260102-030405-a", "20260203-040506-b"):
        (own_home / "runs" / run).mkdir(parents=True)
        (own_home / "runs" / run / "run.json").write_text("{}")
    return own_home


def test_functions_are_those_of_the_newest_kernel(home: Path) -> None:
    assert complete.functions("tcp_v4_") == ["tcp_v4_fill_cb", "tcp_v4_rcv"]
    assert complete.functions("t") == []


def test_kernels_are_in_their_order(home: Path) -> None:
    found = complete.kernels("5.")
    assert {"5.4", "5.4.7", "5.4.9", "5.10", "5.10.223", "5.15.1"} <= set(found)
    assert found.index("5.4.9") < found.index("5.10") < found.index("5.10.223")


def test_runs_are_newest_first(home: Path) -> None:
    assert complete.runs("") == ["latest", "20260203-040506-b", "20260102-030405-a"]
    assert complete.runs("20260102") == ["20260102-030405-a"]


def test_names_of_tables(home: Path) -> None:
    assert complete.workloads("http-") == ["http-in", "http-filtered"]
    assert complete.presets("h") == ["handshake"]
    assert complete.kinds("r") == ["runs"]
    assert complete.schemas("kern") == ["kernels"]


def test_an_empty_home_offers_nothing(own_home: Path) -> None:
    assert complete.functions("tcp_") == []
    assert complete.runs("") == ["latest"]
    assert not own_home.exists()


def test_a_malformed_table_is_quiet(home: Path) -> None:
    (home / "configs").mkdir()
    for name in ("kernels", "workloads"):
        (home / "configs" / f"{name}.yaml").write_text("]")
    assert "5.4.9" in complete.kernels("")
    assert complete.workloads("") == []


def test_only_the_completed_command_is_imported() -> None:
    script = (
        "import os, sys; sys.argv = ['kernlab']\n"
        "os.environ.update(_KERNLAB_COMPLETE='complete_bash', COMP_WORDS='kernlab boot --',"
        " COMP_CWORD='2')\n"
        "from kernlab.cli.main import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "print(sorted(m for m in sys.modules if m.startswith('kernlab.cli.')))\n"
    )
    said = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    *offered, modules = said.stdout.splitlines()
    assert "--gdb-port" in offered
    assert "kernlab.cli.boot" in modules
    assert "kernlab.cli.trace" not in modules
