"""A run is judged by what it left: what is missing, torn or changed since is no success."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import made_run
import pytest

from kernlab.config.yaml import load, parse
from kernlab.errors import BadInput
from kernlab.lessons.grade import compare, grade, keep_answers, labs_of
from kernlab.lessons.lab import Lab
from kernlab.lessons.race import Race
from kernlab.lessons.rounds import rounds, shown
from kernlab.record import left
from kernlab.record.leg import Leg, LegDir, write_json
from kernlab.record.leg import load as load_leg
from kernlab.record.rundir import RunDir
from kernlab.report.chapters import page
from kernlab.verdict.judge import Line, holds, judge
from kernlab.verdict.model import Check

# A line of each kind; a negated and an empty one, which hold where nothing is there.
LAB = """
title: t
topic: abort
level: 1
idea: i
watch: w
source: [s]
program: mine.c
steps: {go: now}
predict:
  - ask: which?
    why: so
    choices:
      - {says: one, when: {counters: {OutRsts: 1}}}
      - {says: none, when: {counters: {OutRsts: 0}}}
verdict:
  - counters: {OutRsts: 1}
  - got: {done: 1}
  - segment: "flags has R"
  - segments: ["flags == S", "flags == SA"]
  - no_segment: "flags has F"
  - event: "state == LISTEN"
  - no_event: "state == TIME_WAIT"
  - cause: []
  - not: {log: "panic"}
then:
  - id: other
    title: t
    teaches: e
    verdict:
      - no_segment: "flags has F"
