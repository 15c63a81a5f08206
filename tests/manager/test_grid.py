"""Grid paths: what is built from valid parts is taken apart into the same parts, and nothing else is a grid path."""

from __future__ import annotations

from enum import Enum
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from chuk_sessions import SessionManager
from chuk_sessions.grid_paths import PREFIX_CACHE_SIZE
from chuk_sessions.providers import memory

ANY_TEXT = st.text(st.characters(categories=None, exclude_categories=()), min_size=1)
SEGMENT = st.one_of(ANY_TEXT, st.text("ab./ \n%", min_size=1)).filter(lambda s: "/" not in s and s not in (".", ".."))
ARTIFACT = st.lists(SEGMENT, min_size=1, max_size=4).map("/".join)
PATHS = st.one_of(
    st.text("grid/.ab", max_size=24), st.lists(st.sampled_from(["grid", "", ".", "..", "a", "b"])).map("/".join)
)
NO_SEGMENTS: tuple[Any, ...] = ("", ".", "..", "/", "a/b", "/a", "a/", None, 5, b"a", ["a"], {})
NO_ARTIFACTS: tuple[Any, ...] = (
    *("", ".", "..", "/", "/a", "a/", "a//b", "a/./b", "../a", "a/..", "a/../b"),
    *(None, 5, b"a", b"", ["a"], {}),
)
NO_PATHS: tuple[Any, ...] = (
    *("", "grid", "grid/", "grid/a", "grid/a/b", "grid/a/b/", "grid//b/c", "grid/a//c", "grid/./b/c", "grid/a/../c"),
    *("/grid/a/b/c", "Grid/a/b/c", "grids/a/b/c", "x/a/b/c", "grid/a/b/c/", "grid/a/b//c", "grid/a/b/../c", "a/b/c/d"),
    *(None, 5, b"grid/a/b/c", ["grid", "a", "b", "c"], ...),
)


@pytest.fixture
def manager() -> SessionManager:
    return SessionManager("webapp")


