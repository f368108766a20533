"""Downloads from a server that cuts, stalls, alters and misunderstands."""

from __future__ import annotations

import hashlib
import random
import resource
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from mirror import Manners, Mirror

from kernlab.errors import HostLacks, WeFailed
from kernlab.kernel.sources.download import Limits, Unreached, large, reachable, small
from kernlab.progress import Report, Stopped, quiet

LIMITS = Limits(connect=2, stall=0.4, total=60)
CONTENT = random.Random(5).randbytes(1_000_000)
OTHER = random.Random(6).randbytes(1_000_000)
PATH = "/v5.x/linux-5.10.7.tar.xz"


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


@pytest.fixture
def mirror() -> Iterator[Mirror]:
    served = Mirror()
    served.files[PATH] = Manners(CONTENT)
    yield served
    served.close()


@pytest.fixture
def final(tmp_path: Path) -> Path:
    return tmp_path / "linux-5.10.7.tar.xz"


def get(mirror: Mirror, final: Path, content: bytes = CONTENT, report: object = quiet) -> Path:
    return large(
        [mirror.url + PATH],
        final,
        digest(content),
        "the list",
        LIMITS,
        report,  # type: ignore
    )


def left(final: Path) -> list[str]:
    return sorted(p.name for p in final.parent.iterdir() if not p.name.endswith(".lock"))


def test_a_file_arrives_whole_and_only_once(mirror: Mirror, final: Path) -> None:
    assert get(mirror, final).read_bytes() == CONTENT
    get(mirror, final)
    assert len(mirror.asked) == 1
    assert left(final) == [final.name]


def test_a_cut_is_mended_at_once_by_the_rest_alone(mirror: Mirror, final: Path) -> None:
    mirror.files[PATH].cuts = [300_000]
    seen: list[Report] = []
    assert get(mirror, final, report=seen.append).read_bytes() == CONTENT
    first, second = mirror.asked
    assert first[1:] == ("", "", 200)
    assert (second[1].startswith("bytes="), second[2], second[3]) == (True, '"one"', 206)
    assert 200_000 < int(second[1][6:-1]) <= 300_000
    assert next(r.why for r in seen if isinstance(r, Stopped)).startswith("cut off at 0.")


def test_a_stall_is_told_and_the_next_run_goes_on_from_there(mirror: Mirror, final: Path) -> None:
    mirror.files[PATH].stalls = [500_000, 0, 0, 0]
    with pytest.raises(Unreached) as caught:
        get(mirror, final)
    assert "stalled for 0.4 s" in caught.value.why
    assert "MB have arrived and are kept" in caught.value.why
    assert "the same command continues there" in caught.value.why
    assert caught.value.next_step == "again"
    assert not final.exists()
    mirror.files[PATH].stalls = []
    assert get(mirror, final).read_bytes() == CONTENT
    assert mirror.asked[-1][3] == 206
    assert left(final) == [final.name]


def test_a_server_that_always_cuts_is_given_up(mirror: Mirror, final: Path) -> None:
    mirror.files[PATH].ranges = False
    mirror.files[PATH].cuts = [300_000] * 50
    with pytest.raises(Unreached) as caught:
        get(mirror, final)
    assert "cut off" in caught.value.why
    assert len(mirror.asked) < 5
    assert not final.exists()


def test_a_server_that_ignores_range_gives_the_whole_anew(mirror: Mirror, final: Path) -> None:
    mirror.files[PATH].ranges = False
    mirror.files[PATH].cuts = [300_000]
    assert get(mirror, final).read_bytes() == CONTENT
    assert [asked[3] for asked in mirror.asked] == [200, 200]


def test_a_file_that_changed_meanwhile_is_seen_by_its_validator(
    mirror: Mirror, final: Path
) -> None:
    mirror.files[PATH] = Manners(OTHER, etag='"old"', cuts=[300_000, 0, 0])
    with pytest.raises(Unreached):
        get(mirror, final)
    mirror.files[PATH] = Manners(CONTENT, etag='"new"')
    assert get(mirror, final).read_bytes() == CONTENT
    assert mirror.asked[-1][2:] == ('"old"', 200)


def test_parts_of_two_files_are_noticed_where_no_validator_helps(
    mirror: Mirror, final: Path
) -> None:
    mirror.files[PATH] = Manners(OTHER, etag=None, cuts=[300_000, 0, 0])
    with pytest.raises(Unreached):
        get(mirror, final)
    mirror.files[PATH] = Manners(CONTENT, etag=None)
    seen: list[Report] = []
    assert get(mirror, final, report=seen.append).read_bytes() == CONTENT
    assert [asked[3] for asked in mirror.asked[-2:]] == [206, 200]
    assert [r.why for r in seen if isinstance(r, Stopped)] == [
        "the resumed parts do not fit together; starting again"
    ]


def test_a_part_longer_than_the_file_is_dropped(mirror: Mirror, final: Path) -> None:
    mirror.files[PATH].cuts = [900_000, 0, 0]
    with pytest.raises(Unreached):
        get(mirror, final)
    mirror.files[PATH] = Manners(CONTENT[:100_000], etag=None)
    assert get(mirror, final, CONTENT[:100_000]).read_bytes() == CONTENT[:100_000]
    assert left(final) == [final.name]


