"""Real kernels in real machines. The kernel comes from the user's home, built on first use.

KERNLAB_TEST_KERNEL names another one than the default: 6.1, a release, a tree.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import command
import pytest

from kernlab import pipeline
from kernlab.image.model import Image, ImageRequest
from kernlab.kernel.model import BuildRequest, Kernel
from kernlab.progress import quiet
from kernlab.record.rundir import RunDir
from kernlab.vm.machine import Machine
from kernlab.vm.mechanisms import BOOT


@pytest.fixture(scope="session")
def kernel() -> Kernel:
    return pipeline.kernel_for(BuildRequest(version=command.VERSION), quiet)


@pytest.fixture(scope="session")
def image() -> Image:
    return pipeline.image_for(ImageRequest(), quiet)


@pytest.fixture
def booted(
    kernel: Kernel, image: Image, tmp_path: Path
) -> Callable[..., AbstractContextManager[Machine]]:
    """Boots a machine of one's own: ``with booted() as machine``."""

    @contextmanager
    def boot(needs: tuple[str, ...] = (BOOT,), **options: Any) -> Iterator[Machine]:
        run = RunDir.create({}, tmp_path / "run")
        chosen = pipeline.MachineOptions(**options)
        with pipeline.machine_for(pipeline.Setting(kernel, image, chosen, run), needs) as machine:
            machine.wait_ready()
            yield machine

    return boot


@pytest.fixture(scope="session")
def kernlab(kernel: Kernel, image: Image) -> Callable[..., subprocess.CompletedProcess[bytes]]:
    """Runs the command line, with everything it needs built beforehand."""

    def call(*words: str, input: bytes = b"", **kw: Any) -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(
            command.kernlab(*words),
            input=input,
            capture_output=True,
            timeout=900,
            env={**os.environ, "NO_COLOR": "1"},
            **kw,
        )

    return call


@pytest.fixture(scope="session")
def traced(
    kernlab: Callable[..., subprocess.CompletedProcess[bytes]],
    tmp_path_factory: pytest.TempPathFactory,
) -> Callable[..., tuple[list[dict[str, Any]], Path]]:
    """``kernlab trace … --json``: the events, and the run directory."""

    def call(*words: str) -> tuple[list[dict[str, Any]], Path]:
        out = tmp_path_factory.mktemp("trace") / "run"
        said = kernlab("trace", *words, "--json", "--out", str(out))
        assert said.returncode == 0, said.stderr.decode()
        return [json.loads(line) for line in said.stdout.splitlines()], out

    return call


@pytest.fixture(scope="session")
def every(
    kernlab: Callable[..., subprocess.CompletedProcess[bytes]],
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """All labs with the debugger: their run directory."""
    out = tmp_path_factory.mktemp("labs") / "run"
    said = kernlab("lab", "run", "--all", "--json", "--out", str(out))
    assert said.returncode in (0, 1), said.stderr.decode()
    return out
