"""Files over HTTP that must have a known SHA-256, resumed where an earlier attempt stopped.

What has arrived lies in a part file beside the final name. It stays after a cut, a stall
or a Ctrl-C, and the next attempt asks for the rest (RFC 9110, Range with If-Range). It is
removed when it turns out to be wrong. Whatever a server answers, the whole file's SHA-256
decides; a mismatch after a resume is given one new start, because the parts may be from
two versions of the file, and a mismatch without one is an error.
"""

from __future__ import annotations

import hashlib
import json
import re
import socket
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import requests
from filelock import FileLock

from kernlab.errors import HostLacks, WeFailed
from kernlab.progress import Advanced, Finished, Reporter, Started, Stopped

_CHUNK = 1 << 16
_MOST = 1 << 30  # bytes: no 5.x tarball is larger than 140 MB
_IDLE = 2  # attempts at one mirror that may bring nothing before the next one's turn
_ABSENT = re.compile(r": (?:404|410) ")
_BROKEN = (requests.RequestException, OSError)


@dataclass(frozen=True)
class Limits:
    """Seconds: until a connection stands, between two pieces of an answer, for all of it."""

    connect: float
    stall: float
    total: float = 3600.0


class Unreached(HostLacks):
    """No mirror gave the file: none answers, or each stopped on the way."""


class Absent(Unreached):
    """Each mirror says that it has no such file."""


def reachable(url: str, limits: Limits) -> str:
    """Why a URL's host (or the proxy before it) takes no connection; empty when it does.

    In a thread, because looking up a name has no time limit of its own.
    """
    proxy = requests.utils.select_proxy(url, requests.utils.get_environ_proxies(url))
    parts = urlsplit(proxy or url)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    said = [f"no connection within {limits.connect:g} s"]

    def connect() -> None:
        try:
            socket.create_connection((parts.hostname or "", port), limits.connect).close()
            said[0] = ""
        except TimeoutError:
            pass
        except OSError as error:
            said[0] = error.strerror or str(error)

    thread = threading.Thread(target=connect, daemon=True)
    thread.start()
    thread.join(limits.connect)
    return said[0]


def small(url: str, limits: Limits, most: int = 16 << 20) -> bytes:
    """A file of at most ``most`` bytes into memory. Raises ``Unreached``."""
    until = time.monotonic() + limits.total
    data = bytearray()
    try:
        with requests.get(url, stream=True, timeout=(limits.connect, limits.stall)) as answer:
            if answer.status_code != 200:
                raise Unreached(f"{answer.status_code} {answer.reason}")
            for chunk in answer.iter_content(_CHUNK):
                data += chunk
                if len(data) > most or time.monotonic() > until:
                    raise Unreached(f"more than {most >> 20} MB, or too slow")
    except _BROKEN as error:
        raise Unreached(_words(error, limits)) from error
    return bytes(data)


@dataclass
class _Part:
    """What has arrived, with the address and the validator it came under."""

    path: Path
    resumed: bool = False
    size: int = 0
    about: dict[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, final: Path, sha256: str) -> _Part:
        path = final.with_name(f"{final.name}.{sha256[:12]}.part")
        for stale in final.parent.glob(f"{final.name}.*.part*"):
            if stale.name not in (path.name, path.name + ".json"):
                stale.unlink()  # of a file that is no longer what is asked for
        part = cls(path)
        if path.is_file():
            part.size, part.resumed = path.stat().st_size, True
            try:
                part.about = dict(json.loads(part.note.read_text("utf-8")))
            except (OSError, ValueError):
                part.about = {}
        return part

    @property
    def note(self) -> Path:
        return self.path.with_name(self.path.name + ".json")

    def headers(self, url: str) -> dict[str, str]:
        asked = {"Accept-Encoding": "identity"}
        if self.size:
            asked["Range"] = f"bytes={self.size}-"
            if self.about.get("url") == url and self.about.get("validator"):
                asked["If-Range"] = self.about["validator"]
        return asked

    def comes_from(self, url: str, answer: requests.Response) -> None:
        tag = answer.headers.get("ETag", "")
        strong = "" if tag.startswith("W/") else tag  # a weak one does not go with Range
        validator = strong or answer.headers.get("Last-Modified", "")
        self.about = {"url": url, "validator": validator}
        self.note.write_text(json.dumps(self.about), "utf-8")

    def drop(self) -> None:
        self.path.unlink(missing_ok=True)
        self.note.unlink(missing_ok=True)
        self.size, self.resumed, self.about = 0, False, {}


def large(
    urls: Sequence[str], final: Path, sha256: str, checked_by: str, limits: Limits, report: Reporter
) -> Path:
    """``final``, complete and with the SHA-256 that ``checked_by`` (for messages) gives.

    Raises ``Unreached`` when no address gives the whole file (what came is kept for the
    next call), ``WeFailed`` when what came is not the file, ``HostLacks`` when the disk
    does not take it.
    """
    with FileLock(f"{final}.lock", timeout=limits.total):
        if final.is_file():
            if sha256_of(final) == sha256:
                return final
            final.unlink()  # truncated or altered since: fetch it anew
        part = _Part.of(final, sha256)
        until = time.monotonic() + limits.total
        stage = f"download {final.name}"
        for last in (False, True):
            _whole(urls, part, stage, limits, until, report)
            got = sha256_of(part.path)
            if got == sha256:
                part.path.replace(final)
                part.note.unlink(missing_ok=True)
                report(Finished(stage, f"{part.size / 1e6:.1f} MB, SHA-256 as in {checked_by}"))
                return final
            resumed = part.resumed
            part.drop()
            if last or not resumed:
                break
            report(Stopped(stage, "the resumed parts do not fit together; starting again"))
        raise WeFailed(
            f"{final.name} arrived altered: the SHA-256 check failed",
            f"its sum is {got}\n{checked_by} has {sha256}\nit came from {' or '.join(urls)}; "
            "configs/kernels.yaml can name another mirror",
            "again",
        )


