"""The two versions of the package that are compared, side by side in one folder: ``base`` and ``head``.

Each is a copy of ``chuk_sessions`` alone, put first on the path of a worker, so that both run with the same
interpreter, the same installed libraries and the workloads of this version. The folders' names are equally long: the
length of the environment moves the stack, which alone can make a program some per cent faster or slower.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.measure.processes import ROOT

PACKAGE = "chuk_sessions"
MAIN = ("origin/main", "main")
BASE_VARIABLE = "CHUK_GATE_BASE"


class NoBase(Exception):
    """What was asked for cannot be compared with; the message says why."""


class NothingBefore(NoBase):
    """Nothing was asked for, and there is no earlier commit."""


@dataclass(frozen=True, slots=True)
class Trees:
    """Where the two versions are, and what they are called."""

    base: Path
    head: Path
    base_name: str
    head_name: str

    @property
    def same(self) -> bool:
        """Whether both are the same to the byte, so that none can be slower."""
        return _contents(self.base) == _contents(self.head)


def _contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def git(*arguments: str, root: Path = ROOT) -> str:
    """What git says; NoBase with its complaint if it says no."""
    program = shutil.which("git")
    if program is None:
        raise NoBase("there is no git here")
    done = subprocess.run([program, *arguments], cwd=root, capture_output=True, text=True, check=False)
    if done.returncode:
        raise NoBase(f"git {' '.join(arguments)}: {done.stderr.strip()}")
    return done.stdout.strip()


def commit_of(revision: str, root: Path = ROOT) -> str | None:
    """The commit that a revision names; None if there is none."""
    try:
        return git("rev-parse", "--verify", "--quiet", f"{revision}^{{commit}}", root=root)
    except NoBase:
        return None


def choose_base(asked: str | None, root: Path = ROOT) -> str:
    """The commit to compare with: asked for, else from the environment, else where this line of work left main.

    Of a main here and one at the origin the nearer counts, as either may be old. On main itself that is the commit
    before, which in a history of merges is the one that landed before; with uncommitted changes to the package, the
    commit that they change.
    """
    named = asked or os.environ.get(BASE_VARIABLE)
    if named:
        commit = commit_of(named, root)
        if commit is None:
            raise NoBase(f"{named} is no commit of this clone; is the clone shallow?")
        return commit
    head = git("rev-parse", "HEAD", root=root)
    left = [commit for name in MAIN if (commit := _where_it_left(name, root)) not in (None, head)]
    if left:
        return min(left, key=lambda commit: int(git("rev-list", "--count", f"{commit}..HEAD", root=root)))
    if git("status", "--porcelain", "--", PACKAGE, root=root):
        return head
    before = commit_of("HEAD^1", root)
    if before is None:
        raise NothingBefore("this is the first commit, or the clone is shallow: there is no base")
    return before


def _where_it_left(name: str, root: Path) -> str | None:
    """The last commit in common; None without one, as in a shallow clone, or without that main."""
    try:
        return git("merge-base", "HEAD", name, root=root)
    except NoBase:
        return None


@contextmanager
def worktree(commit: str, root: Path = ROOT) -> Iterator[Path]:
    """A checkout of that commit, outside of this one, and gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="chuk-gate-") as folder:
        path = Path(folder, "tree")
        git("worktree", "add", "--quiet", "--detach", str(path), commit, root=root)
        try:
            yield path
        finally:
            git("worktree", "remove", "--force", str(path), root=root)


@contextmanager
def side_by_side(base: str, head: str | None = None, root: Path = ROOT) -> Iterator[Trees]:
    """Both versions, as copies; without ``head`` that one is what lies in the checkout now, committed or not."""
    with tempfile.TemporaryDirectory(prefix="chuk-gate-") as name:
        folder = Path(name)
        with worktree(base, root) as path:
            copy_package(path, folder / "base")
        if head is None:
            copy_package(root, folder / "head")
        else:
            with worktree(head, root) as path:
                copy_package(path, folder / "head")
        yield Trees(folder / "base", folder / "head", base[:12], head[:12] if head else _here(root))


def copy_package(checkout: Path, folder: Path) -> None:
    """The package of a checkout; an empty folder if the checkout has none."""
    folder.mkdir()
    if (checkout / PACKAGE).exists():
        shutil.copytree(checkout / PACKAGE, folder / PACKAGE, ignore=shutil.ignore_patterns("__pycache__"))


def _here(root: Path) -> str:
    changed = git("status", "--porcelain", "--", PACKAGE, root=root)
    return git("rev-parse", "HEAD", root=root)[:12] + (" with changes" if changed else "")
