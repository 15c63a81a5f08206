"""`manage.py chuk_sessions` and `manage.py clearsessions`."""

from __future__ import annotations

from collections.abc import Callable
from io import StringIO
from typing import Any

import pytest

pytest.importorskip("django", reason="Django is not installed")

from django.core.management import CommandError, call_command

from chuk_sessions.django import SessionStore, sessions_of
from chuk_sessions.ids import fingerprint
from tests.django import project
from tests.django.conftest import Setting


def manage(*arguments: str) -> str:
    out = StringIO()
    call_command(*arguments, stdout=out)
    return out.getvalue()


def saved(user: Any = None) -> SessionStore:
    made = SessionStore()
    made.update({} if user is None else {"_auth_user_id": str(user)})
    made.save()
    return made


def test_count_list_and_end(setting: Setting) -> None:
    """No key is printed whole."""
    alice = project.user("alice")
    assert manage("chuk_sessions", "count") == "0\n"
    visitor, first, second = saved(), saved(alice.pk), saved(alice.pk)
    assert manage("chuk_sessions", "count") == "3\n"
    text = manage("chuk_sessions", "list")
    assert len(text.splitlines()) == 3
    for session in (visitor, first, second):
        assert session.session_key[5:] not in text
        assert fingerprint(session.session_key) in text
    assert f"{fingerprint(visitor.session_key)}  user -  created_at 2" in text
    for option in (["--user", str(alice.pk)], ["--username", "alice"]):
        assert len(manage("chuk_sessions", "list", *option).splitlines()) == 2
    assert len(manage("chuk_sessions", "list", "--limit", "1").splitlines()) == 1
    assert manage("chuk_sessions", "end", "--username", "alice") == f"2 sessions of user {alice.pk} have ended\n"
    assert sessions_of(alice) == []
    assert manage("chuk_sessions", "count") == "1\n"


def test_errors(setting: Setting) -> None:
    """A user that is not there, and an end of nobody's sessions."""
    with pytest.raises(CommandError, match="no user 'carol'"):
        manage("chuk_sessions", "list", "--username", "carol")
    with pytest.raises(CommandError, match="--user"):
        manage("chuk_sessions", "end")
    with pytest.raises(CommandError, match="action"):
        manage("chuk_sessions")


def test_an_outage(override: Callable[..., None]) -> None:
    """Is an error with its reason."""
    override(CHUK_SESSIONS={"URL": "redis://127.0.0.1:1/0"})
    with pytest.raises(CommandError, match="could not count the sessions"):
        manage("chuk_sessions", "count")


def test_clearsessions(setting: Setting, caplog: pytest.LogCaptureFixture) -> None:
    """Has nothing to do, and says so; no session ends."""
    made = saved()
    manage("clearsessions")
    assert "nothing to clear" in caplog.text
    assert made.exists(made.session_key)
