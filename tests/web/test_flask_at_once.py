"""Requests of Flask over a connection of the caller's own: what the short way to a change must not forget."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

pytest.importorskip("flask", reason="Flask is not installed")

from flask import Flask
from flask import session as their_session
from flask.testing import FlaskClient

from chuk_sessions import SessionManager
from chuk_sessions.providers import redis
from chuk_sessions.redis_client import direct as direct_module
from chuk_sessions.redis_client.direct import Direct, direct_of
from chuk_sessions.web import flask as flask_module
from chuk_sessions.web.blocking import SyncSessionManager, update_at_once
from chuk_sessions.web.flask import ChukSessions, FlaskSession
from tests.support.helpers import wait_until
from tests.support.interruptions import interruptions
from tests.support.servers import RedisServer

pytestmark = pytest.mark.redis

View = Callable[[FlaskSession], object]


class Site:
    """An application whose views are functions of the session, and a browser that has filled its session."""

    def __init__(self, url: str, manager: Any = None, **options: Any) -> None:
        self.manager: SessionManager = manager or SessionManager(
            "shop", redis.factory(url), strict=True, opaque_ids=True
        )
        self.app = Flask(__name__)
        self.app.config.update(SESSION_COOKIE_SECURE=True, PROPAGATE_EXCEPTIONS=False)
        ChukSessions(self.app, self.manager, **options)
        self.view: View = lambda session: session.update(user="alice", cart=[{"n": 1}], old=1)
        self.app.get("/")(self._serve)
        self.client: FlaskClient = self.app.test_client()
        self.client.get("/")
        wait_until(lambda: self.visit(dict) == 200 and self.direct._wire is not None)

    def _serve(self) -> str:
        self.view(their_session._get_current_object())  # type: ignore[attr-defined]
        return ""

    def visit(self, view: View) -> int:
        """Send a request; return the status of the response."""
        self.view = view
        return self.client.get("/").status_code

    @property
    def direct(self) -> Direct:
        found = direct_of(self.manager.session_factory._client)
        assert found is not None
        return found

    @property
    def session_id(self) -> str:
        cookie = self.client.get_cookie("__Host-session")
        assert cookie is not None
        return cookie.value

    def stored(self) -> Any:
        found = SyncSessionManager(self.manager).get_session_info(self.session_id)
        return None if found is None else found["custom_metadata"]


FILLED: dict[str, Any] = {"user": "alice", "cart": [{"n": 1}], "old": 1}


@pytest.fixture
def site(own_server: RedisServer, monkeypatch: pytest.MonkeyPatch) -> Site:
    """A lost connection is replaced with the next call."""
    monkeypatch.setattr(direct_module, "PAUSE", 0.0)
    return Site(f"{own_server.url}?socket_timeout=1&reconnect_grace=0.1")


def put(**data: Any) -> View:
    return lambda session: session.update(data)


def test_a_change_takes_two_commands_and_no_loop(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether a scalar changes or something inside a list; what is equal is not written."""

    def grow(session: FlaskSession) -> None:
        session["cart"][0]["n"] += 1

    site.visit(put(old=1.5))  # the server may lack the script
    written = site.direct.written
    monkeypatch.setattr(Direct, "run", None)
    assert site.visit(put(old=2)) == 200
    assert site.visit(grow) == 200
    assert site.visit(put(old=2, cart=[{"n": 2}])) == 200
    assert site.direct.written == written + 5
    assert site.visit(lambda session: session.get("user")) == 200
    monkeypatch.undo()
    assert site.stored() == FILLED | {"old": 2, "cart": [{"n": 2}]}


def test_removed_keys_and_a_cleared_session(site: Site) -> None:
    """Both are stored so; a cleared session ends."""

    def swap(session: FlaskSession) -> None:
        session["new"] = session.pop("old")

    def start_anew(session: FlaskSession) -> None:
        session.clear()
        session["a"] = 1

    before = site.session_id
    assert site.visit(swap) == 200
    assert site.stored() == {"user": "alice", "cart": [{"n": 1}], "new": 1}
    assert site.visit(start_anew) == 200
    assert site.stored() == {"a": 1}
    assert site.visit(lambda session: session.clear()) == 200
    assert SyncSessionManager(site.manager).get_session_info(before) is None


