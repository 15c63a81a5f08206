"""A storage that fails: errors from a strict manager, old return values and a line in the log from a lenient one."""

from __future__ import annotations

import logging
import socket
from collections.abc import Awaitable, Callable
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from chuk_sessions import NotSupportedError, ProviderError, SessionManager, StorageError
from tests.support.failing_provider import failing_factory
from tests.support.helpers import Clock

if TYPE_CHECKING:
    from collections.abc import Iterator

    from chuk_sessions.provider import Factory

ID = "sess-secret-of-alice"
CALLS = ("validate", "info", "merge", "replace", "remove", "extend", "delete")
NOT_FOUND = {"info": None}  # what a call returns that finds nothing; the others give False


@pytest.fixture
def closed_port() -> Iterator[int]:
    """A port where nobody listens, and nobody will: it is taken."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        yield sock.getsockname()[1]


def make_broken(request: pytest.FixtureRequest) -> Factory:
    return failing_factory(OSError(f"the disk of {ID} is on fire"))


def make_unreachable(request: pytest.FixtureRequest) -> Factory:
    from chuk_sessions.providers import redis

    return redis.factory(f"redis://user:pass-word@127.0.0.1:{request.getfixturevalue('closed_port')}/0")


@pytest.fixture(
    params=[
        pytest.param(make_broken, id="custom"),
        pytest.param(make_unreachable, id="redis", marks=pytest.mark.redis),
    ]
)
def broken_factory(request: pytest.FixtureRequest) -> Factory:
    made: Factory = request.param(request)
    return made


async def call(manager: SessionManager, name: str, session_id: str = ID) -> Any:
    calls: dict[str, Callable[[], Awaitable[Any]]] = {
        "validate": lambda: manager.validate_session(session_id),
        "info": lambda: manager.get_session_info(session_id),
        "merge": lambda: manager.update_session_metadata(session_id, {"a": 1}),
        "replace": lambda: manager.update_session_metadata(session_id, {"a": 1}, merge=False),
        "remove": lambda: manager.update_session_metadata(session_id, {}, remove=["a"]),
        "extend": lambda: manager.extend_session_ttl(session_id, 1),
        "delete": lambda: manager.delete_session(session_id),
    }
    return await calls[name]()


@pytest.mark.parametrize("strict", [False, True])
async def test_allocation_always_raises(broken_factory: Factory, strict: bool) -> None:
    """There is no id to return, so the cause is told."""
    manager = SessionManager("box", broken_factory, strict=strict)
    for session_id in (None, ID):
        with pytest.raises(StorageError, match="could not be allocated") as caught:
            await manager.allocate_session(session_id)
        assert isinstance(caught.value.__cause__, ProviderError)
        assert ID not in str(caught.value)
        assert "pass-word" not in str(caught.value)


# Calls that 0.2 does not have: "nothing was found" must never mean "do not know".
ALWAYS_RAISING: dict[str, Callable[[SessionManager], Awaitable[Any]]] = {
    "increment": lambda manager: manager.increment_session_metadata(ID, "used"),
    "metadata": lambda manager: manager.get_session_metadata(ID),
    "renew": lambda manager: manager.renew_session(ID),
    "set ttl": lambda manager: manager.set_session_ttl(ID, 1),
    "open": lambda manager: manager.open_session(ID),
    "list": lambda manager: manager.list_user_sessions("alice"),
    "count": lambda manager: manager.count_sessions(),
    "go through": lambda manager: anext(manager.iter_sessions()),
    "end all": lambda manager: manager.delete_user_sessions("alice"),
}


@pytest.mark.parametrize("strict", [False, True])
@pytest.mark.parametrize("name", ALWAYS_RAISING)
async def test_new_calls_always_raise(broken_factory: Factory, name: str, strict: bool) -> None:
    """With the cause, or the word that this provider cannot do it; without id or password."""
    manager = SessionManager("box", broken_factory, strict=strict)
    with pytest.raises((StorageError, NotSupportedError)) as caught:
        await ALWAYS_RAISING[name](manager)
    assert isinstance(caught.value, NotSupportedError) or isinstance(caught.value.__cause__, ProviderError)
    assert ID not in str(caught.value)
    assert "pass-word" not in str(caught.value)


@pytest.mark.parametrize("name", CALLS)
async def test_lenient(broken_factory: Factory, name: str, caplog: pytest.LogCaptureFixture) -> None:
    """The answer is that of a session that is not there; the log tells the truth, without id or password."""
    manager = SessionManager("box", broken_factory)
    assert await call(manager, name) is NOT_FOUND.get(name, False)
    (line,) = [record for record in caplog.records if record.name == "chuk_sessions.session_manager"]
    assert line.levelno >= logging.WARNING
    assert ID not in caplog.text
    assert "pass-word" not in caplog.text


@pytest.mark.parametrize("name", CALLS)
async def test_strict(broken_factory: Factory, name: str, caplog: pytest.LogCaptureFixture) -> None:
    """An outage is an error with its cause, which the caller logs or not."""
    manager = SessionManager("box", broken_factory, strict=True)
    with pytest.raises(StorageError) as caught:
        await call(manager, name)
    assert isinstance(caught.value.__cause__, ProviderError)
    assert ID not in str(caught.value)
    assert "pass-word" not in str(caught.value)
    assert [record for record in caplog.records if record.name == "chuk_sessions.session_manager"] == []
    assert ID not in caplog.text
    assert "pass-word" not in caplog.text


async def test_the_fingerprint_tells_sessions_apart(broken_factory: Factory) -> None:
    """What stands for the id is the same for one session and differs between two."""
    manager = SessionManager("box", broken_factory, strict=True)
    messages = []
    for session_id in (ID, ID, "other"):
        with pytest.raises(StorageError) as caught:
            await manager.validate_session(session_id)
        messages.append(str(caught.value))
    assert messages[0] == messages[1] != messages[2]


async def test_log_lines_are_few(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """One line per manager in ten seconds, however many calls fail."""
    clock = Clock()
    monkeypatch.setattr("chuk_sessions.session_manager.time", SimpleNamespace(monotonic=clock))
    manager = SessionManager("box", failing_factory(OSError()))
    for seconds, lines in ((0, 1), (9.9, 1), (0.1, 2), (5, 2), (100, 3)):
        clock.move(seconds)
        for name in CALLS:
            await call(manager, name)
        assert len(caplog.records) == lines


async def test_the_first_failure_is_logged_on_a_machine_just_started(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The monotonic clock may begin at zero."""
    monkeypatch.setattr("chuk_sessions.session_manager.time", SimpleNamespace(monotonic=Clock(0.0)))
    await SessionManager("box", failing_factory(OSError())).validate_session(ID)
    assert len(caplog.records) == 1


