"""The Debian image's disk when whoever makes it is ended: nothing may be left behind."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import command
import leftovers
import psutil
import pytest

from kernlab.config.paths import shipped

_LIMIT = 240.0
Moment = Callable[["Maker"], bool]


class Maker(NamedTuple):
    """A home of its own with a table of two packages, and a place for the disk's parts."""

    home: Path
    place: Path

    def start(self) -> subprocess.Popen[bytes]:
        environment = {**os.environ, "KERNLAB_HOME": str(self.home), "TMPDIR": str(self.place)}
        with (self.home / "said").open("wb") as said:
            return subprocess.Popen(
                command.kernlab("image", "debian"),
                stdout=subprocess.DEVNULL,
                stderr=said,
                stdin=subprocess.DEVNULL,
                env=environment,
                start_new_session=True,
            )

    def said(self) -> str:
        return (self.home / "said").read_text()

    def end_at(self, moment: Moment, number: signal.Signals) -> int:
        """The status of a run that is interrupted, or killed alone, at a moment."""
        process = self.start()
        deadline = time.monotonic() + _LIMIT
        while not moment(self):
            assert process.poll() is None, self.said()
            assert time.monotonic() < deadline, self.said()
            time.sleep(0.01)
        if number == signal.SIGINT:  # as a terminal does
            os.killpg(process.pid, number)
        else:
            process.kill()
        return process.wait(_LIMIT)

    def parts(self) -> list[str]:
        return sorted(path.name for path in self.place.iterdir())

    def images(self) -> list[str]:
        """What lies among the images beside locks and the agent's own build."""
        names = sorted(path.name for path in (self.home / "images").iterdir())
        return [name for name in names if not re.match(r"guest-|stamps\.json|.*\.lock$", name)]


@pytest.fixture
def maker(tmp_path: Path) -> Iterator[Maker]:
    home = tmp_path / "home"
    (home / "configs").mkdir(parents=True)
    table = shipped("configs", "image-debian.yaml").read_text()
    rows = [f"  - {{name: {name}, why: small}}\n" for name in ("tcpdump", "iproute2")]
    few = f"packages:\n{''.join(rows)}\nlater: []\n"
    text, changed = re.subn(r"^packages:\n(.*\n)*?(?=^leave_out:)", few, table, flags=re.M)
    assert changed == 1
    (home / "configs" / "image-debian.yaml").write_text(text)
    # A user namespace's ids must get through every directory above, so not below tmp_path.
    place = Path(tempfile.mkdtemp(prefix="kernlab-ended-", dir="/var/tmp"))
    place.chmod(0o755)
    yield Maker(home, place)
    shutil.rmtree(place, ignore_errors=True)


def unpacking(maker: Maker) -> bool:
    """mmdebstrap has begun to fill its directory."""
    return any(maker.place.glob("kernlab-disk-*/tmp/mmdebstrap.*/*"))


def making(maker: Maker) -> bool:
    return "make the disk" in maker.said()


def test_an_interrupted_or_killed_run_leaves_nothing_for_good(maker: Maker) -> None:
    for moment in (unpacking, making):
        assert maker.end_at(moment, signal.SIGINT) == 130, maker.said()
        assert (maker.parts(), maker.images()) == ([], []), moment.__name__
        assert leftovers.naming(str(maker.place)) == []
        assert "Traceback" not in maker.said()
    assert maker.end_at(unpacking, signal.SIGKILL) == -signal.SIGKILL
    assert maker.parts() != []  # nobody was there to remove it
    _, alive = psutil.wait_procs(leftovers.naming(str(maker.place)), 20)
    assert alive == []
    assert maker.start().wait(_LIMIT) == 0, maker.said()
    assert maker.parts() == []
    disk, image = sorted(maker.images(), reverse=True)
    assert disk.startswith("disk-")
    assert image.startswith("debian-")
    assert leftovers.naming(str(maker.place)) == []