def manager_of(sandbox_id: str) -> SessionManager:
    """A manager of a sandbox whose name no environment variable may be able to hold."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("chuk_sessions.environment.os", SimpleNamespace(environ={}))
        return SessionManager(sandbox_id, memory.factory())


def test_the_documented_paths(manager: SessionManager) -> None:
    assert manager.get_session_prefix_pattern() == "grid/webapp/"
    assert manager.get_canonical_prefix("sess-1") == "grid/webapp/sess-1/"
    key = manager.generate_artifact_key("sess-1", "document123")
    assert key == "grid/webapp/sess-1/document123"
    assert manager.parse_grid_key(key) == {
        "sandbox_id": "webapp",
        "session_id": "sess-1",
        "artifact_id": "document123",
    }
    assert manager.generate_artifact_key("sess-1", "a/b/c.txt") == "grid/webapp/sess-1/a/b/c.txt"


@given(sandbox_id=SEGMENT, session_id=SEGMENT, artifact_id=ARTIFACT)
@example(sandbox_id="grid", session_id="grid", artifact_id="grid/grid/grid/grid")
@example(sandbox_id="...", session_id=" ", artifact_id=".../.a/a.")
def test_parse_undoes_generate(sandbox_id: str, session_id: str, artifact_id: str) -> None:
    """For any sandbox, and whichever manager parses; the second time the prefix comes from the cache."""
    mine, other = manager_of(sandbox_id), SessionManager("other")
    parts = {"sandbox_id": sandbox_id, "session_id": session_id, "artifact_id": artifact_id}
    for _ in range(2):
        key = mine.generate_artifact_key(session_id, artifact_id)
        assert key == f"grid/{sandbox_id}/{session_id}/{artifact_id}"
        assert other.parse_grid_key(key) == parts
        assert key.startswith(mine.get_canonical_prefix(session_id))
        assert key.startswith(mine.get_session_prefix_pattern())


@given(PATHS)
def test_generate_undoes_parse(path: str) -> None:
    """What parses was built from valid parts: there is no second spelling of a path."""
    parts = SessionManager("other").parse_grid_key(path)
    if parts is None:
        return
    rebuilt = manager_of(parts["sandbox_id"]).generate_artifact_key(parts["session_id"], parts["artifact_id"])
    assert rebuilt == path


@given(st.lists(st.tuples(SEGMENT, SEGMENT, ARTIFACT), min_size=2, max_size=2, unique=True))
def test_different_parts_give_different_paths(pair: list[tuple[str, str, str]]) -> None:
    paths = {manager_of(sandbox).generate_artifact_key(session, artifact) for sandbox, session, artifact in pair}
    assert len(paths) == 2


@pytest.mark.parametrize("path", NO_PATHS, ids=repr)
def test_what_is_no_grid_path(manager: SessionManager, path: Any) -> None:
    assert manager.parse_grid_key(path) is None


@pytest.mark.parametrize("session_id", NO_SEGMENTS, ids=repr)
def test_session_ids_that_are_no_segment(manager: SessionManager, session_id: Any) -> None:
    """Refused by name, the second time too: nothing of it was cached."""
    error = ValueError if isinstance(session_id, str) else TypeError
    for _ in range(2):
        with pytest.raises(error, match=r"^session_id must"):
            manager.get_canonical_prefix(session_id)
        with pytest.raises(error, match=r"^session_id must"):
            manager.generate_artifact_key(session_id, "artifact")
        with pytest.raises(error, match=r"^session_id must"):
            manager.generate_artifact_key(session_id, "a/b")


@pytest.mark.parametrize("artifact_id", NO_ARTIFACTS, ids=repr)
def test_artifact_ids_that_are_no_path(manager: SessionManager, artifact_id: Any) -> None:
    """Refused by name, whether the prefix is cached or not."""
    error = ValueError if isinstance(artifact_id, str) else TypeError
    for _ in range(2):
        with pytest.raises(error, match=r"^artifact_id must"):
            manager.generate_artifact_key("session", artifact_id)
        manager.get_canonical_prefix("session")


@given(SEGMENT, st.sampled_from([part for part in NO_ARTIFACTS if isinstance(part, str)]), ARTIFACT)
def test_no_path_leaves_its_session(session_id: str, bad: str, artifact_id: str) -> None:
    """However a bad segment is put into an artifact id, it is refused."""
    assume(bad not in ("", "/"))
    manager = SessionManager("webapp")
    for artifact in (bad, f"{bad}/{artifact_id}", f"{artifact_id}/{bad}"):
        with pytest.raises(ValueError, match="artifact_id"):
            manager.generate_artifact_key(session_id, artifact)
        assert manager.parse_grid_key(f"grid/webapp/{session_id}/{artifact}") is None


def test_the_cache_of_prefixes_is_bounded(manager: SessionManager) -> None:
    """However many sessions have paths made, only so many prefixes are kept, and all paths are right."""
    for number in range(3 * PREFIX_CACHE_SIZE):
        session_id = f"sess-{number}"
        assert manager.generate_artifact_key(session_id, "doc") == f"grid/webapp/{session_id}/doc"
        assert len(manager._prefixes) <= PREFIX_CACHE_SIZE
    assert manager.generate_artifact_key("sess-0", "doc") == "grid/webapp/sess-0/doc"


def test_a_prefix_is_made_once(manager: SessionManager) -> None:
    assert manager.get_canonical_prefix("sess-1") is manager.get_canonical_prefix("sess-1")


def test_a_member_of_a_str_enum_does_not_spoil_the_cache(manager: SessionManager) -> None:
    """Such a member equals its text but may print as something else: the paths of the text stay right."""

    class Known(str, Enum):  # noqa: UP042 (StrEnum prints as its text)
        FIRST = "sess-1"

    manager.get_canonical_prefix(Known.FIRST)
    assert manager.get_canonical_prefix("sess-1") == "grid/webapp/sess-1/"


def test_ids_that_are_too_long(manager: SessionManager) -> None:
    """No session can have them, and the cache of prefixes stays small."""
    assert manager.get_canonical_prefix("é" * 512) == f"grid/webapp/{'é' * 512}/"
    for session_id in ("x" * 1025, "é" * 513, "\ud800" * 342):
        with pytest.raises(ValueError, match=r"^session_id must be at most 1024 bytes"):
            manager.get_canonical_prefix(session_id)
        with pytest.raises(ValueError, match=r"^session_id must be at most 1024 bytes"):
            manager.generate_artifact_key(session_id, "doc")


def test_neither_part_has_to_exist(manager: SessionManager) -> None:
    """Making a path asks no storage."""
    assert manager.generate_artifact_key("never allocated", "doc") == "grid/webapp/never allocated/doc"
