"""The two trees of the gate: which base is chosen, and what lies side by side."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from benchmarks.measure import trees
from benchmarks.measure.trees import BASE_VARIABLE, NoBase, NothingBefore, Trees, choose_base, side_by_side


def git(folder: Path, *arguments: str) -> str:
    """Git in that folder, as somebody."""
    command = ["git", "-c", "user.name=n", "-c", "user.email=e@example.org", "-C", str(folder), *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def commit(folder: Path, number: int) -> str:
    """A commit that changes the package."""
    (folder / trees.PACKAGE).mkdir(exist_ok=True)
    (folder / trees.PACKAGE / "__init__.py").write_text(f"number = {number}\n")
    git(folder, "add", ".")
    git(folder, "commit", "-qm", str(number))
    return git(folder, "rev-parse", "HEAD")


@pytest.fixture
def clone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A history of three commits on main."""
    monkeypatch.delenv(BASE_VARIABLE, raising=False)
    folder = tmp_path / "clone"
    folder.mkdir()
    git(folder, "init", "-q", "-b", "main")
    for number in range(3):
        commit(folder, number)
    return folder


# -- the base -----------------------------------------------------------------------------------------------


def test_a_branch_is_compared_with_where_it_left_main(clone: Path) -> None:
    """However many commits it has, and whatever main did since."""
    left = git(clone, "rev-parse", "HEAD")
    git(clone, "checkout", "-qb", "work")
    for number in (10, 11):
        commit(clone, number)
    git(clone, "checkout", "-q", "main")
    commit(clone, 4)
    git(clone, "checkout", "-q", "work")
    assert choose_base(None, clone) == left


def test_of_two_mains_the_nearer_one_counts(clone: Path) -> None:
    """The origin's may not have been fetched for long, the one here not updated."""
    git(clone, "update-ref", "refs/remotes/origin/main", "HEAD~2")
    left = git(clone, "rev-parse", "HEAD")
    git(clone, "checkout", "-qb", "work")
    commit(clone, 10)
    assert choose_base(None, clone) == left
    git(clone, "update-ref", "refs/remotes/origin/main", left)
    git(clone, "branch", "-qf", "main", f"{left}~2")
    assert choose_base(None, clone) == left


def test_without_a_common_commit_it_is_the_commit_before(clone: Path) -> None:
    """So it is in a shallow clone, whose history ends before the two meet."""
    git(clone, "checkout", "-q", "--orphan", "work")
    before = commit(clone, 10)
    commit(clone, 11)
    assert choose_base(None, clone) == before


def test_a_detached_head_behind_main_is_compared_with_the_commit_before(clone: Path) -> None:
    """It never left main."""
    git(clone, "checkout", "-q", "--detach", "HEAD^")
    assert choose_base(None, clone) == git(clone, "rev-parse", "HEAD^")


def test_any_file_of_the_package_may_differ(tmp_path: Path) -> None:
    """A script in another language is code too."""
    for side in ("base", "head"):
        (tmp_path / side / trees.PACKAGE).mkdir(parents=True)
        (tmp_path / side / trees.PACKAGE / "touch.lua").write_text(side)
    assert not Trees(tmp_path / "base", tmp_path / "head", "a", "b").same


def test_main_itself_is_compared_with_the_commit_before(clone: Path) -> None:
    """Of a merge that is what main was before it; so it is in a fresh clone, which knows nothing but main."""
    before = git(clone, "rev-parse", "HEAD^")
    assert choose_base(None, clone) == before
    main_was = git(clone, "rev-parse", "HEAD")
    git(clone, "checkout", "-qb", "work", "HEAD^")
    (clone / "more.txt").write_text("more")
    git(clone, "add", ".")
    git(clone, "commit", "-qm", "more")
    git(clone, "checkout", "-q", "main")
    git(clone, "merge", "-q", "--no-ff", "-m", "merge", "work")
    assert choose_base(None, clone) == main_was
    fresh = clone.parent / "fresh"
    git(clone.parent, "clone", "-q", str(clone), str(fresh))
    assert choose_base(None, fresh) == main_was


def test_uncommitted_changes_are_compared_with_their_commit(clone: Path) -> None:
    """On main, with the package changed."""
    (clone / trees.PACKAGE / "__init__.py").write_text("changed\n")
    assert choose_base(None, clone) == git(clone, "rev-parse", "HEAD")


def test_what_is_asked_for_wins_then_the_environment(clone: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And a revision that is not there is said, not guessed."""
    monkeypatch.setenv(BASE_VARIABLE, "HEAD~2")
    assert choose_base(None, clone) == git(clone, "rev-parse", "HEAD~2")
    assert choose_base("HEAD~1", clone) == git(clone, "rev-parse", "HEAD~1")
    with pytest.raises(NoBase, match="no commit of this clone"):
        choose_base("v99", clone)


def test_a_first_commit_has_no_base(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor has a shallow clone."""
    monkeypatch.delenv(BASE_VARIABLE, raising=False)
    git(tmp_path, "init", "-q", "-b", "main")
    commit(tmp_path, 1)
    with pytest.raises(NothingBefore, match="first commit"):
        choose_base(None, tmp_path)


# -- the trees ----------------------------------------------------------------------------------------------


def test_both_trees_hold_their_package_and_are_gone_afterwards(clone: Path) -> None:
    """The head is what lies in the checkout; no worktree is left behind."""
    (clone / trees.PACKAGE / "__init__.py").write_text("changed\n")
    with side_by_side("HEAD~1", root=clone) as both:
        texts = [(tree / trees.PACKAGE / "__init__.py").read_text() for tree in (both.base, both.head)]
        assert texts == ["number = 1\n", "changed\n"]
        assert not both.same
        assert len(str(both.base)) == len(str(both.head))
        assert both.head_name.endswith("with changes")
    assert not both.base.exists()
    assert len(git(clone, "worktree", "list").splitlines()) == 1


def test_two_revisions_may_be_compared(clone: Path) -> None:
    """Of the same commit both trees are the same."""
    with side_by_side("HEAD", "HEAD", root=clone) as both:
        assert both.same
