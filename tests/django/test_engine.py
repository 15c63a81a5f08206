"""The methods of a session, in both forms, with both kinds of serializers."""

from __future__ import annotations

import asyncio
import pickle
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

pytest.importorskip("django", reason="Django is not installed")

from django.contrib.sessions.backends.base import CreateError, UpdateError
from django.contrib.sessions.serializers import JSONSerializer

from chuk_sessions.django import SessionStore, get_manager, sessions_of
from chuk_sessions.exceptions import MetadataError
from chuk_sessions.ids import is_opaque
from chuk_sessions.web.blocking import run
from tests.django.conftest import Setting

DAY = 24 * 3600


class Dates(JSONSerializer):
    """A serializer that is not the default: it writes dates, too."""

    def dumps(self, obj: Any) -> bytes:
        text: bytes = super().dumps({key: each.isoformat() if key == "day" else each for key, each in obj.items()})
        return text

    def loads(self, data: bytes) -> Any:
        found = super().loads(data)
        return {key: datetime.fromisoformat(each) if key == "day" else each for key, each in found.items()}


class Pickles:
    """The serializer that Django had until 5.0."""

    def dumps(self, obj: Any) -> bytes:
        return pickle.dumps(obj)

    def loads(self, data: bytes) -> Any:
        return pickle.loads(data)


class Friends(JSONSerializer):
    """A serializer that writes a user as the primary key, and reads the user from the database."""

    def dumps(self, obj: Any) -> bytes:
        text: bytes = super().dumps({key: each.pk if key == "friend" else each for key, each in obj.items()})
        return text

    def loads(self, data: bytes) -> Any:
        from django.contrib.auth.models import User

        found = super().loads(data)
        return {key: User.objects.get(pk=each) if key == "friend" else each for key, each in found.items()}


@pytest.fixture
def store(setting: Setting) -> type[SessionStore]:
    return SessionStore


@pytest.fixture(params=["default", "another"])
def any_serializer(request: pytest.FixtureRequest, override: Callable[..., None], setting: Setting) -> str:
    if request.param == "another":
        override(SESSION_SERIALIZER=f"{__name__}.Dates")
    serializer: str = request.param
    return serializer


def new(**data: Any) -> SessionStore:
    made = SessionStore()
    made.update(data)
    made.save()
    return made


def stored(session: SessionStore) -> Any:
    return run(get_manager().get_session_info(session.session_key))


@pytest.mark.usefixtures("any_serializer")
def test_what_is_saved_is_loaded() -> None:
    """Under a key of our form, whatever changes in it."""
    made = new(a=[1, {"b": None}], c="x")
    assert is_opaque(made.session_key)
    again = SessionStore(made.session_key)
    assert dict(again.items()) == {"a": [1, {"b": None}], "c": "x"}
    again["a"].append(2)
    del again["c"]
    again.save()
    assert dict(SessionStore(made.session_key).items()) == {"a": [1, {"b": None}, 2]}


def test_each_key_is_stored_by_itself(store: type[SessionStore]) -> None:
    """So two objects of one session keep each other's changes, also when one deletes a key."""
    made = new(a=1, b=1)
    assert stored(made)["custom_metadata"] == {"a": 1, "b": 1}
    one, two = store(made.session_key), store(made.session_key)
    one["c"], two["d"] = 1, 1
    del two["b"]
    one.save()
    two.save()
    assert stored(made)["custom_metadata"] == {"a": 1, "c": 1, "d": 1}


def test_another_serializer_writes_one_signed_text(setting: Setting, override: Callable[..., None]) -> None:
    """Of any type that it knows; a change of the text by others is no session."""
    override(SESSION_SERIALIZER=f"{__name__}.Dates")
    day = datetime(2026, 5, 4, tzinfo=UTC)
    made = new(day=day)
    assert SessionStore(made.session_key)["day"] == day
    ((name, text),) = stored(made)["custom_metadata"].items()
    run(get_manager().update_session_metadata(made.session_key, {name: text[:-1] + "!"}))
    assert dict(SessionStore(made.session_key).items()) == {}


