"""Which sandbox a manager takes, and what it leaves in the environment for others."""

from __future__ import annotations

import os
import re
from typing import Any

import pytest

from chuk_sessions import SessionManager

BAD_NAMES = ("", ".", "..", "a/b", "/", "a/")


def test_the_argument_comes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHUK_SANDBOX_ID", "from-env")
    monkeypatch.setenv("CHUK_HOST_SANDBOX_ID", "from-host")
    assert SessionManager("given").sandbox_id == "given"


def test_then_the_sandbox_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHUK_SANDBOX_ID", "from-env")
    monkeypatch.setenv("CHUK_HOST_SANDBOX_ID", "from-host")
    assert SessionManager().sandbox_id == "from-env"


@pytest.mark.parametrize("unset", [None, ""])
def test_then_the_host_variable(monkeypatch: pytest.MonkeyPatch, unset: str | None) -> None:
    """An empty variable is an unset one."""
    if unset is not None:
        monkeypatch.setenv("CHUK_SANDBOX_ID", unset)
    monkeypatch.setenv("CHUK_HOST_SANDBOX_ID", "from-host")
    assert SessionManager().sandbox_id == "from-host"


def test_then_a_random_one() -> None:
    """Eight hex digits, other ones each time there is nothing to go by."""
    names = set()
    for _ in range(5):
        os.environ.pop("CHUK_SANDBOX_ID", None)
        names.add(SessionManager().sandbox_id)
    assert len(names) == 5
    assert all(re.fullmatch("sandbox-[0-9a-f]{8}", name) for name in names)


@pytest.mark.parametrize("argument", [None, "given"])
def test_the_choice_is_left_to_others(argument: str | None) -> None:
    """The chosen name stays in CHUK_SANDBOX_ID if that was unset, so the next manager takes it too."""
    manager = SessionManager(argument)
    assert os.environ["CHUK_SANDBOX_ID"] == manager.sandbox_id
    assert SessionManager().sandbox_id == manager.sandbox_id


@pytest.mark.parametrize("host", ["host", ""])
def test_the_host_variable_is_left_to_others_too(monkeypatch: pytest.MonkeyPatch, host: str) -> None:
    monkeypatch.setenv("CHUK_SANDBOX_ID", "")
    monkeypatch.setenv("CHUK_HOST_SANDBOX_ID", host)
    assert SessionManager().sandbox_id == os.environ["CHUK_SANDBOX_ID"]
    assert os.environ["CHUK_HOST_SANDBOX_ID"] == host


def test_a_variable_that_is_set_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHUK_SANDBOX_ID", "theirs")
    SessionManager("given")
    assert os.environ["CHUK_SANDBOX_ID"] == "theirs"


@pytest.mark.parametrize("name", [*BAD_NAMES, 5, b"a", ["a"]], ids=repr)
def test_an_argument_that_is_no_path_segment(monkeypatch: pytest.MonkeyPatch, name: Any) -> None:
    """It is refused by name, and nothing is left behind."""
    error = ValueError if isinstance(name, str) else TypeError
    with pytest.raises(error, match=r"^sandbox_id must"):
        SessionManager(name)
    monkeypatch.setenv("CHUK_HOST_SANDBOX_ID", "not asked for")
    with pytest.raises(error, match=r"^sandbox_id must"):
        SessionManager(name)
    assert "CHUK_SANDBOX_ID" not in os.environ


@pytest.mark.parametrize("variable", ["CHUK_SANDBOX_ID", "CHUK_HOST_SANDBOX_ID"])
@pytest.mark.parametrize("name", [name for name in BAD_NAMES if name])
def test_a_variable_that_is_no_path_segment(monkeypatch: pytest.MonkeyPatch, variable: str, name: str) -> None:
    """The message names the variable, not an argument that nobody gave."""
    monkeypatch.setenv(variable, name)
    with pytest.raises(ValueError, match=rf"^{variable} must"):
        SessionManager()


async def test_odd_names_work(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("a b", "a:b", "{a}", "ключ", "a%2Fb", "*", "...", "grid"):
        manager = SessionManager(name)
        session_id = await manager.allocate_session(user_id="alice")
        assert await manager.validate_session(session_id)
        key = manager.generate_artifact_key(session_id, "doc")
        assert manager.parse_grid_key(key) == {"sandbox_id": name, "session_id": session_id, "artifact_id": "doc"}


def test_a_name_that_the_environment_cannot_hold() -> None:
    """It is a sandbox like any other, and is not left to others."""
    assert SessionManager("a\0b").get_session_prefix_pattern() == "grid/a\0b/"
    assert "CHUK_SANDBOX_ID" not in os.environ


def test_repr_tells_sandbox_and_hours() -> None:
    assert repr(SessionManager("box", default_ttl_hours=2)) == "SessionManager(sandbox_id='box', default_ttl_hours=2)"
