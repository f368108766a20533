"""Lab files: models, checks, pages, grading; nothing runs here."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from textwrap import indent

import pytest
from rich.console import Console

from kernlab.config.text import InLanguages, say
from kernlab.config.yaml import load, parse
from kernlab.errors import BadInput
from kernlab.lessons.grade import compare, grade, keep_answers, labs_of
from kernlab.lessons.lab import Lab, find, ids
from kernlab.lessons.lab_check import problems
from kernlab.lessons.pages import pages
from kernlab.lessons.results import LabRequest, LegResult, Told
from kernlab.record.leg import Leg, LegDir, write_json
from kernlab.record.leg import load as load_leg
from kernlab.sinks.labs import LabView
from kernlab.verdict.judge import judge

ROOT = Path(__file__).resolve().parents[2]
SHIPPED = sorted((ROOT / "configs" / "labs").glob("*.yaml"))
EXAMPLE = ROOT / "docs" / "examples" / "shut.yaml"

LAB = """
title: {en: a, zh: b}
topic: abort
level: 1
idea: i
watch: w
source: [s]
program: mine.c
steps: {go: now}
verdict:
  - counters: {OutRsts: 1}
predict:
  - ask: which?
    why: so
    choices:
      - {says: one, when: {counters: {OutRsts: 1}}}
      - {says: none, when: {counters: {OutRsts: 0}}}
then:
  - id: other
    title: t
    teaches: e
    args: [-x]
    sysctl: {net.ipv4.x: 2}
    verdict:
      - got: {a: 1}