def test_a_project_may_change_its_serializer(setting: Setting, override: Callable[..., None]) -> None:
    """What both can read goes on."""
    made = new(a=1)
    override(SESSION_SERIALIZER=f"{__name__}.Dates")
    session = SessionStore(made.session_key)
    session["b"] = 2
    session.save()
    assert "a" not in stored(made)["custom_metadata"]
    override(SESSION_SERIALIZER="django.contrib.sessions.serializers.JSONSerializer")
    session = SessionStore(made.session_key)
    session["c"] = 3
    session.save()
    assert stored(made)["custom_metadata"] == {"a": 1, "b": 2, "c": 3}


def test_a_serializer_may_ask_the_database(setting: Setting, override: Callable[..., None]) -> None:
    """As pickle does for what Django has not read yet. Django forbids it in an event loop."""
    from django.contrib.auth.models import User

    override(SESSION_SERIALIZER=f"{__name__}.Pickles")
    session = SessionStore()
    for save in (session.save, session.save, session.create):
        session["users"] = User.objects.order_by("pk")
        save()
        assert [each.username for each in SessionStore(session.session_key)["users"]] == ["alice", "bob"]


def test_a_serializer_may_ask_the_database_for_each_session_of_a_user(
    setting: Setting, override: Callable[..., None]
) -> None:
    """In the thread of the caller, too."""
    from django.contrib.auth.models import User

    override(SESSION_SERIALIZER=f"{__name__}.Friends")
    friend = User.objects.get(username="bob")
    new(friend=friend, _auth_user_id="7")
    assert [each.data["friend"] for each in sessions_of("7")] == [friend]


@pytest.mark.usefixtures("any_serializer")
def test_a_session_that_has_ended_is_not_brought_back() -> None:
    """UpdateError, whether it was read before or not, and whether something differs or not."""
    for change in ({"b": 2}, {}):
        made = new(a=1)
        unread = SessionStore(made.session_key)
        SessionStore(made.session_key).delete()
        made.update(change)
        for session in (made, unread):
            with pytest.raises(UpdateError):
                session.save()
        assert not SessionStore().exists(made.session_key)


@pytest.mark.usefixtures("store")
def test_must_create() -> None:
    """A live session is an error; a key that finds none is not taken."""
    made = new(a=1)
    with pytest.raises(CreateError):
        made.save(must_create=True)
    made.delete()
    key = made.session_key
    made.save(must_create=True)
    assert made.session_key != key
    assert stored(made)["custom_metadata"] == {"a": 1}


@pytest.mark.usefixtures("store")
def test_what_cannot_be_stored() -> None:
    """Is an error that names the key; the session stays as it is."""
    made = new(a=1)
    made["b"] = 2
    made["when"] = datetime(2026, 5, 4, tzinfo=UTC)
    with pytest.raises(MetadataError, match="when"):
        made.save()
    assert stored(made)["custom_metadata"] == {"a": 1}


def left(session: SessionStore) -> float:
    """The seconds that it has to live."""
    return (datetime.fromisoformat(stored(session)["expires_at"]) - datetime.now(UTC)).total_seconds()


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (None, 14 * DAY),
        (0, 14 * DAY),  # until the browser is closed, but not for ever
        (300, 300),
        (timedelta(hours=2), 7200),
        (datetime(2999, 1, 1, tzinfo=UTC), 100 * 365.25 * DAY),  # the longest that there is
    ],
    ids=["usual", "browser", "seconds", "timedelta", "far"],
)
@pytest.mark.usefixtures("store")
def test_each_save_sets_the_lifetime(value: Any, seconds: float) -> None:
    """Later or earlier than it was."""
    for before in (DAY * 20, 60):
        made = SessionStore()
        made.set_expiry(before)
        made.save()
        made.set_expiry(value)
        made.save()
        assert seconds - 60 < left(made) <= seconds


