"""The command line as a user meets it: help, refusals, statuses. Nothing boots."""

from __future__ import annotations

import io
import json
import os
import re
import subprocess
import sys
from contextlib import suppress
from dataclasses import fields
from pathlib import Path
from typing import Any, cast

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rich.console import Console

from kernlab.cli import output
from kernlab.cli.bootoptions import BootOptions
from kernlab.cli.commands import COMMANDS
from kernlab.errors import BadInput
from kernlab.progress import Advanced, Finished, Started, quiet
from kernlab.record.asked import asked
from kernlab.record.expression import parse_where
from kernlab.symbols import places
from kernlab.trace import workloads
from kernlab.trace.request import TraceRequest

ROOT = Path(__file__).resolve().parents[2]


def kernlab(*words: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "kernlab", *words],
        capture_output=True,
        text=True,
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        timeout=60,
    )


def test_help_lists_every_command() -> None:
    said = kernlab("--help")
    assert said.returncode == 0
    assert all(name in said.stdout for name in COMMANDS)


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_every_command_has_help(name: str) -> None:
    said = kernlab(name, "--help")
    assert said.returncode == 0, said.stderr
    assert "Usage" in said.stdout


def test_an_option_of_booting_is_declared_once() -> None:
    """Whatever boots takes it from the bundle; the exceptions mean something else by it."""
    others = {
        ("bpf", "--image"),  # a recipe has its own, and `check` looks into one
        ("bpf", "--memory"),
        ("doctor", "--kernel"),  # a kernel to be built, not to be booted
    }
    for path in sorted((ROOT / "kernlab/cli").glob("*.py")):
        if path.stem in ("bootoptions", "common"):
            continue
        for one in fields(BootOptions):
            option = f"--{one.name}"
            declared = re.search(rf'Option\([^()]*"{option}"', path.read_text())
            assert not declared or (path.stem, option) in others, f"{path.name} has {option}"


def test_what_a_command_fixes_is_no_option_of_it() -> None:
    said = kernlab("graph", "--cpus", "2", "tcp_v4_rcv")
    assert said.returncode == 2
    assert "No such option" in said.stderr


def test_run_json_keeps_the_digests_of_the_files_that_were_named(tmp_path: Path) -> None:
    """As sha256sum(1) prints them; a directory's is that of such lines."""
    script, tree, lab = tmp_path / "mine.sh", tmp_path / "tree", tmp_path / "L99.yaml"
    (tree / "in").mkdir(parents=True)
    for path in (script, tree / "a", tree / "in" / "b", lab):
        path.write_text(path.name)
    boot = BootOptions(share=[script, tree], add=[f"{script}:/root/x"])
    run = boot.setting(quiet, str(tmp_path / "run"), cast(Any, (None, None)), [lab]).run
    sums = subprocess.run(
        f"sha256sum {script} {lab}; cd {tree}; sha256sum a in/b | sha256sum",
        shell=True,
        capture_output=True,
        text=True,
    ).stdout.split()
    assert run.read()["asked"]["files"] == {
        str(script): sums[0],
        str(lab): sums[2],
        str(tree): sums[4],
    }


def test_a_pipe_or_a_device_has_no_digest(tmp_path: Path) -> None:
    """Reading one may never end."""
    os.mkfifo(tmp_path / "pipe")
    assert asked([], [tmp_path / "pipe", Path("/dev/zero")]) == {"argv": []}


def test_help_imports_no_room() -> None:
    script = (
        "import sys; sys.argv = ['kernlab', '--help']\n"
        "from kernlab.cli.main import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "heavy = {'pydantic', 'yaml', 'elftools', 'requests', 'psutil'} & set(sys.modules)\n"
        "sys.exit(f'imported: {heavy}' if heavy else 0)\n"
    )
    said = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert said.returncode == 0, said.stderr


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        (["trcae"], 2, "No such command"),
        (["trace"], 2, "no function to trace"),
        (["trace", "tcp_ipv4.c:"], 2, "'tcp_ipv4.c:' is not a place"),
        (["trace", "--preset", "hand"], 2, "did you mean handshake?"),
        (["trace", "tcp_v4_rcv", "--show", "skb->len = 0"], 2, "would change the guest"),
        (["trace", "tcp_v4_rcv", "--show", "printk(skb)"], 2, "would change the guest"),
        (["trace", "tcp_v4_rcv", "--group-by", "sock.stat"], 2, "did you mean sock.state?"),
        (["trace", "tcp_*", "--max-probes", "0"], 2, "--max-probes 0"),
        (["trace", "tcp_v4_rcv", "--where", "state == SYNSENT"], 2, "SYN_SENT"),
        (["trace", "tcp_v4_rcv", "--count", "0"], 2, "--count 0"),
        (["trace", "tcp_v4_rcv", "--timeout", "-1"], 2, "--timeout -1"),
        (["trace", "tcp_v4_rcv", "--workload", "htpt"], 2, "did you mean http?"),
        (["trace", "tcp_v4_rcv", "--engine", "magic"], 2, "--engine magic"),
        (["rst", "--count", "0"], 2, "--count 0"),
        (["rst", "--lab", "L02", "--count", "1"], 2, "--count together with --lab"),
        (["rst", "--lab", "L02", "--add", "x", "--image", "debian"], 2, "--image, --add together"),
        (["rst", "explain"], 2, "explain reads one capture"),
        (["rst", "explain", "a.pcap", "b.pcap"], 2, "next: kernlab rst explain a.pcap"),
        (["lab", "validate", "./none.yaml"], 2, "next: kernlab lab list"),
        (["stop", "none"], 2, "next: kernlab ps"),
        (["rst", "--where", "rst.cause == a1"], 2, "no cause 'a1'\ndid you mean A1?"),
        (["rst", "--where", "port == 80 and not rst.cause in (A1, Z99)"], 2, "no cause 'Z99'"),
        (["rst", "--lab", "L02", "--count", "-1"], 2, "--count -1"),
        (["rst", "--lab", "L02", "--timeout", "0"], 2, "--timeout 0"),
        (["rst", "--share", "./my.sh"], 2, "kernlab rst --share my.sh -- /mnt/share/my.sh"),
        (["build", "--set", "SMP=y"], 2, "--set SMP=y:1"),
        (["build", "nonsense"], 2, "not a kernel version"),
        (["build", "--config", "/no/such"], 2, "--config /no/such"),
        (["build", "/etc"], 2, "not a kernel source tree"),
        (["clean", "rusn"], 2, "did you mean runs?"),
        (["show", "latest"], 2, "no run yet"),
        (["show", "~0"], 2, "no run '~0'"),  # no such home either
        (["stop"], 2, "no machine is named"),
        (["config", "schema", "evnt"], 2, "did you mean event?"),
        (["run", "--kernel", "nonsense", "--", "true"], 125, "not a kernel version"),
    ],
)
def test_a_refusal_names_the_option_and_the_next_command(
    words: list[str], status: int, said: str
) -> None:
    result = kernlab(*words)
    assert result.returncode == status, result.stderr
    assert said in result.stderr
    assert "Traceback" not in result.stderr
    assert result.stdout == ""


