"""Events of sessions: what this process did, once, after it was done; and what memory did by itself."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any

import pytest

from chuk_sessions import SessionManager, StorageError
from chuk_sessions.exceptions import NotSent
from chuk_sessions.instrumentation import SessionEvent, SessionEvents
from chuk_sessions.instrumentation.events import EventStore
from chuk_sessions.providers import memory, redis
from chuk_sessions.providers.redis.binding import BIND, SETTLE
from chuk_sessions.providers.redis.scripts import CREATE
from chuk_sessions.providers.redis.sealed.binding import BIND_SEALED
from chuk_sessions.providers.redis.telling import telling, told
from chuk_sessions.stores import StoreWrapper, stack
from chuk_sessions.testing import Clock, StoreContract
from tests.support import custom_provider
from tests.support.failing_provider import failing_factory

if TYPE_CHECKING:
    from tests.support.cluster_servers import ClusterServers

KEY = b"0123456789abcdef"


class Diary:
    """A callback that writes down what it is told; references of known ids become these ids."""

    def __init__(self, **options: Any) -> None:
        self.events: list[SessionEvent] = []
        self.sink = SessionEvents(self.events.append, key=KEY, **options)

    def manager(self, factory: Any = None, sandbox_id: str = "box", **options: Any) -> SessionManager:
        factory = factory or memory.factory(memory.MemoryStore())
        return SessionManager(sandbox_id, factory, on_event=self.sink, strict=True, **options)

    def take(self, **ids: str) -> list[tuple[str, ...]]:
        """Type, session and reason of each event, in order; it is forgotten then."""
        names = {self.sink.ref(session_id): name for name, session_id in ids.items()}
        found = []
        for event in self.events:
            parts = event.type, names.get(event.session_ref, "?"), event.reason, names.get(event.previous_ref or "")
            found.append(tuple(part for part in parts if part is not None))
        self.events.clear()
        return found


class TestTold(StoreContract):
    """A store whose operations are told keeps its promises."""

    @pytest.fixture
    def clock(self) -> Clock:
        return Clock()

    @pytest.fixture
    def open_store(self, clock: Clock) -> Any:
        factory = memory.factory(memory.MemoryStore(clock=clock, wall_clock=clock))
        events = SessionEvents(lambda event: None)
        return lambda sandbox_id: events.wrap(factory.session_store(sandbox_id), sandbox_id)


@pytest.fixture
def factory(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Everything that can say which sessions it has ended."""
    kind = request.param
    if kind in ("memory", "wrapped"):
        plain = memory.factory(memory.MemoryStore())
        return plain if kind == "memory" else stack(plain, StoreWrapper)
    if kind == "legacy":
        monkeypatch.setenv("SESSION_LEGACY_READ", "1")
    return redis.factory(request.getfixturevalue("cluster_url" if kind == "cluster" else "redis_url"))


EVERYWHERE = pytest.mark.parametrize(
    "factory",
    ["memory", "wrapped", *(pytest.param(kind, marks=pytest.mark.redis) for kind in ("redis", "legacy", "cluster"))],
    indirect=True,
)


@EVERYWHERE
async def test_the_life_of_a_session(factory: Any) -> None:
    """Created once, renewed, ended; calls that change no life tell nothing."""
    diary = Diary()
    manager = diary.manager(factory)
    first = await manager.allocate_session("mine", user_id="alice")
    assert await manager.allocate_session("mine", user_id="alice") == first
    for call in (manager.validate_session, manager.open_session, manager.get_session_info):
        assert await call(first)
    await manager.extend_session_ttl(first, 1)
    second = await manager.renew_session(first, grace_seconds=60) or ""
    assert await manager.renew_session(first, grace_seconds=60) == second  # as with a retry: it is renewed already
    assert await manager.renew_session("unknown") is None
    assert await manager.delete_session(first)  # an alias
    assert not await manager.delete_session(second)
    assert diary.take(first=first, second=second) == [
        ("created", "first"),
        ("renewed", "second", "first"),
        ("ended", "second", "deleted"),
    ]


@EVERYWHERE
async def test_a_login_that_is_tried_again(factory: Any) -> None:
    """With a grace the second try gets the same id, and is no second renewal."""
    diary = Diary(include_user=True)
    manager = diary.manager(factory)
    guest = await manager.allocate_session()
    login = await manager.renew_session(guest, grace_seconds=60, user_id="alice") or ""
    assert await manager.renew_session(guest, grace_seconds=60, user_id="alice") == login
    assert [event.user_id for event in diary.events] == [None, "alice"]
    assert diary.take(guest=guest, login=login) == [("created", "guest"), ("renewed", "login", "guest")]