def test_416_for_a_file_whose_length_shrank(mirror: Mirror, final: Path) -> None:
    short = CONTENT[:100_000]
    part = final.with_name(f"{final.name}.{digest(short)[:12]}.part")
    part.write_bytes(CONTENT)
    mirror.files[PATH] = Manners(short)
    assert get(mirror, final, short).read_bytes() == short
    assert [asked[3] for asked in mirror.asked] == [416, 200]


def test_a_part_that_is_whole_needs_no_body(mirror: Mirror, final: Path) -> None:
    final.with_name(f"{final.name}.{digest(CONTENT)[:12]}.part").write_bytes(CONTENT)
    assert get(mirror, final).read_bytes() == CONTENT
    assert [asked[3] for asked in mirror.asked] == [416]


def test_another_range_than_asked_for_is_not_appended(mirror: Mirror, final: Path) -> None:
    mirror.files[PATH].cuts = [300_000]
    mirror.files[PATH].shift = 7
    assert get(mirror, final).read_bytes() == CONTENT
    assert [asked[3] for asked in mirror.asked] == [200, 206, 200]


def test_a_server_that_gives_the_rest_in_slices(mirror: Mirror, final: Path) -> None:
    mirror.files[PATH].cuts = [300_000]
    mirror.files[PATH].slice = 250_000
    assert get(mirror, final).read_bytes() == CONTENT
    assert [asked[3] for asked in mirror.asked] == [200, 206, 206, 206]


def test_an_altered_file_is_refused_and_nothing_of_it_stays(mirror: Mirror, final: Path) -> None:
    mirror.files[PATH] = Manners(OTHER)
    with pytest.raises(WeFailed, match="SHA-256 check failed") as caught:
        get(mirror, final)
    assert digest(OTHER) in caught.value.why
    assert f"the list has {digest(CONTENT)}" in caught.value.why
    assert left(final) == []
    assert len(mirror.asked) == 1
    mirror.files[PATH] = Manners(CONTENT)
    assert get(mirror, final).read_bytes() == CONTENT


def test_an_altered_file_that_is_also_cut_ends(mirror: Mirror, final: Path) -> None:
    mirror.files[PATH] = Manners(OTHER, cuts=[300_000, 2_000_000, 300_000])
    with pytest.raises(WeFailed, match="SHA-256 check failed"):
        get(mirror, final)
    assert len(mirror.asked) == 4
    assert left(final) == []


def test_a_damaged_copy_of_ours_is_fetched_anew(mirror: Mirror, final: Path) -> None:
    final.write_bytes(CONTENT[:-1])
    assert get(mirror, final).read_bytes() == CONTENT


def test_the_next_mirror_is_asked_where_one_has_nothing(mirror: Mirror, final: Path) -> None:
    urls = [mirror.url + "/elsewhere", mirror.url + PATH]
    assert large(urls, final, digest(CONTENT), "the list", LIMITS, quiet) == final
    assert [asked[3] for asked in mirror.asked] == [404, 200]


def test_each_mirrors_reason_is_told(mirror: Mirror, final: Path) -> None:
    mirror.files["/busy"] = Manners(b"", status=503)
    urls = [mirror.url + "/elsewhere", mirror.url + "/busy"]
    with pytest.raises(Unreached) as caught:
        large(urls, final, digest(CONTENT), "the list", LIMITS, quiet)
    assert "404 Not Found" in caught.value.why
    assert "503 Service Unavailable" in caught.value.why
    assert caught.value.next_step == "again"


def test_two_at_once_fetch_once(mirror: Mirror, final: Path) -> None:
    callers = [threading.Thread(target=get, args=(mirror, final)) for _ in range(2)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join(60)
    assert final.read_bytes() == CONTENT
    assert len(mirror.asked) == 1


def test_a_disk_that_takes_no_more_is_told(mirror: Mirror, final: Path) -> None:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (500_000, before[1]))
    try:
        with pytest.raises(HostLacks, match="cannot write") as caught:
            get(mirror, final)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert "KERNLAB_HOME" in caught.value.why
    assert get(mirror, final).read_bytes() == CONTENT


def test_a_closed_port_and_a_silent_host_are_told_apart() -> None:
    limits = Limits(connect=0.3, stall=1)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/"
        assert reachable(url, limits) == "Connection refused"
        silent.listen(0)
        waiting = [socket.socket() for _ in range(4)]  # more than the queue holds
        for one in waiting:
            one.setblocking(False)
            one.connect_ex(silent.getsockname())
        assert reachable(url, limits) == "no connection within 0.3 s"
        for one in waiting:
            one.close()


def test_a_small_file_has_its_limits(mirror: Mirror) -> None:
    assert small(mirror.url + PATH, LIMITS) == CONTENT
    with pytest.raises(Unreached, match="more than 0 MB"):
        small(mirror.url + PATH, LIMITS, most=1000)
    with pytest.raises(Unreached, match="404 Not Found"):
        small(mirror.url + "/nothing", LIMITS)
    with pytest.raises(Unreached, match=r"^Connection refused$"):
        small("http://127.0.0.1:1/x", LIMITS)
    mirror.files[PATH].stalls = [1000]
    with pytest.raises(Unreached, match=r"stalled for 0\.4 s"):
        small(mirror.url + PATH, LIMITS)
    mirror.files[PATH] = Manners(CONTENT, cuts=[1000])
    with pytest.raises(Unreached, match="cut off"):
        small(mirror.url + PATH, LIMITS)
