"""Logins: whose session it is, new keys, limits, the idle time, and the pages of the administration."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

pytest.importorskip("django", reason="Django is not installed")

from django.http import HttpResponse
from django.test import Client, RequestFactory

from chuk_sessions.django import (
    SessionMiddleware,
    SessionStore,
    UserSession,
    aend_sessions,
    asessions_of,
    end_sessions,
    get_manager,
    sessions_of,
)
from chuk_sessions.exceptions import StorageError
from chuk_sessions.web.blocking import run
from tests.django import project
from tests.django.conftest import Setting
from tests.support.groups import PATIENCE

COOKIE = "sessionid"


def alice() -> Any:
    return project.user("alice")


def key_of(client: Client) -> str:
    key: str = client.cookies[COOKIE].value
    return key


def who(client: Client) -> str:
    return str(client.get("/who").content, "utf-8")


def logged_in(name: str = "alice") -> Client:
    client = Client()
    assert client.get(f"/login/{name}").status_code == 200
    return client


def test_a_login(client: Client) -> None:
    """Ends the key that the visitor had, keeps the cart, and the session is the user's from then on."""
    client.get("/put/cart/tea")
    before = key_of(client)
    client.get("/login/alice")
    assert key_of(client) != before
    assert not SessionStore().exists(before)
    assert client.get("/read").json()["data"]["cart"] == "tea"
    assert [each.session_key for each in sessions_of(alice())] == [key_of(client)]
    assert who(client) == "alice"


def test_a_logout(client: Client) -> None:
    """Ends the session at once, and the browser forgets the cookie."""
    client.get("/login/alice")
    key = key_of(client)
    answer = client.get("/logout")
    assert answer.cookies[COOKIE]["max-age"] == 0
    assert not SessionStore().exists(key)
    assert sessions_of(alice()) == []
    assert who(client) == "nobody"


def test_another_user(client: Client) -> None:
    """Gets a session of his own in that browser, without the data of the first."""
    client.get("/login/alice")
    client.get("/put/secret/1")
    key = key_of(client)
    client.get("/login/bob")
    assert who(client) == "bob"
    assert "secret" not in client.get("/read").json()["data"]
    assert not SessionStore().exists(key)
    assert len(sessions_of(project.user("bob"))) == 1


def test_the_user_of_a_session_may_be_changed_by_hand(setting: Setting) -> None:
    """Or taken out of it: it moves to another key, with its data."""
    session = SessionStore()
    owners = ("7", "8", None, 9)
    for owner in owners:
        before = session.session_key
        session["a"] = 1
        session.pop("_auth_user_id", None)
        if owner is not None:
            session["_auth_user_id"] = owner
        session.save()
        assert session.session_key != before
        info: Any = run(get_manager().get_session_info(session.session_key))
        assert (info["user_id"], info["custom_metadata"]["a"]) == (None if owner is None else str(owner), 1)
        assert run(get_manager().count_sessions()) == 1


@pytest.mark.parametrize("method", ["set_session_ttl", "update_session_metadata", "renew_session"])
def test_a_login_whose_save_fails(setting: Setting, monkeypatch: pytest.MonkeyPatch, method: str) -> None:
    """Leaves the visitor the session: the key that the browser has finds the cart, and the login can be tried again."""
    session = SessionStore()
    session.update({"cart": "tea", "seen": 1})
    session.set_expiry(3600)
    session.save()

    async def fail(*args: Any, **options: Any) -> Any:
        raise StorageError("down")

    with monkeypatch.context() as down:
        down.setattr(get_manager(), method, fail)
        session["_auth_user_id"] = "7"
        del session["seen"]
        session.set_expiry(60)
        with pytest.raises(StorageError):
            session.save()
    assert SessionStore(session.session_key)["cart"] == "tea"
    session.save()
    assert set(SessionStore(session.session_key).load()) == {"cart", "_auth_user_id", "_session_expiry"}
    (found,) = sessions_of("7")
    assert found.session_key == session.session_key
    assert found.expires_at - datetime.now(UTC) < timedelta(seconds=61)


def test_a_save_that_changes_the_key_before_an_error(setting: Setting) -> None:
    """Is told to the browser, whose old key has ended: the session would be lost."""
    session = SessionStore()
    session["cart"] = "tea"
    session.save()

    def view(request: Any) -> HttpResponse:
        request.session["_auth_user_id"] = "7"
        request.session.save()
        return HttpResponse("x", status=500)

    request = RequestFactory().get("/")
    request.COOKIES[COOKIE] = session.session_key
    answer: Any = SessionMiddleware(view)(request)
    assert SessionStore(answer.cookies[COOKIE].value)["cart"] == "tea"