@EVERYWHERE
async def test_many_sessions(factory: Any) -> None:
    """Each once, whatever the call that ends it; those that stay are not told of."""
    diary = Diary(include_user=True)
    manager = diary.manager(factory)
    ids = {f"s{n}": str(each) for n, each in enumerate(await manager.allocate_sessions([{"user_id": "alice"}] * 5))}
    chosen = await manager.allocate_session("chosen", user_id="alice")
    other = await manager.allocate_session(user_id="bob")
    assert [event.user_id for event in diary.events] == ["alice"] * 6 + ["bob"]
    assert sorted(diary.take(**ids, chosen=chosen, other=other)) == sorted(
        ("created", name) for name in (*ids, "chosen", "other")
    )
    assert await manager.delete_sessions([ids["s0"], ids["s0"], "unknown"]) == [True, False, False]
    assert diary.take(**ids) == [("ended", "s0", "deleted")]
    assert await manager.delete_user_sessions("alice", keep=ids["s1"]) == 4
    assert {event.user_id for event in diary.events} == {"alice"}
    assert sorted(diary.take(**ids, chosen=chosen)) == sorted(
        ("ended", name, "user") for name in ("s2", "s3", "s4", "chosen")
    )


@EVERYWHERE
async def test_the_limit_of_a_user(factory: Any) -> None:
    """The oldest that a login ends is told before the new one; by a renewal as well."""
    diary = Diary(include_user=True)
    manager = diary.manager(factory, max_sessions_per_user=2)
    ids = {name: await manager.allocate_session(user_id="alice") for name in ("one", "two", "three")}
    assert {event.user_id for event in diary.events} == {"alice"}
    assert diary.take(**ids) == [
        ("created", "one"),
        ("created", "two"),
        ("ended", "one", "limit"),
        ("created", "three"),
    ]
    ids["guest"] = await manager.allocate_session()
    ids["login"] = await manager.renew_session(ids["guest"], user_id="alice") or ""
    assert diary.take(**ids) == [
        ("created", "guest"),
        ("ended", "two", "limit"),
        ("renewed", "login", "guest"),
    ]
    chosen = await manager.allocate_session("chosen", user_id="alice")  # on a cluster in another slot than its index
    assert diary.take(**ids, chosen=chosen) == [("ended", "three", "limit"), ("created", "chosen")]
    last = await manager.allocate_session(user_id="alice")
    assert diary.take(**ids, last=last) == [("ended", "login", "limit"), ("created", "last")]
    newest = await manager.allocate_session(user_id="alice")
    assert diary.take(chosen=chosen, newest=newest) == [("ended", "chosen", "limit"), ("created", "newest")]


async def test_expired_and_evicted() -> None:
    """In memory every end is told, each to the managers of its sandbox that live."""
    clock = Clock()
    factory = memory.factory(memory.MemoryStore(clock=clock, wall_clock=clock, max_items=2))
    diary, other = Diary(include_user=True), Diary()
    manager, elsewhere = diary.manager(factory), other.manager(factory, "other")
    hers = await elsewhere.allocate_session("hers")
    ids = {
        "long": await manager.allocate_session("long", user_id="alice", ttl_hours=3),
        "short": await manager.allocate_session("short", user_id="bob", ttl_hours=1),
        "new": await manager.allocate_session("new", ttl_hours=2),
    }
    assert diary.events[2].user_id == "bob"
    told = diary.take(**ids)
    assert told == [("created", "long"), ("created", "short"), ("ended", "short", "evicted"), ("created", "new")]
    clock.move(7201)
    again = await manager.allocate_session("new", ttl_hours=1)  # before anything has removed the expired one
    assert diary.take(new=again) == [("ended", "new", "expired"), ("created", "new")]
    clock.move(7201)
    assert await manager.cleanup_expired_sessions() == 2
    assert sorted(diary.take(**ids)) == [("ended", "long", "expired"), ("ended", "new", "expired")]
    assert other.take(hers=hers) == [("created", "hers")]


async def test_a_manager_that_is_gone_is_told_no_more() -> None:
    """Nor does the sandbox keep it."""
    import gc

    clock = Clock()
    factory = memory.factory(memory.MemoryStore(clock=clock, wall_clock=clock))
    gone, here = Diary(), Diary()
    manager, other = gone.manager(factory), here.manager(factory)
    await other.allocate_session()
    del manager
    gc.collect()
    clock.move(86_401)
    assert await other.cleanup_expired_sessions() == 1
    assert (gone.take(), here.take()) == ([], [("created", "?"), ("ended", "?", "expired")])