def test_a_list_that_another_thread_changes_during_the_write(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """The store has the list as it was compared, and a later request finds the difference."""
    kept: list[Any] = []

    def slow(*args: Any) -> bool:
        with ThreadPoolExecutor(1) as pool:
            pool.submit(kept[0]["cart"].append, "late").result()
        return update_at_once(*args)

    def change(session: FlaskSession) -> None:
        kept.append(session)
        session["cart"] = ["early"]

    with monkeypatch.context() as patch:
        patch.setattr(flask_module, "update_at_once", slow)
        assert site.visit(change) == 200
    assert site.stored()["cart"] == ["early"]
    assert kept[0]._stored.is_changed(kept[0]._plain())


@pytest.mark.parametrize("value", ["x" * 1000, object()], ids=["large", "object"])
def test_what_cannot_be_stored(own_server: RedisServer, value: Any) -> None:
    """Is an error, and nothing is stored: of the other keys neither."""
    site = Site(own_server.url, max_bytes=500)
    assert site.visit(put(a=1, b=value)) == 500
    assert site.stored() == FILLED


def test_a_session_that_ended_elsewhere(site: Site) -> None:
    """Is not brought back."""
    before = site.session_id

    def end_and_change(session: FlaskSession) -> None:
        SyncSessionManager(site.manager).delete_session(before)
        session["late"] = 1

    assert site.visit(end_and_change) == 200
    assert SyncSessionManager(site.manager).get_session_info(before) is None


def test_a_session_that_got_a_new_id_elsewhere(site: Site) -> None:
    """With a grace the change reaches it."""
    new: list[str | None] = []

    def renew_and_change(session: FlaskSession) -> None:
        new.append(SyncSessionManager(site.manager).renew_session(session.id or "", grace_seconds=60))
        session["late"] = 1

    assert site.visit(renew_and_change) == 200
    found = SyncSessionManager(site.manager).get_session_info(new[0] or "")
    assert found is not None
    assert found["custom_metadata"] == FILLED | {"late": 1}
    assert site.visit(put(later=2)) == 200  # under the old id
    assert site.stored() == FILLED | {"late": 1, "later": 2}


@pytest.mark.parametrize("on_outage", ["503", "empty"])
def test_an_outage_amid_a_request(own_server: RedisServer, on_outage: Any) -> None:
    """Is a 503, or is passed over, as configured; no turn is left taken."""
    site = Site(f"{own_server.url}?socket_timeout=1&reconnect_grace=0.1", on_outage=on_outage)

    def fail(session: FlaskSession) -> None:
        own_server.kill()
        session["lost"] = 1

    direct = site.direct
    assert site.visit(fail) == (503 if on_outage == "503" else 200)
    assert not direct._turn.locked()
    assert site.visit(put(lost=2)) == (503 if on_outage == "503" else 200)
    own_server.restart()


def test_an_interruption_amid_the_write(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """Leaves no lock taken, and what was not noted as written is written by the next save."""
    kept: list[FlaskSession] = []
    exchange = site.direct._exchange

    def interrupted(*args: Any) -> None:
        exchange(*args)
        raise KeyboardInterrupt

    def change(session: FlaskSession) -> None:
        kept.append(session)
        session["n"] = 1
        monkeypatch.setattr(Direct, "_exchange", lambda self, *args: interrupted(*args))

    with pytest.raises(KeyboardInterrupt):
        site.visit(change)
    monkeypatch.undo()
    assert not site.direct._turn.locked()
    assert not kept[0]._guard.locked()
    assert kept[0]._stored.is_changed(kept[0]._plain())
    kept[0].save()
    assert site.stored() == FILLED | {"n": 1}


def test_an_interruption_before_the_write(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """A later save writes what the session has by then."""
    kept: list[FlaskSession] = []

    def interrupted(*args: Any) -> None:
        raise KeyboardInterrupt

    def change(session: FlaskSession) -> None:
        kept.append(session)
        session["n"] = 1

    with monkeypatch.context() as patch:
        patch.setattr(FlaskSession, "_wait_for_end", interrupted)
        with pytest.raises(KeyboardInterrupt):
            site.visit(change)
    kept[0]["n"] = 2
    kept[0].save()
    assert site.stored() == FILLED | {"n": 2}


def test_an_exception_at_every_step_of_a_request(site: Site) -> None:
    """Leaves nothing taken. A change is made whole or not at all, and a later save writes what is there by then."""
    for number, interruption in enumerate(interruptions()):
        wait_until(lambda: site.visit(dict) == 200 and site.direct._wire is not None)
        kept: list[FlaskSession] = []

        def change(session: FlaskSession, number: int = number, kept: list[FlaskSession] = kept) -> None:
            kept.append(session)
            session.update(a=number, b=[number])

        with interruption:
            site.visit(change)
        assert not site.direct._turn.locked()
        stored = site.stored()
        assert stored.get("b") == ([stored["a"]] if "a" in stored else None)
        for session in kept:
            assert not session._guard.locked()
            session.update(a=number, b=[number], c=number)
            session.save()
            assert site.stored() == FILLED | {"a": number, "b": [number], "c": number}


def test_another_thread_that_is_using_the_session(site: Site) -> None:
    """Is waited for: its increment is not lost, and the change of the request neither."""

    def both(session: FlaskSession) -> None:
        with ThreadPoolExecutor(4) as pool:
            counts = [pool.submit(session.increment, "n") for _ in range(4)]
            session["mine"] = 1
            session.save()
            assert sorted(each.result() or 0 for each in counts) == [1, 2, 3, 4]

    assert site.visit(both) == 200
    assert site.stored() == FILLED | {"n": 4, "mine": 1}


def test_another_thread_that_uses_the_session_while_the_request_ends(site: Site, own_server: RedisServer) -> None:
    """Keeps what it has counted: the request writes its own change only."""
    jobs: list[Any] = []

    def count_late(session: FlaskSession) -> None:
        session.increment("n")
        session["mine"] = 1
        own_server.pause()
        jobs.append(pool.submit(session.increment, "n"))
        wait_until(session._guard.locked)
        jobs.append(pool.submit(resume_at_the_end, session))

    def resume_at_the_end(session: FlaskSession) -> None:
        try:
            wait_until(lambda: session._was_modified)  # what is to be stored has been found
        finally:
            own_server.resume()

    with ThreadPoolExecutor(2) as pool:
        assert site.visit(count_late) == 200
        assert jobs[0].result() == 2
    assert site.stored() == FILLED | {"n": 2, "mine": 1}