def test_a_new_password(client: Client) -> None:
    """Keeps the browser in which it was changed, under a new key; the others are anonymous."""
    other = logged_in("bob")
    client.get("/login/bob")
    before = key_of(client)
    client.get("/password", {"password": project.PASSWORD})
    assert key_of(client) != before
    assert not SessionStore().exists(before)
    assert (who(client), who(other)) == ("bob", "nobody")


def test_log_out_elsewhere(client: Client) -> None:
    """All but this browser, whichever way it is named."""
    client.get("/login/alice")
    others = [logged_in() for _ in range(2)]
    assert len(sessions_of(alice().pk)) == 3
    assert client.get("/logout-elsewhere").json() == {"ended": 2}
    assert [who(each) for each in (client, *others)] == ["alice", "nobody", "nobody"]
    logged_in()
    assert end_sessions(alice(), keep=[key_of(client), SessionStore()]) == 1
    assert end_sessions(alice(), keep=key_of(client)) == 0
    with pytest.raises(TypeError, match="keep"):
        end_sessions(alice(), keep=1)
    assert end_sessions(alice().pk) == 1
    assert who(client) == "nobody"


async def test_the_sessions_of_a_user(setting: Setting) -> None:
    """Have times with a zone and the data, and never show their keys."""
    session = SessionStore()
    session.update({"_auth_user_id": "7", "ip": "127.0.0.1"})
    await session.asave()
    (found,) = await asessions_of(7)
    assert isinstance(found, UserSession)
    assert found.session_key == session.session_key
    assert found.data["ip"] == "127.0.0.1"
    assert datetime.now(UTC) - found.created_at < timedelta(minutes=1)
    assert found.created_at <= found.last_accessed < found.expires_at
    assert found.session_key not in repr(found)
    assert len(found.fingerprint) == 8
    assert await aend_sessions(7) == 1
    assert await asessions_of(7) == []


def test_sessions_per_user(setting: Setting, override: Callable[..., None]) -> None:
    """The oldest ends when there are too many."""
    override(CHUK_SESSIONS=setting | {"MAX_PER_USER": 2})
    clients = [logged_in() for _ in range(3)]
    assert [who(each) for each in clients] == ["nobody", "alice", "alice"]


def test_the_idle_time(setting: Setting, override: Callable[..., None]) -> None:
    """Is in the session, and ends it if no request comes."""
    override(CHUK_SESSIONS=setting | {"IDLE_MINUTES": 5})
    info: Any = run(get_manager().get_session_info(key_of(logged_in())))
    idle_end = datetime.fromisoformat(info["idle_expires_at"])
    assert timedelta(minutes=4) < idle_end - datetime.now(UTC) < timedelta(minutes=8)

    override(CHUK_SESSIONS=setting | {"IDLE_MINUTES": 0.002})
    client = logged_in()
    deadline = time.monotonic() + PATIENCE
    while SessionStore().exists(key_of(client)):
        assert time.monotonic() < deadline
    assert who(client) == "nobody"


def test_the_test_client(client: Client) -> None:
    """`force_login`, `login` and `logout` are as in Django."""
    client.force_login(alice())
    assert who(client) == "alice"
    assert len(sessions_of(alice())) == 1
    client.logout()
    assert who(client) == "nobody"
    assert sessions_of(alice()) == []
    assert client.login(username="bob", password=project.PASSWORD)
    assert client.session["_auth_user_id"] == str(project.user("bob").pk)


def test_the_administration(client: Client) -> None:
    """Its login, a page, and its logout."""
    answer = client.post("/admin/login/?next=/admin/", {"username": "alice", "password": project.PASSWORD}, follow=True)
    assert answer.status_code == 200
    assert b"Site administration" in answer.content
    assert len(sessions_of(alice())) == 1
    assert client.post("/admin/logout/").status_code == 200
    assert sessions_of(alice()) == []
    assert client.get("/admin/").status_code == 302


def test_an_error_after_a_login(client: Client) -> None:
    """Logs nobody in, but the browser gets the new key: the old one finds nothing any more, and the cart is there."""
    client.get("/put/cart/tea")
    before = key_of(client)
    assert client.get("/login-and-fail/alice").status_code == 500
    assert key_of(client) != before
    assert client.get("/read").json()["data"] == {"cart": "tea"}
    assert who(client) == "nobody"
