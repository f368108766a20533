"""Run directories, events.jsonl, the schema, YAML errors."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from kernlab.config.paths import arriving, home
from kernlab.config.yaml import Model, near, parse
from kernlab.errors import BadInput
from kernlab.record import event, rundir
from kernlab.record.store import EventWriter, read_events

EVENT = {
    "v": 1,
    "seq": 1,
    "engine": "gdb",
    "probe": "tcp_v4_rcv",
    "cpu": 0,
    "host_ns": 5,
    "site": {"func": "tcp_v4_rcv", "file": "net/ipv4/tcp_ipv4.c", "line": 1965},
    "packet": {"flags": "SA", "seq": 1, "options": {"mss": 1460}},
    "stack": [{"func": "tcp_v4_rcv", "inlined": False}],
}


def test_a_run_is_private_and_found_again() -> None:
    run = rundir.RunDir.create({"argv": ["kernlab"]})
    assert stat.S_IMODE(run.path.stat().st_mode) == 0o700
    assert run.share.is_dir()
    assert rundir.find("latest").id == rundir.find(run.id).id == run.id
    assert run.owner() is not None
    run.resolved(kernel="k")
    run.result(events=3)
    data = run.read()
    assert (data["resolved"]["kernel"], data["result"]["events"]) == ("k", 3)
    assert data["asked"] == {"argv": ["kernlab"]}


def test_a_run_of_a_dead_kernlab_has_no_owner() -> None:
    run = rundir.RunDir.create({})
    data = run.read()
    data["owner"] = {"pid": data["owner"]["pid"], "started": data["owner"]["started"] - 100}
    run._write(data)
    assert run.owner() is None


def test_out_must_be_new(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(BadInput, match="--out"):
        rundir.RunDir.create({}, tmp_path)
    assert (tmp_path / "file").read_text() == "x"


def test_sockets_stay_short_below_a_deep_home(tmp_path: Path) -> None:
    deep = tmp_path / ("d" * 90)
    run = rundir.RunDir.create({}, deep / "run")
    place = run.sockets()
    assert len(str(place / "channel.sock").encode()) < 108
    assert stat.S_IMODE(place.stat().st_mode) == 0o700
    assert run.sockets() == place
    run.remove_sockets()
    assert not place.exists()


def test_an_unknown_run_gets_a_near_name() -> None:
    run = rundir.RunDir.create({})
    with pytest.raises(BadInput) as caught:
        rundir.find(run.id[:-1] + "?")
    assert run.id in caught.value.why


def test_events_come_back_and_a_torn_line_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    with EventWriter(path) as writer:
        writer.write(EVENT)
        writer.write({**EVENT, "seq": 2})
    with path.open("ab") as file:
        file.write(b'{"v":1,"se')
    assert [e["seq"] for e in read_events(path)] == [1, 2]


def test_a_damaged_line_in_the_middle_is_named(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    path.write_text('{"v":1}\nnonsense\n{"v":1}\n')
    with pytest.raises(BadInput, match=r"events\.jsonl:2"):
        list(read_events(path))


def test_the_schema_takes_the_designs_event_and_refuses_nonsense() -> None:
    event.validate(EVENT)
    for wrong in ({**EVENT, "v": 2}, {**EVENT, "packet": {"flags": "XY"}}, {**EVENT, "seq": 0}):
        with pytest.raises(ValueError, match="validation error"):
            event.validate(wrong)
    assert "packet" in event.json_schema()["properties"]


def test_an_artifact_is_whole_or_absent() -> None:
    final = home() / "kernels" / "k"
    with pytest.raises(FileExistsError), arriving(final) as temporary:
        (temporary / "half").mkdir() or (temporary / "half").mkdir()
    assert list(final.parent.iterdir()) == []
    with arriving(final) as temporary:
        (temporary / "whole").write_text("x")
    assert (final / "whole").exists()


class Sample(Model):
    title: str
    steps: list[str] = []


def test_yaml_errors_name_line_key_and_near_miss() -> None:
    with pytest.raises(BadInput) as caught:
        parse("title: x\nstesp: []\n", Sample, "f.yaml")
    assert caught.value.what == "f.yaml:2: unknown key 'stesp', did you mean 'steps'?"
    with pytest.raises(BadInput, match=r"f.yaml:3: not valid YAML"):
        parse("title: x\nsteps:\n\t- a\n", Sample, "f.yaml")
    with pytest.raises(BadInput, match="'title' is missing"):
        parse("steps: []\n", Sample, "f.yaml")


def test_near_names() -> None:
    assert near("tcp_v4_rvc", ["tcp_v4_rcv", "udp_rcv"])[0] == "tcp_v4_rcv"
