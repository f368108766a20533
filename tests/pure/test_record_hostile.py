"""Run directories of strangers: a bad one is named and passed by, and does nothing to the host."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import made_run
import psutil
import pytest

from kernlab.cli import main as door
from kernlab.config.paths import home
from kernlab.errors import BadInput
from kernlab.record import rundir
from kernlab.record.source import excerpt
from kernlab.report.chapters import page
from kernlab.report.write import report

Said = tuple[int, str, str]


@pytest.fixture
def kernlab(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Said]:
    """The command line, in this process: status, stdout, stderr."""

    def call(*words: str) -> Said:
        monkeypatch.setattr(sys, "argv", ["kernlab", *words])
        with pytest.raises(SystemExit) as caught:
            door.main()
        out, err = capfd.readouterr()
        assert "Traceback" not in err
        assert "kernlab has a bug" not in err, err
        return int(caught.value.code or 0), out, err

    return call


@pytest.fixture
def sleeping() -> Iterator[psutil.Process]:
    """A kernlab that runs something, as far as run.json can tell."""
    child = subprocess.Popen(["sleep", "600"])
    yield psutil.Process(child.pid)
    child.kill()
    child.wait()


def kept(name: str, told: Any) -> Path:
    path = home() / "runs" / name
    path.mkdir(parents=True)
    (path / "run.json").write_text(told if isinstance(told, str) else json.dumps(told))
    return path


WRONG = {
    "group": {"owner": {"pid": -1, "started": 0}},
    "zero": {"owner": {"pid": 0, "started": 0}},
    "init": {"owner": {"pid": 1, "started": 0.0}},
    "huge": {"owner": {"pid": 10**30, "started": 0}},
    "true": {"owner": {"pid": True, "started": 1}},
    "text": {"owner": {"pid": "7", "started": 1}},
    "nan": '{"owner": {"pid": 7, "started": NaN}}',
    "list": {"resolved": []},
    "asked": {"asked": 7},
    "argv": {"asked": {"argv": {"a": 1}}},
    "words": {"asked": {"argv": [1, None]}},
    "deep": "[" * 50_000,
    "torn": '{"owner": {"pi',
    "none": "null",
    "empty": "",
    "array": "[]",
}


def test_bad_runs_are_named_and_passed_by_and_the_others_are_done(
    kernlab: Callable[..., Said], sleeping: psutil.Process
) -> None:
    for name, told in WRONG.items():
        kept(f"bad-{name}", told)
    os.mkfifo(kept("bad-pipe", "").joinpath("x"))
    (home() / "runs" / "bad-pipe" / "run.json").unlink()
    os.mkfifo(home() / "runs" / "bad-pipe" / "run.json")
    (home() / "runs" / "bad-link").mkdir()
    (home() / "runs" / "bad-link" / "run.json").symlink_to("/dev/zero")
    owner = {"pid": sleeping.pid, "started": sleeping.create_time()}
    kept(
        "good",
        {
            "asked": {"argv": ["kernlab", "run", "--", "sed", "s,[/],x,", "[bold]\x1b[31m"]},
            "owner": owner,
            "resolved": {"release": "5.10.1"},
        },
    )
    kept("over", {"owner": {**owner, "started": owner["started"] - 100}})
    names = {path.name for path in (home() / "runs").iterdir() if path.name.startswith("bad")}
    named = names - {"bad-none"}  # null is as an empty one: nobody runs it

    status, out, err = kernlab("ps")
    assert status == 0
    assert "good" in out
    assert "kernlab run -- sed s,[/],x, [bold]?[31m" in out
    assert "\x1b" not in out
    for name in named:
        assert f"{name}/run.json" in err, name
    assert "over" not in out

    status, out, err = kernlab("clean", "runs")
    assert status == 0
    assert not (home() / "runs" / "over").exists()
    assert (home() / "runs" / "good").is_dir()
    for name in named:
        assert (home() / "runs" / name).is_dir()
        assert f"{name}/run.json" in err, name

    status, _, err = kernlab("stop", "bad-group")
    assert status == 2
    assert "owner.pid" in err
    assert sleeping.is_running()
    status, out, err = kernlab("stop", "--all")
    assert status == 0
    assert "stopped good" in out
    assert not sleeping.is_running()
    assert "bad-group/run.json" in err


def test_clean_removes_no_more_than_the_run(kernlab: Callable[..., Said], tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    (precious / "inner").mkdir(parents=True)
    (precious / "file").write_text("x")
    for name in ("a", "b"):
        run = kept(name, {})
        (run / "sockets").symlink_to(precious)
        (run / "share").symlink_to(precious)
        run.joinpath("up").symlink_to("/")
    like = tmp_path / "kernlab-mine"  # the name of one of ours, with more in it than sockets
    like.mkdir()
    (like / "thesis.tex").write_text("x")
    (kept("c", {}) / "sockets").symlink_to(like)
    (home() / "runs" / "linked").symlink_to(precious)
    (home() / "runs" / "file").write_text("x")
    status, _, _ = kernlab("clean", "runs")
    assert status == 0
    assert (precious / "file").read_text() == "x"
    assert (precious / "inner").is_dir()
    assert (like / "thesis.tex").exists()
    assert list((home() / "runs").iterdir()) == []


def test_a_socket_directory_elsewhere_goes_with_its_run(tmp_path: Path) -> None:
    run = rundir.RunDir.create({}, tmp_path / ("long" * 40))
    place = run.sockets()
    assert place.is_dir()
    assert not place.is_relative_to(run.path)
    (place / "qmp.sock").touch()
    (place / "qemu.log").touch()
    run.remove()
    assert not place.exists()
    assert not run.path.exists()


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A host with secrets, and a kernel's tree with links to them."""
    (tmp_path / "secret.c").write_text("root:x\n" * 20)
    source = home() / "sources" / "linux-5.10.1"
    (source / "net").mkdir(parents=True)
    (source / "net" / "a.c").write_text("good();\n" * 20)
    (source / "net" / "link.c").symlink_to(tmp_path / "secret.c")
    (source / "up").symlink_to(tmp_path)
    return source


