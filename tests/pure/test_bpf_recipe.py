"""Recipes: the shipped ones are whole, a user's mistakes are told, readiness is seen."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from kernlab.bpf import recipe
from kernlab.errors import BadInput
from kernlab.lessons.lab import find as find_lab
from kernlab.record.rundir import RunDir
from kernlab.trace import workloads

MINE = "title: mine\ninstead: none\nlab: L03\n"


def written(home: Path, text: str) -> None:
    place = home / "configs" / "recipes"
    place.mkdir(parents=True)
    (place / "mine.yaml").write_text(text)


def test_every_shipped_recipe_is_whole_and_says_what_it_shows() -> None:
    for name in recipe.names():
        one = recipe.find(recipe.PREFIX + name)
        assert (one.shows and one.sections) or one.command[0] == "pwru", name
        if one.lab is not None:
            find_lab(one.lab)
        if one.workload is not None:
            workloads.find(one.workload)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (MINE, "give either bpftrace or command"),
        (MINE + "command: [ls]\nbpftrace: x\n", "give either bpftrace or command"),
        (MINE + "command: [ls]\n", "ready is missing"),
        (MINE + "bpftrace: x\nworkload: http\n", "give either lab or workload"),
        (MINE + "bpftrace: x\nshows: ['(']\n", "is no regular expression"),
        (MINE + "bpftrac: x\n", "mine.yaml:4: unknown key 'bpftrac', did you mean 'bpftrace'?"),
    ],
)
def test_a_users_mistake_is_told(own_home: Path, text: str, says: str) -> None:
    written(own_home, text)
    with pytest.raises(BadInput) as caught:
        recipe.find("recipe:mine")
    assert says in f"{caught.value.what}\n{caught.value.why}"


def test_one_broken_recipe_hides_no_other(own_home: Path) -> None:
    written(own_home, MINE + "bpftrac: x\n")
    said = subprocess.run(
        [sys.executable, "-m", "kernlab", "bpf", "list"], capture_output=True, text=True, timeout=60
    )
    assert said.returncode == 2
    assert "recipe:rst-who" in said.stdout
    assert "mine.yaml:4" in said.stderr


def test_a_wrong_name_has_a_near_one() -> None:
    with pytest.raises(BadInput) as caught:
        recipe.find("recipe:rst-hwo")
    assert caught.value.next_step == "kernlab bpf run recipe:rst-who"


def test_what_a_script_needs_is_read_from_it(own_home: Path) -> None:
    probes = "kprobe:a,\n  kretprobe:b { }\n tracepoint:tcp:x { }\nkfunc:c { }\nkprobe:tcp_* { }\n"
    indented = "".join(f"  {line}\n" for line in probes.splitlines())
    written(own_home, MINE + f"probes: [kprobe/z]\nbpftrace: |\n{indented}")
    assert recipe.find("mine").sections == [
        "kprobe/z",
        "kprobe/a",
        "kretprobe/b",
        "tp/tcp/x",
        "fentry/c",
    ]


def test_a_users_arguments_stand_in_place_of_the_recipes(own_home: Path, tmp_path: Path) -> None:
    run = RunDir.create({}, tmp_path / "run")
    written(own_home, MINE + "command: [tool, -x]\nready: up\nargs: [one]\n")
    one = recipe.find("mine")
    assert recipe.place(one, [], "/m", run)[-3:] == ["tool", "-x", "one"]
    assert recipe.place(one, ["two", "3"], "/m", run)[-4:] == ["tool", "-x", "two", "3"]


@pytest.mark.parametrize("pieces", [1, 5, 4096])
def test_a_line_that_says_ready_is_seen_in_pieces(tmp_path: Path, pieces: int) -> None:
    passed = bytearray()
    watch = recipe.Watch("PID +COMM", tmp_path / "mark")
    feed, other = watch.on(1, passed.extend), watch.on(2, passed.extend)
    other(b"PID")
    feed(b" COMM\n")
    assert not (tmp_path / "mark").exists()  # two streams are not one line
    data = b"warning\nPID   COMM  LADDR\n"
    for at in range(0, len(data), pieces):
        feed(data[at : at + pieces])
    assert (tmp_path / "mark").exists()
    assert bytes(passed) == b"PID COMM\n" + data
    recipe.Watch("", tmp_path / "never").on(1, passed.extend)(b"anything\n")
    assert not (tmp_path / "never").exists()
