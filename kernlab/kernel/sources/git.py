"""Source `git`: a ref of a repository, written ``REPOSITORY@REF``.

The ref's tree comes out by ``git archive``, which reads objects and nothing else: the
user's working tree, index and refs stay as they are, and edits that are not committed do
not get in. A repository behind a URL is fetched without history into a bare one of ours.
The digest is git's own name of the tree, so two refs with the same content are one kernel.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Callable
from pathlib import Path

from filelock import FileLock

from kernlab.config.needs import require
from kernlab.config.paths import expanded, home_dir
from kernlab.errors import BadInput, HostLacks, WeFailed
from kernlab.kernel.model import SourceTree
from kernlab.kernel.needs import GIT, UNPACK
from kernlab.kernel.sources import kept
from kernlab.kernel.sources.local import tree_version
from kernlab.kernel.sources.unpack import arriving_tree, unpack_stream
from kernlab.process import PIPE, Child, CommandFailed, Completed, run
from kernlab.progress import Finished, Reporter, Started

_LIMIT = 3600.0
# What a hook or an editor's terminal may have set, and would send git elsewhere.
_ELSEWHERE = (
    "GIT_DIR",
    "GIT_WORK_TREE",
    "GIT_INDEX_FILE",
    "GIT_OBJECT_DIRECTORY",
    "GIT_PREFIX",
    "GIT_COMMON_DIR",
    "GIT_NAMESPACE",
)


def split(text: str) -> tuple[str, str] | None:
    """Repository and ref of ``REPOSITORY@REF``; None when the text is no such thing.

    A path may have an @ of its own, and so may a ref (HEAD@{1}): the first @ after which
    there is a directory is the one. In a URL it is the last.
    """
    if "://" in text:
        url, at, ref = text.rpartition("@")
        return (url, ref) if at and ref and "/" in url.split("://", 1)[-1] else None
    for number, letter in enumerate(text):
        if letter == "@" and expanded(text[:number] or ".").is_dir():
            return text[:number] or ".", text[number + 1 :]
    return None


def get(repository: str, ref: str, report: Reporter, *, newest: bool = True) -> SourceTree:
    """The source tree of a ref. A URL's is asked for again only with ``newest``.

    Raises ``BadInput`` when there is no such repository, ref or kernel in it, ``HostLacks``
    when a URL cannot be fetched.
    """
    require(GIT + UNPACK[:1])
    if not ref or ref.startswith("-"):
        raise BadInput(
            f"'{ref}' is not a ref",
            "expected a tag, a branch or a commit after the @",
            f"kernlab fetch {repository}@HEAD",
        )
    if "://" not in repository:
        path = expanded(repository).absolute()
        return _archive(_git_dir(path), ref, str(path), ref, report)
    here = None if newest else kept_of(repository, ref)
    if here is not None:
        return kept.read(here)
    name = hashlib.sha256(repository.encode()).hexdigest()[:12]
    bare = home_dir("downloads") / f"git-{name}"
    with FileLock(f"{bare}.lock", timeout=_LIMIT):
        _fetch(bare, repository, ref, report)
        return _archive(bare, "FETCH_HEAD", repository, ref, report)


def kept_of(url: str, ref: str) -> Path | None:
    """The tree that a URL's ref was fetched to earlier."""
    for tree in kept.all_trees():
        if (tree / kept.ORIGIN).read_text("utf-8").startswith(f"git {url}@{ref} "):
            return tree
    return None


def files(repository: str, ref: str) -> Callable[[str], str | None]:
    """What reads a file of a ref, None for one that is not there. Raises ``BadInput`` when
    there is no such repository or ref."""
    git_dir = _git_dir(expanded(repository).absolute())
    commit = _resolved(git_dir, f"{ref}^{{commit}}", repository, ref)

    def read(name: str) -> str | None:
        said = _git(30, "--git-dir", str(git_dir), "show", f"{commit}:{name}", check=False)
        return said.text if said.returncode == 0 else None

    return read