async def test_what_an_event_has() -> None:
    """A reference in the place of the id; a user only if asked for; numbers in order."""
    diary = Diary()
    manager = diary.manager()
    session_id = await manager.allocate_session(user_id="alice")
    await manager.delete_session(session_id)
    created, ended = diary.events
    assert (created.sandbox_id, created.sequence, ended.sequence) == ("box", 0, 1)
    assert created.session_ref == ended.session_ref == SessionEvents(print, key=KEY).ref(session_id)
    assert created.session_ref != SessionEvents(print).ref(session_id)
    assert created.id != ended.id
    assert created.user_id is ended.user_id is created.reason is created.previous_ref is None
    assert 0 < created.at <= ended.at
    assert session_id not in repr(diary.events)
    assert "alice" not in repr(diary.events)


async def test_a_callback_that_raises(caplog: pytest.LogCaptureFixture) -> None:
    """It is logged, and the call goes on."""

    def fail(event: SessionEvent) -> None:
        raise KeyError(event.type)

    manager = SessionManager("box", memory.factory(memory.MemoryStore()), on_event=fail)
    session_id = await manager.allocate_session()
    assert await manager.delete_session(session_id)
    assert [(record.levelno, record.name) for record in caplog.records] == [
        (logging.ERROR, "chuk_sessions.instrumentation.events")
    ] * 2
    assert session_id not in caplog.text


async def test_a_failed_call_tells_nothing() -> None:
    diary = Diary()
    manager = diary.manager(failing_factory(NotSent("away")))
    with pytest.raises(StorageError):
        await manager.allocate_session()
    with pytest.raises(StorageError):
        await manager.delete_session("id")
    assert diary.events == []


async def test_a_provider_of_ones_own() -> None:
    """It does not say which sessions it ends: what a call names is told."""
    diary = Diary()
    manager = diary.manager(custom_provider.factory())
    one, two = [str(each) for each in await manager.allocate_sessions([{}, {}])]
    await manager.delete_session(one)
    await manager.delete_sessions([one, two])
    assert diary.take(one=one, two=two)[2:] == [("ended", "one", "deleted"), ("ended", "two", "deleted")]


async def test_without_a_callback_the_store_is_bare() -> None:
    factory = memory.factory(memory.MemoryStore())
    assert type(SessionManager("box", factory, on_event=print)._store) is EventStore
    bare = SessionManager("box", factory)._store
    assert "_end" not in vars(bare)


@pytest.mark.parametrize("callback", [1, asyncio.sleep], ids=["number", "coroutine"])
def test_refused_callbacks(callback: Any) -> None:
    with pytest.raises(TypeError, match="on_event must be a plain function"):
        SessionManager("box", memory.factory(), on_event=callback)


def test_refused_options() -> None:
    with pytest.raises(ValueError, match="key must have 16 to 64 bytes, got 3"):
        SessionEvents(print, key=b"key")
    with pytest.raises(TypeError, match="key must be bytes, got str"):
        SessionEvents(print, key="key")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="include_user must be a bool"):
        SessionEvents(print, include_user=1)  # type: ignore[arg-type]


@pytest.mark.parametrize("script", [CREATE, BIND, BIND_SEALED, SETTLE], ids=["create", "bind", "bind_sealed", "settle"])
def test_twins_of_scripts(script: Any) -> None:
    """A twin has every line of its script, and is another script."""
    twin = telling(script)
    assert twin.sha != script.sha
    assert twin.bounded is script.bounded
    assert telling(script) is twin
    changed = set(script.source.splitlines()) - set(twin.source.splitlines())
    assert changed == {"doomed = missing[1] and missing"}


def test_replies_of_twins() -> None:
    """What they told is taken off; the rest is the reply of the script."""
    assert told(0) == ([], 0)
    assert told([b"alice"]) == ([], [b"alice"])
    assert told([-12, 0, 1, b"key"]) == ([b"key"], 0)
    assert told([-12, 1, 1, b"key", b"entry"]) == ([b"key"], [-11, 1, b"entry"])


@pytest.mark.redis
async def test_logins_at_once(cluster: ClusterServers) -> None:
    """Of many that make room for each other, each session ends once, and exactly as many as must."""
    diary = Diary()
    manager = diary.manager(redis.factory(cluster.url), max_sessions_per_user=3)
    ids = [str(each) for each in await manager.allocate_sessions([{"user_id": "alice"}] * 20)]
    live = {info["session_id"] for info in await manager.list_user_sessions("alice")}
    ended = [event.session_ref for event in diary.events if event.type == "ended"]
    assert len(live) == 3
    assert sorted(ended) == sorted(diary.sink.ref(each) for each in ids if each not in live)