"""


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """The record of a run of this lab in which every line holds."""
    made = made_run.make(tmp_path / "made", 6)
    run = RunDir.create({"argv": ["kernlab", "lab", "run", "mine.yaml"]}, tmp_path / "run")
    (run.path / "mine").mkdir()
    (run.path / "mine" / "lab.yaml").write_text(LAB)
    for name in ("main", "other"):
        leg = run.path / "mine" / name
        leg.mkdir()
        for file in ("capture.pcapng", "events.jsonl"):
            shutil.copy(made / file, leg)
        write_json(
            leg / "results.json",
            {"status": 0, "said": "", "steps": ["go"], "got": {"done": "1"}, "debugger": True},
        )
        write_json(leg / "counters.json", {"Tcp.OutRsts": 1})
        write_json(leg / "rst.json", [])
        (leg / "kmsg.txt").write_text("hello\n")
    keep_answers(run.path / "mine", [0])
    left.keep(run)
    run.result(labs={"mine": True})
    return run.path


def lines(run: Path, leg: str = "main") -> dict[str, bool | None]:
    return {line.kind: line.holds for line in grade(run / "mine").legs[leg]}


KINDS = {
    "counters.json": {"counters"},
    "results.json": {"got"},
    "rst.json": {"cause"},
    "capture.pcapng": {"segment", "segments", "no_segment"},
    "kmsg.txt": {"log"},
    "events.jsonl": {"event", "no_event"},
}
WAYS: dict[str, Callable[[Path], object]] = {
    "missing": lambda path: path.unlink(),
    "empty": lambda path: path.write_bytes(b""),
    "cut": lambda path: path.write_bytes(path.read_bytes()[:-5]),
    "replaced": lambda path: path.write_bytes(path.read_bytes() + b"\n"),
}


def test_all_is_there(run: Path) -> None:
    found = grade(run / "mine")
    assert found.holds
    assert found.said == []
    assert set(lines(run).values()) == {True}
    assert [one.right for one in found.quiz] == [True]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("file", KINDS)
def test_what_needs_a_file_that_is_not_the_runs_own_fails(run: Path, file: str, way: str) -> None:
    WAYS[way](run / "mine" / "main" / file)
    found = grade(run / "mine")
    assert not found.holds
    failed = {line.kind: line.seen for line in found.legs["main"] if line.holds is not True}
    assert set(failed) == KINDS[file]
    assert all(file in seen and "run" in seen for seen in failed.values())
    assert all(line.holds for line in found.legs["other"])


@pytest.mark.parametrize("file", [file for file in KINDS if file != "kmsg.txt"])
def test_an_older_run_without_digests_fails_too_where_a_file_is_missing(
    run: Path, file: str
) -> None:
    told = json.loads((run / "run.json").read_text())
    del told["result"]["left"]
    (run / "run.json").write_text(json.dumps(told))
    assert grade(run / "mine").holds
    (run / "mine" / "main" / file).unlink()
    assert {kind for kind, held in lines(run).items() if held is not True} == KINDS[file]
    assert not grade(run / "mine").holds


def test_events_of_a_run_without_a_debugger_are_not_judged(run: Path) -> None:
    for name in ("main", "other"):
        leg = run / "mine" / name
        results = json.loads((leg / "results.json").read_text())
        write_json(leg / "results.json", {**results, "debugger": False})
        events = (leg / "events.jsonl").read_bytes()
        (leg / "events.jsonl").unlink()
        (leg / "rst.json").unlink()
    left.keep(RunDir(run))
    assert grade(run / "mine").holds
    assert (lines(run)["event"], lines(run)["cause"]) == (None, None)
    (run / "mine" / "main" / "events.jsonl").write_bytes(events)
    assert lines(run)["event"] is False  # they were not the run's


def test_a_leg_or_a_lab_that_is_gone_fails(run: Path) -> None:
    shutil.rmtree(run / "mine" / "other")
    found = grade(run / "mine")
    assert "results.json is missing" in found.errors["other"]
    assert [line.holds for line in found.legs["other"]] == [False]
    assert page(RunDir(run)).holds is False
    shutil.rmtree(run / "mine")
    assert labs_of(run) == [run / "mine"]
    with pytest.raises(BadInput, match="the lab's file is missing"):
        grade(run / "mine")


def test_steps_that_were_taken_out_are_told(run: Path) -> None:
    path = run / "mine" / "main" / "results.json"
    path.write_text(path.read_text().replace('"go"', ""))
    assert grade(run / "mine").errors["main"] == "results.json was changed after the run"


def test_predictions_made_after_the_run_do_not_count(run: Path) -> None:
    keep_answers(run / "mine", [1])
    found = grade(run / "mine")
    assert [one.given for one in found.quiz] == [None]
    assert "quiz.json was changed" in found.said[0]


def test_a_lab_of_ones_own_that_was_changed_is_said(run: Path) -> None:
    path = run / "mine" / "lab.yaml"
    path.write_text(LAB.replace("OutRsts: 1}\n  - got", 'OutRsts: ">= 0"}\n  - got'))
    assert grade(run / "mine").said == ["lab.yaml was changed after the run"]
    path.write_text(LAB[: LAB.index("verdict:")] + "verdict: []\n")
    with pytest.raises(BadInput, match=r"lab.yaml:\d+: verdict"):
        grade(run / "mine")


def test_a_shipped_lab_is_judged_by_the_shipped_file(run: Path) -> None:
    (run / "mine").rename(run / "L03")
    changed = LAB[: LAB.index("verdict:")] + "verdict: [{got: {done: 1}}]\n"
    for text in (changed, LAB[: LAB.index("verdict:")] + "verdict: []\n"):
        (run / "L03" / "lab.yaml").write_text(text)
        found = grade(run / "L03")
        assert not found.holds
        assert "judged by the shipped L03.yaml" in found.said[0]
        assert "drained" in found.errors  # a leg of the shipped one
    (run / "L03").rename(run / "L03.2")
    assert "judged by the shipped L03.yaml" in grade(run / "L03.2").said[0]
    (run / "L03.2").rename(run / "L03")
    (run / "L03" / "lab.yaml").unlink()
    assert "judged by the shipped L03.yaml" in grade(run / "L03").said[0]
    said = grade(run / "L03", parse(changed, Lab, "x")).said
    assert not any("judged by" in one for one in said)


def test_the_command_says_it_and_ends_with_1(run: Path) -> None:
    (run / "mine" / "main" / "events.jsonl").unlink()
    argv = [sys.executable, "-m", "kernlab", "lab", "grade", str(run)]
    said = subprocess.run(argv, capture_output=True, text=True)
    assert said.returncode == 1, said.stderr
    assert said.stdout.count("events.jsonl is missing: the run left one") == 2
    data = subprocess.run([*argv, "--json"], capture_output=True, text=True)
    assert json.loads(data.stdout)["holds"] is False


def test_kernels_of_which_one_left_less_part(run: Path, tmp_path: Path) -> None:
    other = tmp_path / "second"
    shutil.copytree(run, other)
    shutil.rmtree(other / "mine" / "other")
    rows = compare([grade(run / "mine"), grade(other / "mine")])
    assert {row.expected for row in rows if row.parts} == {
        "the program ends without an error",
        "none: flags has F",
    }


# -- verdicts ---------------------------------------------------------------------------------


def test_nothing_that_was_looked_at_is_no_success() -> None:
    line = Line("got", "a", "b", True)
    untold = Line("event", "a", "b", None)
    assert [holds(one) for one in ([], [untold], [line], [line, untold])] == [
        False,
        False,
        True,
        True,
    ]


@pytest.mark.parametrize("data", [{"counters": {"NoSuchCounter": 1}}, {"got": {"unsaid": 1}}])
def test_what_nobody_told_does_not_hold_turned_round_either(data: dict[str, object]) -> None:
    leg = Leg(counters={"Tcp.OutRsts": 1}, got={"a": "1"})
    for check in (data, {"not": data}):
        assert [line.holds for line in judge([Check.model_validate(check)], leg)] == [False]


@pytest.mark.parametrize("kind", ["counters", "got", "events", "segments"])
def test_a_predicate_that_checks_nothing_is_refused(kind: str) -> None:
    with pytest.raises(ValueError, match=f"{kind} is empty and checks nothing"):
        Check.model_validate({kind: {} if kind in ("counters", "got") else []})


# -- races ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "file", ["round.json", "results.json", "counters.json", "capture.pcapng", "events.jsonl", ""]
)
def test_a_round_whose_record_is_not_the_runs_own_came_to_no_ending(run: Path, file: str) -> None:
    race = Path(__file__).resolve().parents[2] / "configs" / "races" / "R1.yaml"
    (run / "mine").rename(run / "R1")
    (run / "R1" / "lab.yaml").unlink()
    shutil.copy(race, run / "R1" / "race.yaml")
    for name, number in (("main", 1), ("other", 2)):
        place = (run / "R1" / name).rename(run / "R1" / f"round-00{number}")
        write_json(
            place / "round.json",
            {
                "round": number,
                "ending": "waited",
                "trouble": "",
                "said": "",
                "reached": [],
                "again": False,
            },
        )
    left.keep(RunDir(run))
    told = rounds(run / "R1")
    assert [note["ending"] for _, note in told] == ["waited", "waited"]
    first = run / "R1" / "round-001"
    (first / file).unlink() if file else shutil.rmtree(first)
    told = rounds(run / "R1")
    assert [note["ending"] for _, note in told] == [None, "waited"]
    assert (file or "round.json") in told[0][1]["said"]
    assert told[0][1]["round"] == 1
    best = shown(load(race, Race), told)
    assert best is not None
    assert best.path.name == "round-002"


def test_a_rst_with_the_lines_that_decided_is_read(run: Path) -> None:
    rst = {"cause": "P1", "source": [[2131, "        } else {"], [2132, "\ttcp_v4_send_reset();"]]}
    write_json(run / "mine" / "main" / "rst.json", [rst])
    leg = load_leg(LegDir(run / "mine" / "main"))
    assert leg.rst == [rst]
    assert "rst" not in leg.missing
