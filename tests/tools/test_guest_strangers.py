"""A lab's program from the internet reads no file of this host, by the compiler's own hands."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from kernlab.config.programs import names, program_name, source_of, text_of
from kernlab.config.yaml import parse
from kernlab.errors import BadInput, KernlabError
from kernlab.guest import strangers
from kernlab.guest.build import compiled
from kernlab.lessons.lab import Lab
from kernlab.lessons.lab_check import problems
from kernlab.progress import quiet

GOOD = '#include "lab.h"\n#include "sub/mine.h"\nint main(void) { return puts(MINE) < 0; }\n'
SECRET = "hidden_word"
MAIN = "\nint main(void) { return 0; }\n"


@pytest.fixture
def lab(tmp_path: Path) -> Path:
    """A stranger's directory, and a secret beside it."""
    (tmp_path / "secret").write_text(f"{SECRET} = `1\n#error {SECRET}\n")
    place = tmp_path / "lab"
    (place / "sub").mkdir(parents=True)
    (place / "sub" / "mine.h").write_text('#define MINE "mine"\n')
    return place


def test_a_program_with_headers_beside_it_is_made(lab: Path) -> None:
    (lab / "mine.c").write_text(GOOD)
    assert compiled(source_of("mine.c", lab), quiet, lab).is_file()
    assert text_of("mine.c", lab) == GOOD


@pytest.mark.parametrize(
    "text",
    [
        '#include "{0}"',
        "#include <{0}>",
        '#include "../secret"',
        '#include "sub/link.h"',
        "#define X <{0}>\n#include X",
        '#include_next "{0}"',
        '#import "{0}"',
        '__asm__(".incbin \\"{0}\\"");',
        '__asm__(".INC" "BIN \\"{0}\\"");',
        '__asm__("\\056incbin \\"{0}\\"");',
        '__asm__(".include \\"{0}\\"");',
        '__asm__(".macro x a b\\n.\\\\a\\\\b \\"{0}\\"\\n.endm\\nx inc bin");',
        '__asm__(".irp x, incbin\\n.\\\\x \\"{0}\\"\\n.endr");',
        'int f(void) __asm__("f\\n.incbin \\"{0}\\"\\n.globl g");\nint f(void) {{ return 1; }}',
        'int v __attribute__((section("x\\n.incbin \\"{0}\\"\\n.data"))) = 1;',
        '#include "{0}"\n#include "missing.h"',
        '#include "/proc/self/environ"',
    ],
)
def test_a_program_that_reads_a_file_of_the_host_is_refused(lab: Path, text: str) -> None:
    secret = lab.parent / "secret"
    (lab / "sub" / "link.h").symlink_to(secret)
    (lab / "mine.c").write_text(text.format(secret) + MAIN)
    with pytest.raises(KernlabError) as caught:
        compiled(source_of("mine.c", lab), quiet, lab)
    assert SECRET not in str(caught.value), caught.value


@pytest.mark.parametrize("kind", ["link", "up", "pipe", "zero"])
def test_a_program_is_a_file_of_the_labs_own(lab: Path, kind: str) -> None:
    (lab.parent / "other").mkdir()
    (lab.parent / "other" / "x.c").write_text(f'int main(void) {{ step("{SECRET}"); }}')
    name = "mine.c"
    if kind == "link":
        (lab / name).symlink_to(lab.parent / "other" / "x.c")
    elif kind == "up":
        (lab / "dir").symlink_to(lab.parent / "other")
        name = "dir/x.c"
    elif kind == "pipe":
        os.mkfifo(lab / name)
    else:
        (lab / name).symlink_to("/dev/zero")
    assert text_of(name, lab) is None
    with pytest.raises(BadInput, match="there is no guest program"):
        compiled(source_of(name, lab), quiet, lab)


def test_a_header_that_is_no_file_does_not_hold_the_build(lab: Path) -> None:
    os.mkfifo(lab / "x.h")
    (lab / "y.h").symlink_to("/dev/zero")
    (lab / "mine.c").write_text(GOOD)
    assert compiled(source_of("mine.c", lab), quiet, lab).is_file()


@pytest.mark.parametrize(
    "name",
    [
        "/etc/x.c",
        "../x.c",
        "a/../../x.c",
        "~/x.c",
        "~root/x.c",
        "../../etc/passwd",
        "/etc/shadow",
        "a b",
        "x.c\0",
        "",
        "labs/../../x",
        "\u202e.d",
    ],
)
def test_a_name_that_leads_elsewhere_is_none(name: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="program"):
        program_name(name)
    with pytest.raises(BadInput, match="program"):
        parse(f'program: "{name.encode("unicode_escape").decode()}"', Lab, "L.yaml")


def test_every_program_that_comes_along_has_a_name() -> None:
    for name in names():
        assert program_name(name) == name


def test_a_lab_file_is_told_so(tmp_path: Path) -> None:
    text = Path(__file__).parents[2].joinpath("configs", "labs", "L03.yaml").read_text("utf-8")
    path = tmp_path / "L03.yaml"
    lines = [line for line in text.splitlines() if not line.startswith("program:")]
    path.write_text("\n".join(["program: ../../../../etc/passwd.c", *lines]))
    assert any("program must be beside" in str(line) for line in problems(path))


def test_links_among_the_systems_headers_belong_to_it(tmp_path: Path) -> None:
    """On Debian 13 asm/ leads to /usr/lib/linux/uapi; a name that leads out of it does not."""
    system, uapi = tmp_path / "include", tmp_path / "uapi"
    system.mkdir()
    uapi.mkdir()
    (uapi / "socket.h").write_text("")
    (tmp_path / "shadow").write_text("")
    (system / "asm").symlink_to(uapi)
    assert strangers._is_below(system / "asm" / "socket.h", system)
    assert not strangers._is_below(system / "asm" / ".." / "shadow", system)
    assert not strangers._is_below(uapi / "socket.h", system)