@pytest.mark.usefixtures("store")
def test_a_lifetime_that_is_over() -> None:
    """Ends the session with the save; a new one is not stored at all."""
    made = new(a=1)
    made.set_expiry(-1)
    made.save()
    assert not SessionStore().exists(made.session_key)
    with pytest.raises(UpdateError):
        made.save()
    never = SessionStore()
    never.set_expiry(timedelta(seconds=-5))
    never.save()
    assert not SessionStore().exists(never.session_key)


@pytest.mark.usefixtures("store")
def test_a_new_key() -> None:
    """Finds the same data, and the old one nothing; changes are for the save."""
    made = new(a=1)
    old = made.session_key
    made["b"] = 2
    made.cycle_key()
    assert made.session_key != old
    assert not SessionStore().exists(old)
    assert stored(made)["custom_metadata"] == {"a": 1}
    made.save()
    assert stored(made)["custom_metadata"] == {"a": 1, "b": 2}


@pytest.mark.usefixtures("store")
def test_a_new_key_for_a_session_that_has_ended() -> None:
    """A visitor gets a new session without the old data; somebody who was logged out stays so."""
    visitor, alice = new(a=1), new(a=1, _auth_user_id="7")
    for session in (visitor, alice):
        SessionStore(session.session_key).delete()
        session.cycle_key()
    visitor.save()
    assert stored(visitor)["custom_metadata"] == {}
    with pytest.raises(UpdateError):
        alice.save()


@pytest.mark.usefixtures("store")
def test_a_login_by_hand_into_a_session_that_has_ended_or_is_taken() -> None:
    """Fails: the session of another user is not taken over, and nothing is brought back."""
    ended, taken = new(a=1), new(a=1)
    ended.delete()
    run(get_manager().renew_session(taken.session_key, 60, user_id="8"))
    for session in (ended, taken):
        session["_auth_user_id"] = "7"
        with pytest.raises(UpdateError):
            session.save()
    assert run(get_manager().list_user_sessions("7")) == []


@pytest.mark.usefixtures("store")
def test_a_new_key_for_no_session() -> None:
    """Is a session, as with Django's own engines."""
    made = SessionStore()
    made["a"] = 1
    made.cycle_key()
    assert stored(made)["custom_metadata"] == {"a": 1}


@pytest.mark.usefixtures("store")
def test_keys_that_are_not_ours() -> None:
    """Are found nowhere, and ended without an error."""
    for key in (None, "", "abc", "x" * 32, f"sess-{0:038x}", "x" * 5000):
        session = SessionStore(key)
        assert not session.exists(key)
        session.delete(key)
        assert session.load() == {}
        assert session.session_key is None


@pytest.mark.usefixtures("store")
async def test_clear_expired_does_nothing(caplog: pytest.LogCaptureFixture) -> None:
    """And says so."""
    SessionStore.clear_expired()
    await SessionStore.aclear_expired()
    assert caplog.text.count("nothing to clear") == 2


@pytest.mark.usefixtures("any_serializer")
async def test_asynchronous_methods() -> None:
    """Do the same in the loop of the caller."""
    made = SessionStore()
    await made.acreate()
    made["a"] = 1
    await made.asave()
    key = made.session_key
    assert await made.aexists(key)
    again = SessionStore(key)
    assert await again.aload() == {"a": 1}
    assert is_opaque(await again._aget_new_session_key())
    await again.acycle_key()
    assert not await made.aexists(key)
    with pytest.raises(UpdateError):
        await made.asave()
    with pytest.raises(CreateError):
        await again.asave(must_create=True)
    await again.aflush()
    assert (again.session_key, again.ended) == (None, True)
    await again.adelete(key)
    many = [SessionStore() for _ in range(20)]
    await asyncio.gather(*(each.acreate() for each in many))
    assert len({each.session_key for each in many}) == 20


@pytest.mark.usefixtures("store")
async def test_synchronous_methods_in_an_event_loop() -> None:
    """Work too: code that was not written for it does so."""
    made = new(a=1)
    assert SessionStore(made.session_key)["a"] == 1
    assert is_opaque(made._get_new_session_key())
