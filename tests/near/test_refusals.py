"""Where there is no near cache: arguments, providers, clusters, and servers that refuse."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from typing import Any

import pytest

from chuk_sessions import SessionManager
from chuk_sessions.elapsed import elapsed
from chuk_sessions.exceptions import NotSupportedError, ProviderError
from chuk_sessions.providers import memory, redis
from chuk_sessions.providers.redis import RedisFactory
from chuk_sessions.providers.redis.near import NearSessionStore
from chuk_sessions.redis_client.client import Client
from chuk_sessions.redis_client.tracking_node import TrackingNode
from chuk_sessions.stores import StoreWrapper, stack
from tests.support import custom_provider
from tests.support.helpers import eventually
from tests.support.proxy import Proxy
from tests.support.servers import RedisServer, Server
from tests.support.wire import Wire, hear

URL = "redis://localhost"


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"near_cache": 1.0}, "needs a touch_interval"),
        ({"near_cache": 0.05, "touch_interval": 60}, "0.1 to touch_interval"),
        ({"near_cache": 61, "touch_interval": 60}, "0.1 to touch_interval"),
        ({"near_cache": -1, "touch_interval": 60}, "0.1 to touch_interval"),
        ({"near_cache": float("nan"), "touch_interval": 60}, "0.1 to touch_interval"),
    ],
)
@pytest.mark.parametrize("factory", [memory.factory, custom_provider.factory, lambda: redis.factory(URL)])
def test_bounds_out_of_range_are_refused(options: dict[str, Any], text: str, factory: Any) -> None:
    with pytest.raises(ValueError, match=text):
        SessionManager("box", factory(), **options)


def test_a_bound_must_be_a_number() -> None:
    with pytest.raises(TypeError, match="near_cache must be a number of seconds, got str"):
        SessionManager("box", memory.factory(), touch_interval=60, near_cache="1")  # type: ignore[arg-type]


def test_the_ends_of_the_range_are_in_it() -> None:
    for bound in (0, 0.1, 60):
        SessionManager("box", redis.factory(URL), touch_interval=60, near_cache=bound)


async def test_memory_takes_it_without_effect() -> None:
    factory = memory.factory(memory.MemoryStore())
    manager = SessionManager("box", factory, touch_interval=60, near_cache=1)
    plain = SessionManager("box", factory)
    assert type(manager._store) is type(plain._store)
    session_id = await manager.allocate_session()
    await plain.delete_session(session_id)
    assert await manager.validate_session(session_id) is False


class OwnFactory(RedisFactory):
    """Whose stores are its own: the inherited method for a near cache would leave them out."""

    def session_store(self, sandbox_id: str) -> Any:
        return StoreWrapper(super().session_store(sandbox_id))


@pytest.mark.parametrize(
    "factory",
    [
        pytest.param(custom_provider.factory(), id="custom"),
        pytest.param(stack(custom_provider.factory(), StoreWrapper), id="stack"),
        pytest.param(OwnFactory(Client(URL)), id="subclass"),
        pytest.param(redis.factory(f"{URL}?cluster=true"), id="cluster"),
        pytest.param(stack(redis.factory(f"{URL}?cluster=true"), StoreWrapper), id="stacked cluster"),
    ],
)
def test_a_provider_without_a_near_cache_refuses_it(factory: Any) -> None:
    """At the construction, and later where another factory is set; nothing is changed then."""
    with pytest.raises(NotSupportedError, match=r"^near_cache: not supported"):
        SessionManager("box", factory, touch_interval=60, near_cache=1)
    manager = SessionManager("box", memory.factory(), touch_interval=60, near_cache=1)
    before = manager._store
    with pytest.raises(NotSupportedError, match=r"^near_cache: not supported"):
        manager.session_factory = factory
    assert manager._store is before


def test_a_url_that_cannot_be_used_is_told_at_once() -> None:
    with pytest.raises(ProviderError):
        SessionManager("box", redis.factory("http://localhost"), touch_interval=60, near_cache=1)


def test_a_stack_keeps_its_wrappers() -> None:
    class Audited(StoreWrapper):
        pass

    manager = SessionManager("box", stack(redis.factory(URL), Audited), touch_interval=60, near_cache=1)
    assert isinstance(manager._store, Audited)
    assert isinstance(manager._store.store, NearSessionStore)


def test_without_it_nothing_of_it_is_imported() -> None:
    """Not a module, with a manager on Redis that has a touch_interval."""
    code = (
        "import sys; from chuk_sessions import SessionManager; from chuk_sessions.providers import redis;"
        f"SessionManager('box', redis.factory({URL!r}), touch_interval=60);"
        "names = ('near', 'tracking', 'client.entries', 'snapshot');"
        "print([name for name in sys.modules if name.startswith('chuk') and any(part in name for part in names)])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env={**os.environ})
    assert done.stdout.strip() == "[]"


async def test_without_it_nothing_of_it_is_sent(wire: Wire, redis_url: str) -> None:
    """No command, and the class of the node is the plain one; the bytes are in tests/redis/test_exact_costs.py."""
    factory = redis.factory(f"{redis_url}?client_name=plain")
    manager = SessionManager("box", factory, touch_interval=60)
    session_id = await manager.allocate_session()
    for _ in range(3):
        await manager.validate_session(session_id)
        await manager.get_session_info(session_id)
        await manager.open_session(session_id)
    assert not {"HELLO", "TIME"} & set(wire.commands)
    assert not any(b"TRACKING" in data or b"CACHING" in data for data in wire.writes)
    assert not isinstance(factory._client.deployment(), TrackingNode)


@pytest.mark.parametrize(
    ("given", "refused"),
    [
        ("+hrandfield", "CLIENT TRACKING"),
        ("+hrandfield +client|tracking", "CLIENT CACHING"),
        ("-hrandfield +client|tracking +client|caching", "HRANDFIELD"),
    ],
)
async def test_a_user_without_the_rights_has_no_cache(
    own_server: RedisServer,
    given: str,
    refused: str,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """One log line, and every call works as without it. When the right is given, the cache comes by itself."""
    rules = ["on", ">secret", "~*", "&*", "+@all", "-client", "+client|setname", *given.split()]
    own_server.command("ACL", "SETUSER", "app", *rules)
    factory = redis.factory(own_server.url_for("app", "secret"))
    manager = SessionManager("box", factory, touch_interval=60, near_cache=1, strict=True)
    session_id = await manager.allocate_session()
    for _ in range(10):
        assert await manager.validate_session(session_id) is True
        assert await manager.get_session_info(session_id) is not None
    assert factory.stats()["near_state"] == factory.stats()["near_hits"] == 0
    wire = hear(own_server.port, monkeypatch)
    assert await manager.validate_session(session_id) is True
    assert wire.commands == ["HMGET"]  # a few fields: what is not kept is not read
    lines = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert len(lines) == 1
    assert "The near cache of Redis at 127.0.0.1:" in lines[0]
    assert f"{refused} was refused: NOPERM" in lines[0]
    assert session_id not in lines[0]
    own_server.command("ACL", "SETUSER", "app", "+client|tracking", "+client|caching", "+hrandfield")
    node = factory._client.deployment()
    assert isinstance(node, TrackingNode)
    node.tracking._again = 0.0  # the pause is over

    async def is_served() -> bool:
        await manager.get_session_info(session_id)
        return factory.stats()["near_hits"] > 0

    await eventually(is_served)
    for later in (1.0, 2.0):
        node.tracking._clock = Later(later)  # the bound has passed: the next fence says that the cache is on
        await manager.get_session_info(session_id)
        await eventually(lambda: node.tracking._asked is None)
        await manager.get_session_info(session_id)
    lines = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert len(lines) == 2
    assert "is on again" in lines[1]


class Later:
    """A clock that is ahead."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds

    def __call__(self) -> float:
        return elapsed() + self._seconds


async def test_a_proxy_that_knows_no_hello_has_no_cache(redis_server: Server, redis_url: str) -> None:
    """Every call works as without it."""

    class Old(Proxy):
        """Refuses HELLO as old servers do, by a name that no server knows."""

        async def _forward_requests(self, link: Any, reader: Any, upstream: Any) -> None:
            while data := await reader.read(1 << 16):
                upstream.write(data.replace(b"\r\nHELLO\r\n", b"\r\nHELLX\r\n"))

    async with Old(redis_server.host, redis_server.port) as proxy:
        factory = redis.factory(proxy.url)
        manager = SessionManager("box", factory, touch_interval=60, near_cache=1, strict=True)
        session_id = await manager.allocate_session()
        for _ in range(5):
            assert await manager.validate_session(session_id) is True
            assert await manager.get_session_info(session_id) is not None
        assert factory.stats()["near_state"] == 0