@pytest.mark.parametrize(
    "file",
    [
        "../../../secret.c",
        "net/link.c",
        "up/secret.c",
        "/etc/passwd",
        "net/a.c\0",
        "net",
        "Kconfig",
    ],
)
def test_no_place_of_an_event_leads_out_of_the_tree(tree: Path, file: str) -> None:
    assert excerpt(tree, file, 3, 1) == []
    assert excerpt(tree, "net/a.c", 3, 1)[1] == [3, "good();"]


@pytest.mark.parametrize("source", ["/", "/etc", "~", "..", "", "\0", "relative"])
def test_a_record_names_no_tree_of_its_own(tree: Path, tmp_path: Path, source: str) -> None:
    run = rundir.RunDir(made_run.make(tmp_path / "run", 4))
    told = json.loads(run.json.read_text())
    told["resolved"]["source"] = source
    run.json.write_text(json.dumps(told))
    events = [json.loads(line) for line in run.events.read_text().splitlines()]
    for event in events:
        event["site"] |= {"file": "etc/passwd", "line": 1}
        event["stack"] = [{"func": "f", "file": f"{tmp_path}/secret.c".lstrip("/"), "line": 1}]
    run.events.write_text("".join(json.dumps(event) + "\n" for event in events))
    assert page(run).source is None
    text = report(run).read_text()
    assert "root:" not in text


def test_the_tree_of_a_kernel_that_was_built_here_is_shown(tree: Path, tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    (mine / "net").mkdir(parents=True)
    key = "5.10.1-0123456789ab"
    kernel = home() / "kernels" / key
    kernel.mkdir(parents=True)
    (kernel / "kernel.json").write_text(
        json.dumps(
            {
                "key": key,
                "version": "5.10.1",
                "release": "5.10.1",
                "source": str(mine),
                "build_id": "",
                "objects": 1,
                "cpu_seconds": 1.0,
            }
        )
    )
    run = rundir.RunDir(made_run.make(tmp_path / "run", 4))
    for source, named, shown in (
        (tree, None, tree),
        (mine, key, mine),
        (mine, None, None),
        (mine, "../" + key, None),
    ):
        told = {"resolved": {"source": str(source), **({"kernel": named} if named else {})}}
        run.json.write_text(json.dumps(told))
        assert page(run).source == shown


def test_a_record_s_files_are_no_links(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text('{"hidden": "x"}\n')
    for name in ("events.jsonl", "capture.pcapng", "run.json"):
        run = rundir.RunDir(made_run.make(tmp_path / f"run-{name}", 4))
        (run.path / name).unlink()
        (run.path / name).symlink_to(secret)
        with pytest.raises(BadInput, match=name) as caught:
            report(run)
        assert "hidden" not in str(caught.value)