async def test_a_providers_own_error_comes_through() -> None:
    """A custom provider may raise ProviderError itself; its words are kept."""
    manager = SessionManager("box", failing_factory(ProviderError("disk full")), strict=True)
    with pytest.raises(StorageError, match="disk full"):
        await manager.validate_session(ID)


async def test_a_factory_that_fails() -> None:
    """Opening the provider is part of the storage too."""

    def factory() -> Any:
        raise OSError

    assert await SessionManager("box", factory).validate_session(ID) is False
    with pytest.raises(StorageError, match="OSError"):
        await SessionManager("box", factory).allocate_session()


async def test_sweeping_fails_as_the_others_do(caplog: pytest.LogCaptureFixture) -> None:
    """Whatever store cannot sweep: 0 and a line from a lenient manager, an error from a strict one."""

    class Store:
        async def sweep(self) -> int:
            raise ProviderError("away")

        def cached(self) -> int:
            return 0

        def capacity(self) -> int:
            return 0

    class Factory_:
        def session_store(self, sandbox_id: str) -> Any:
            return Store()

    factory: Any = Factory_()
    assert await SessionManager("box", factory).cleanup_expired_sessions() == 0
    assert "Could not clean up sessions: away" in caplog.text
    with pytest.raises(StorageError, match="could not clean up sessions: away"):
        await SessionManager("box", factory, strict=True).cleanup_expired_sessions()


async def test_a_programming_error_is_not_taken_for_a_bad_id() -> None:
    """Only an id of the wrong type makes a TypeError mean `not a session`."""

    class Store:
        async def touch(self, session_id: str, interval: float) -> bool:
            raise TypeError("a bug")

    class Factory_:
        def session_store(self, sandbox_id: str) -> Any:
            return Store()

    factory: Any = Factory_()
    with pytest.raises(TypeError, match="a bug"):
        await SessionManager("box", factory).validate_session(ID)