def _resolved(git_dir: Path, wanted: str, repository: str, ref: str) -> str:
    said = _git(
        30, "--git-dir", str(git_dir), "rev-parse", "--verify", "--quiet", wanted, check=False
    )
    if said.returncode != 0:
        raise BadInput(
            f"{repository} has no ref '{ref}'",
            said.stderr.decode("utf-8", "replace").strip()[-500:] or _refs(git_dir),
            f"git -C {repository} tag --list 'v5*'",
        )
    return said.text.strip()


def _git(limit: float, *words: str, check: bool = True) -> Completed:
    env = {key: value for key, value in os.environ.items() if key not in _ELSEWHERE}
    env.update(LC_ALL="C", GIT_TERMINAL_PROMPT="0")
    return run(limit, ["git", *words], env=env, check=check, tree=True)


def _git_dir(path: Path) -> Path:
    said = _git(30, "-C", str(path), "rev-parse", "--absolute-git-dir", check=False)
    if said.returncode != 0:
        raise BadInput(
            f"{path} is not a git repository",
            said.stderr.decode("utf-8", "replace").strip()[-500:],
            f"kernlab fetch {path}",
        )
    return Path(said.text.strip())


def _fetch(bare: Path, url: str, ref: str, report: Reporter) -> None:
    stage = f"fetch {ref} of {url}"
    report(Started(stage))
    if not (bare / "HEAD").is_file():
        _git(30, "init", "--quiet", "--bare", str(bare))
    try:
        # Below 1 kB/s for 60 s is a stall; git itself would wait for ever.
        _git(
            _LIMIT,
            "-c",
            "http.lowSpeedLimit=1000",
            "-c",
            "http.lowSpeedTime=60",
            "--git-dir",
            str(bare),
            "fetch",
            "--quiet",
            "--depth=1",
            "--no-tags",
            url,
            ref,
        )
    except CommandFailed as error:
        raise HostLacks(
            f"git cannot fetch {ref} of {url}", error.why, f"git ls-remote {url}"
        ) from error
    report(Finished(stage))


def _archive(git_dir: Path, commit: str, repository: str, ref: str, report: Reporter) -> SourceTree:
    sha, tree_name = (
        _resolved(git_dir, f"{commit}^{{{kind}}}", repository, ref) for kind in ("commit", "tree")
    )
    final = home_dir("sources") / f"git-{tree_name[:16]}"
    if not kept.here(final, report):
        stage = f"check out {ref}"
        report(Started(stage))
        with arriving_tree(final) as tree:
            _unpack(git_dir, tree_name, tree, stage, report)
            try:
                version = tree_version(tree)
            except BadInput as error:
                raise BadInput(
                    f"{repository}@{ref} is not a kernel source tree",
                    "its Makefile has no VERSION, PATCHLEVEL and SUBLEVEL, or Kconfig is missing",
                    error.next_step,
                ) from error
            kept.mark(tree, "git", f"{repository}@{ref} {sha}", tree_name)
        report(Finished(stage, f"{version}, commit {sha[:12]}"))
    return kept.read(final)


def _unpack(git_dir: Path, tree_name: str, into: Path, stage: str, report: Reporter) -> None:
    argv = ["git", "--git-dir", str(git_dir), "archive", "--format=tar", tree_name]
    with (
        tempfile.TemporaryFile() as said,
        # In a directory of ours, so that git takes no part of a tree for the whole.
        Child(argv, cwd=into, stdout=PIPE, stderr=said, tree=True) as archive,
    ):
        assert archive.stdout is not None
        try:
            unpack_stream(archive.stdout, into, stage, report)
        except WeFailed:
            archive.stdout.close()  # git may still write, and tar reads no more
            if archive.wait(60) <= 0:  # tar's own failure; git was well, or ended by SIGPIPE
                raise
        if archive.wait(60) != 0:
            said.seek(0)
            raise CommandFailed(argv, said.read().decode("utf-8", "replace").strip()[-1500:])


def _refs(git_dir: Path) -> str:
    said = _git(
        30,
        "--git-dir",
        str(git_dir),
        "for-each-ref",
        "--count=10",
        "--sort=-creatordate",
        "--format=%(refname:short)",
        check=False,
    )
    return "it has " + ", ".join(said.text.split()) if said.text.split() else "it has no refs"