def test_schema_is_json() -> None:
    schema = json.loads(kernlab("config", "schema", "event").stdout)
    assert schema["properties"]["packet"]


def test_works_from_any_directory(tmp_path: Path) -> None:
    said = kernlab("ps", cwd=tmp_path)
    assert (said.returncode, said.stdout.strip()) == (0, "no machine is running")


def test_a_broken_pipe_is_quiet() -> None:
    said = subprocess.run(
        f"{sys.executable} -m kernlab --help | head -1", shell=True, capture_output=True, text=True
    )
    assert "Traceback" not in said.stderr


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.sampled_from(["", "port == 80", "flags has SYN"]) | st.text(max_size=40),
    st.sampled_from(["tcp_v4_rcv", "tcp_*", "tcp_ipv4.c:1961"]) | st.text(max_size=12),
    st.integers(-5, 5),
    st.floats(-5, 5),
)
def test_any_request_is_taken_or_refused(where: str, name: str, count: int, timeout: float) -> None:
    """Taken where each part of it is good; else refused with what to type."""
    good = [count >= 1, timeout > 0]
    for read in (lambda: parse_where(where), lambda: places.parse(name)):
        try:
            read()
        except BadInput:
            good.append(False)
    # A well-formed filter may still ask for what is not shown, or known in the record alone.
    asks = "show." in where or "packet.id" in where or "drop.reason" in where or "(" in where
    try:
        request = TraceRequest((name,), parse_where(where), count, timeout)
    except BadInput as error:
        assert error.next_step  # noqa: PT017
        assert asks or not all(good)
    else:
        assert all(good)
        assert (request.count, request.where.text) == (count, where)


def test_the_place_in_a_bad_expression_is_marked() -> None:
    with pytest.raises(BadInput) as caught:
        parse_where("port == 80 and stat == LISTEN")
    lines = caught.value.why.splitlines()
    assert lines[1].index("^") - 2 == "port == 80 and ".__len__()
    assert "state" in lines[2]


@pytest.mark.parametrize("name", ["packet.id", "drop.reason"])
def test_a_filter_of_what_only_the_record_knows_is_refused(name: str) -> None:
    """It would pass nothing, and say nothing of it."""
    where = f"port == 80 and not {name} == p3"
    with pytest.raises(BadInput) as caught:
        TraceRequest(("tcp_v4_rcv",), parse_where(where))
    assert name in caught.value.what
    assert caught.value.next_step == f"kernlab show latest --where '{where}'"


def test_a_command_line_is_a_workload() -> None:
    assert workloads.find("wget -q http://10.0.2.2/").command == [
        "sh",
        "-c",
        "wget -q http://10.0.2.2/",
    ]


def test_bars_fit_80_columns() -> None:
    console = Console(file=io.StringIO(), width=80, force_terminal=True, color_system=None)
    with output._Bars(console) as bars:
        bars(Started("boot the guest"))
        bars(Started("build the kernel", 1432, "objects"))
        bars(Advanced("build the kernel", 1257, 1432, "CC drivers/net/ethernet/realtek/8139.o"))
        paper = Console(file=io.StringIO(), width=80)
        with paper.capture() as shown:
            paper.print(bars._progress.get_renderable())
    boot, build = shown.get().splitlines()
    assert "/" not in boot
    assert " 1257/1432 0:00 " in build


@pytest.mark.parametrize("drawing", [output._Bars, output._Lines])
def test_a_stage_that_is_interrupted_is_named(
    drawing: type[output._Bars] | type[output._Lines],
) -> None:
    console = Console(file=io.StringIO(), force_terminal=drawing is output._Bars)
    with console.capture() as shown, suppress(KeyboardInterrupt), drawing(console) as report:
        report(Started("boot the guest"))
        report(Finished("boot the guest"))
        report(Started("build the kernel", 1432, "objects"))
        raise KeyboardInterrupt
    assert "boot the guest" in shown.get()
    (told,) = [line for line in shown.get().splitlines() if "interrupted" in line]
    assert "build the kernel" in told