"""


def written(directory: Path, text: str = LAB, source: str = 'step("go")') -> Path:
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "mine.c").write_text(source)
    (directory / "my-lab.yaml").write_text(text)
    return directory / "my-lab.yaml"


def test_a_variant_replaces_args_and_adds_settings() -> None:
    more = "program: mine.c\nargs: [-a]\nsysctl: {net.ipv4.x: 1, net.ipv4.y: 3}\nsetup: [one]"
    lab = parse(LAB.replace("program: mine.c", more), Lab, "x")
    (_, main), (name, other) = lab.legs()
    assert (main.args, main.sysctl) == (["-a"], {"net.ipv4.x": 1, "net.ipv4.y": 3})
    assert name == "other"
    assert other.args == ["-x"]
    assert other.sysctl == {"net.ipv4.x": 2, "net.ipv4.y": 3}
    assert other.setup == ["one"]
    assert other.program == "mine.c"


@pytest.mark.parametrize("path", [*SHIPPED, EXAMPLE], ids=lambda path: path.stem)
def test_a_shipped_lab_is_in_order(path: Path) -> None:
    assert problems(path) == []


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_a_shipped_lab_speaks_both_languages_and_asks(path: Path) -> None:
    lab = load(path, Lab)
    texts = [
        lab.title,
        lab.idea,
        lab.watch,
        *lab.steps.values(),
        *(text for then in lab.then for text in (then.title, then.teaches)),
        *(text for one in lab.predict for text in (one.ask, one.why)),
    ]
    for text in texts:
        assert isinstance(text, InLanguages), text
        assert any("\u4e00" <= letter <= "\u9fff" for letter in text.zh) or text.zh == text.en
    assert lab.predict or lab.topic == "course"


@pytest.mark.parametrize(
    ("change", "line", "words"),
    [
        (("level: 1", "level: 9"), 4, "level"),
        (("watch: w", "wach: w"), 6, "did you mean 'watch'"),
        (("program: mine.c\n", ""), 2, "the guest program that"),
        (("program: mine.c", "program: case22"), 8, "did you mean 'case2'"),
        (("{go: now}", "{goo: now}"), 9, "no program tells 'goo', did you mean 'go'"),
        (("{go: now}", "{}"), 9, "the program tells 'go'"),
        (("- got: {a: 1}", "- cause: [A11x]"), 25, "did you mean A1"),
        (("- got: {a: 1}", "- segment: 'flagz == S'"), 25, "column 1"),
        (("id: other", "id: main"), 2, "'main' is not an id"),
        (("topic: abort", "topic: [abort"), 4, "not valid YAML"),
        (
            (
                "  - counters: {OutRsts: 1}\n",
                "  - counters: {OutRsts: 1}\n    unless: {old: []}\n"
                "kernels: {olds: {says: x, has: a}}\n",
            ),
            12,
            "no 'old' among its kernels, did you mean 'olds'",
        ),
        (
            ("then:\n", "kernels: {old: {says: x, has: a}}\nthen:\n"),
            18,
            "no line says what holds on 'old'",
        ),
        (("then:\n", "kernels: {old: {says: x}}\nthen:\n"), 18, "either has"),
    ],
)
def test_validate_names_line_key_and_near_misses(
    tmp_path: Path, change: tuple[str, str], line: int, words: str
) -> None:
    assert change[0] in LAB
    found = [str(one) for one in problems(written(tmp_path, LAB.replace(*change)))]
    assert any(words in text for text in found), found
    assert any(f"my-lab.yaml:{line}:" in text for text in found), found


def test_a_lab_is_found_by_any_case_and_by_path(tmp_path: Path) -> None:
    assert find("l03")[0].stem == "L03"
    assert find(str(written(tmp_path)))[0].stem == "my-lab"
    with pytest.raises(BadInput, match="no lab 'L0333'") as caught:
        find("L0333")
    assert "did you mean" in caught.value.why


def test_ids_are_in_the_catalogues_order() -> None:
    known = ids()
    numbers = [int(name[1:]) for name in known if name[0] == "L" and name[1:].isdigit()]
    assert numbers == sorted(numbers)


# -- what a run left ----------------------------------------------------------------------


def left(run: Path, counters: dict[str, int], got: dict[str, str], status: int = 0) -> Path:
    directory = run / "my-lab"
    directory.mkdir(parents=True)
    (directory / "lab.yaml").write_text(LAB)
    for name in ("main", "other"):
        (directory / name).mkdir()
        write_json(
            directory / name / "results.json",
            {"status": status, "said": "oh", "steps": ["go"], "got": got},
        )
        write_json(directory / name / "counters.json", counters)
    return directory


def test_a_run_is_graded_from_its_directory_alone(tmp_path: Path) -> None:
    directory = left(tmp_path, {"Tcp.OutRsts": 1}, {"a": "1"})
    assert labs_of(tmp_path) == [directory]
    assert grade(directory).holds
    keep_answers(directory, [1])
    found = grade(directory)
    assert [(one.given, one.truth, one.right) for one in found.quiz] == [(1, 0, False)]
    keep_answers(directory, [0])
    assert [one.right for one in grade(directory).quiz] == [True]


def test_a_leg_that_failed_or_is_missing_is_no_pass(tmp_path: Path) -> None:
    directory = left(tmp_path, {"Tcp.OutRsts": 1}, {"a": "1"}, status=3)
    assert not grade(directory).holds
    assert "status 3" in grade(directory).errors["main"]
    (directory / "other" / "results.json").unlink()
    assert grade(directory).errors["other"] == "it did not run"
    with pytest.raises(BadInput, match="contains no lab"):
        labs_of(directory)


def test_two_runs_part_where_what_holds_differs(tmp_path: Path) -> None:
    one = grade(left(tmp_path / "a", {"Tcp.OutRsts": 1}, {"a": "1"}))
    other = grade(left(tmp_path / "b", {"Tcp.OutRsts": 0}, {"a": "1"}))
    rows = compare([one, other])
    assert [(row.leg, row.expected, row.parts) for row in rows] == [
        ("main", "OutRsts +1", True),
        ("other", "a = 1", False),
    ]
    assert rows[0].seen == ("+1", "+0")


def test_a_torn_record_is_read_as_far_as_it_goes(tmp_path: Path) -> None:
    (tmp_path / "results.json").write_text('{"status": 0')
    leg = load_leg(LegDir(tmp_path))
    assert (leg.got, leg.events, leg.segments) == ({}, None, [])


# -- pages --------------------------------------------------------------------------------


def test_the_pages_in_docs_are_those_of_the_labs() -> None:
    made = pages({name: find(name)[1] for name in ids()})
    for path, text in made.items():
        assert (ROOT / "docs" / "labs" / path).read_text("utf-8") == text, (
            f"{path} is stale: ./lab lab docs"
        )
    there = {
        path.relative_to(ROOT / "docs" / "labs") for path in (ROOT / "docs" / "labs").glob("*/*.md")
    }
    assert there == set(made)


def test_a_stale_page_is_told(tmp_path: Path) -> None:
    def docs(*words: str) -> subprocess.CompletedProcess[str]:
        argv = [sys.executable, "-m", "kernlab", "lab", "docs", str(tmp_path), *words]
        return subprocess.run(argv, capture_output=True, text=True)

    assert docs().returncode == 0
    assert docs("--check").returncode == 0
    (tmp_path / "en" / "L03.md").write_text("old")
    (tmp_path / "en" / "L99.md").write_text("gone")
    said = docs("--check")
    assert said.returncode == 2
    assert "L03.md" in said.stderr
    assert "L99.md" in said.stderr
    assert docs().returncode == 0
    assert docs("--check").returncode == 0


def test_a_text_has_two_languages_or_one() -> None:
    both = InLanguages(en="one", zh="一")
    assert (say(both, "en"), say(both, "zh"), say("same", "zh")) == ("one", "一", "same")


def test_the_catalogue_is_a_table_and_lines_of_json() -> None:
    argv = [sys.executable, "-m", "kernlab", "lab", "list", "--json"]
    lines = subprocess.run(argv, capture_output=True, text=True, check=True).stdout.splitlines()
    assert [json.loads(line)["id"] for line in lines] == ids()


TOLD = """kernels:
  old: {says: {en: an old kernel, zh: 旧内核}, when: {got: {bytes: 5}}}