def _whole(
    urls: Sequence[str], part: _Part, stage: str, limits: Limits, until: float, report: Reporter
) -> None:
    """Ask one address after the other until a whole file lies in ``part``."""
    problems = []
    for url in urls:
        problem = reachable(url, limits) or _one(url, part, stage, limits, until, report)
        if not problem:
            return
        problems.append(f"{urlsplit(url).netloc}: {problem}")
    if not part.size and all(_ABSENT.search(problem) for problem in problems):
        raise Absent(f"{stage} stopped", "\n".join(problems), "edit configs/kernels.yaml: a mirror")
    if part.size:
        problems.append(
            f"{part.size / 1e6:.1f} MB have arrived and are kept; the same command continues there"
        )
    raise Unreached(f"{stage} stopped", "\n".join(problems), "again")


def _one(url: str, part: _Part, stage: str, limits: Limits, until: float, report: Reporter) -> str:
    """Ask one address as long as that brings the file on. What went wrong; "" for nothing."""
    idle, best = 0, part.size
    problems: list[str] = []
    while idle < _IDLE and time.monotonic() < until:
        problem, for_good = _attempt(url, part, stage, limits, until, report)
        if not problem:
            return ""
        problems.append(problem)
        if for_good:
            break
        idle = 0 if part.size > best else idle + 1
        best = max(best, part.size)
    # The last ones: what it broke off with, and why it could not go on.
    return ", then ".join(dict.fromkeys(problems[-3:])) or "too slow"


def _attempt(
    url: str, part: _Part, stage: str, limits: Limits, until: float, report: Reporter
) -> tuple[str, bool]:
    """One request. What went wrong ("" when the file is whole), and whether for good."""
    try:
        answer = requests.get(
            url, headers=part.headers(url), stream=True, timeout=(limits.connect, limits.stall)
        )
    except _BROKEN as error:
        return _words(error, limits), False
    with answer:
        start, total = _range(answer)
        if answer.status_code == 416 and part.size and total == part.size:
            return "", False  # it had all arrived already
        if answer.status_code == 416 or (answer.status_code == 206 and start != part.size):
            part.drop()
            return "the server sent another part of the file than was requested", False
        if answer.status_code == 200:
            part.drop()  # the server ignores Range, or its file is another one by now
            total = _length(answer)
        elif answer.status_code == 206:
            part.resumed = True
        else:
            return f"{answer.status_code} {answer.reason}", answer.status_code < 500
        report(Started(stage, total, "B"))
        problem, for_good = _body(url, answer, part, total, stage, limits, until, report)
        if problem:
            report(Stopped(stage, problem))
        return problem, for_good


def _body(
    url: str,
    answer: requests.Response,
    part: _Part,
    total: int | None,
    stage: str,
    limits: Limits,
    until: float,
    report: Reporter,
) -> tuple[str, bool]:
    try:
        part.comes_from(url, answer)
        file = part.path.open("ab")
    except OSError as error:
        raise _disk(part.path, error) from error
    with file:
        pieces = answer.iter_content(_CHUNK)
        while True:
            try:
                piece = next(pieces, b"")
            except _BROKEN as error:
                return f"{_words(error, limits)} at {part.size / 1e6:.1f} MB", False
            if not piece:
                break
            try:
                file.write(piece)
                file.flush()
            except OSError as error:
                raise _disk(part.path, error) from error
            part.size += len(piece)
            report(Advanced(stage, part.size, total))
            if time.monotonic() > until:
                return f"slower than {limits.total / 60:.0f} minutes allow", True
            if part.size > _MOST:
                part.drop()
                return f"larger than {_MOST >> 20} MB", True
    if total is not None and part.size < total:
        return f"cut off at {part.size / 1e6:.1f} of {total / 1e6:.1f} MB", False
    return "", False


def _range(answer: requests.Response) -> tuple[int | None, int | None]:
    """Start and total of ``Content-Range: bytes 5-9/10`` or ``bytes */10``."""
    match = re.match(r"bytes (?:(\d+)-\d+|\*)/(\d+|\*)", answer.headers.get("Content-Range", ""))
    if match is None:
        return None, None
    start, total = match.groups()
    return int(start) if start else None, int(total) if total.isdigit() else None


def _length(answer: requests.Response) -> int | None:
    text = answer.headers.get("Content-Length", "")
    return int(text) if text.isdigit() else None


def _words(error: BaseException, limits: Limits) -> str:
    """A transport's error in words; theirs are nested three deep."""
    text = str(error)
    if isinstance(error, requests.ConnectTimeout):
        return f"no connection within {limits.connect:g} s"
    if isinstance(error, requests.ReadTimeout) or "Read timed out" in text:
        return f"stalled for {limits.stall:g} s"
    if isinstance(error, requests.exceptions.ChunkedEncodingError):
        return "cut off"
    match = re.search(r"\[Errno -?\d+\] ([^'\")]+)", text) or re.search(r"(\w+Error)\b", text)
    return match[1] if match else text[:200]


def _disk(path: Path, error: OSError) -> HostLacks:
    return HostLacks(
        f"cannot write {path}",
        f"{error.strerror or error}; KERNLAB_HOME may name a directory on a larger disk",
        "kernlab clean runs",
    )


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file, in hex."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()