verdict:
  - counters: {OutRsts: 1}
    unless: {old: {counters: {OutRsts: 0}}}
"""


@pytest.mark.parametrize("quiet", [False, True])
def test_where_kernels_differ_is_told_beside_the_mark(tmp_path: Path, quiet: bool) -> None:
    text = LAB.replace("verdict:\n  - counters: {OutRsts: 1}\n", TOLD, 1)
    lab = load(written(tmp_path, text), Lab)
    leg = replace(Leg(), got={"bytes": "5"}, counters={"Tcp.OutRsts": 0})
    result = LegResult("main", LegDir(tmp_path), judge(lab.verdict, leg, "zh", lab.kernels))
    out = io.StringIO()
    view = LabView(Console(file=out, width=200), "zh", quiet)
    view.told(Told("verdict", LabRequest("my-lab", lab, tmp_path), "main", result=result))
    assert result.holds
    assert "✓" in out.getvalue()
    assert out.getvalue().count("这个内核：旧内核") == 1
    page = pages({"my-lab": lab})
    assert "an old kernel" in page[Path("en/my-lab.md")]
    assert "旧内核" in page[Path("zh-CN/my-lab.md")]


def test_kernel_c_in_a_verdict_is_read_at_the_probes() -> None:
    from kernlab.lessons.lab import find
    from kernlab.lessons.lab_check import c_read

    _, lab = find("L05")
    line = lab.verdict[0].model_copy(
        update={
            "events": ["probe == tcp_close and sk->sk_state == CLOSE_WAIT"],
            "event": None,
            "no_event": "tcp_sk(sk)->snd_cwnd == 1 and show.named == 1",
        }
    )
    assert c_read(lab.model_copy(update={"verdict": [line], "then": []}))[:2] == [
        "sk->sk_state",
        "tcp_sk(sk)->snd_cwnd",
    ]


@pytest.mark.parametrize(
    "change",
    [
        ("{go: now}", "{goo: now}"),
        ("program: mine.c", "program: l33x"),
        ("- got: {a: 1}", "- cause: [A99]"),
    ],
)
def test_a_file_in_which_validate_finds_a_problem_is_not_run(
    tmp_path: Path, change: tuple[str, str]
) -> None:
    path = written(tmp_path, LAB.replace(*change))
    argv = [sys.executable, "-m", "kernlab", "lab", "run", str(path)]
    said = subprocess.run(argv, capture_output=True, text=True)
    assert said.returncode == 2
    assert str(problems(path)[0]) in said.stderr
    assert f"next: edit the file, then kernlab lab validate {path}\n" in said.stderr
    assert "building" not in said.stderr


def test_the_example_of_the_documentation_is_the_file() -> None:
    page = (ROOT / "docs" / "lab.md").read_text()
    program = EXAMPLE.with_suffix(".c").read_text()
    for text in (EXAMPLE.read_text(), program[program.index("int main") :]):
        assert indent(text, "    ") in page


def test_a_race_file_in_which_validate_finds_a_problem_is_not_run(tmp_path: Path) -> None:
    text = (ROOT / "configs" / "races" / "R1.yaml").read_text()
    (tmp_path / "mine.yaml").write_text(text.replace("reached == blocked", "reached == bloked"))
    argv = [sys.executable, "-m", "kernlab", "race", "run", str(tmp_path / "mine.yaml")]
    said = subprocess.run(argv, capture_output=True, text=True)
    assert said.returncode == 2
    assert "race.reached is never 'bloked', did you mean blocked?" in said.stderr
    assert f"then kernlab race validate {tmp_path / 'mine.yaml'}\n" in said.stderr
