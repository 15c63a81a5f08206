"""Where the providers differ, on purpose: what a value may be, and how the default lifetime can be seen."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from chuk_sessions import ProviderError
from chuk_sessions.provider import DEFAULT_TTL
from chuk_sessions.providers import memory
from tests.support.helpers import Clock, eventually

if TYPE_CHECKING:
    from tests.support.servers import Server


@pytest.fixture
async def redis_session(redis_url: str) -> Any:
    from chuk_sessions.providers import redis

    async with redis.factory(redis_url)() as session:
        return session


class TestMemory:
    async def test_values_are_returned_as_given(self) -> None:
        """The very object, whatever its type: nothing is copied or encoded."""
        async with memory.factory(memory.MemoryStore())() as session:
            for value in ({"a": [1]}, b"\xff", None, object(), 5, "text"):
                await session.setex("key", 60, value)
                assert await session.get("key") is value

    async def test_keys_may_be_any_hashable(self) -> None:
        async with memory.factory(memory.MemoryStore())() as session:
            await session.setex(("tuple", 1), 60, "value")
            assert await session.get(("tuple", 1)) == "value"
            with pytest.raises(TypeError, match="unhashable"):
                await session.setex([], 60, "value")  # type: ignore[arg-type]

    async def test_set_keeps_a_value_for_an_hour(self) -> None:
        clock = Clock()
        async with memory.factory(memory.MemoryStore(clock=clock))() as session:
            await session.set("key", "value")
            clock.move(DEFAULT_TTL - 0.001)
            assert await session.get("key") == "value"
            clock.move(0.002)
            assert await session.get("key") is None

    async def test_lifetime_to_the_instant(self) -> None:
        """A value is there before its deadline and gone at it."""
        clock = Clock(0)
        async with memory.factory(memory.MemoryStore(clock=clock))() as session:
            await session.setex("key", 1.5, "value")
            clock.now = 1.4999
            assert await session.get("key") == "value"
            clock.now = 1.5
            assert await session.get("key") is None

    async def test_the_default_store_is_shared_by_the_process(self) -> None:
        async with memory.factory()() as one, memory.factory()() as other:
            await one.setex("key", 60, "value")
            assert await other.get("key") == "value"

    async def test_a_store_of_ones_own_is_shared_with_nobody(self) -> None:
        async with memory.factory(memory.MemoryStore())() as one, memory.factory()() as other:
            await one.setex("key", 60, "value")
            assert await other.get("key") is None

    def test_default_lifetime_is_an_hour(self) -> None:
        assert DEFAULT_TTL == 3600


class TestMaxItemsFromTheEnvironment:
    async def test_bound(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """The shared store holds as many values, and what would expire first goes."""
        monkeypatch.setenv("SESSION_MEMORY_MAX_ITEMS", " 2 ")
        async with memory.factory()() as session:
            for key, ttl in (("soon", 10), ("late", 1000), ("later", 2000)):
                await session.setex(key, ttl, key)
            assert [await session.get(key) for key in ("soon", "late", "later")] == [None, "late", "later"]

    async def test_no_bound(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("SESSION_MEMORY_MAX_ITEMS", "")
        async with memory.factory()() as session:
            for key in range(3000):
                await session.setex(key, 60, key)
            assert await session.get(0) == 0

    @pytest.mark.parametrize("text", ["0", "-1", "ten", "1.5", "1_000", "½"])
    def test_nonsense(self, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
        """Anything but a whole number from one up is an error that shows name and value."""
        monkeypatch.setenv("SESSION_MEMORY_MAX_ITEMS", text)
        with pytest.raises(ProviderError, match=f"SESSION_MEMORY_MAX_ITEMS.*'{text}'"):
            memory.factory()

    def test_max_items_below_one(self) -> None:
        with pytest.raises(ValueError, match="max_items"):
            memory.MemoryStore(max_items=0)


class TestRedis:
    async def test_bytes_read_back_as_str(self, redis_session: Any) -> None:
        """Keys and values are str or bytes, of which the UTF-8 counts."""
        await redis_session.setex("ключ", 60, "näiv".encode())
        assert await redis_session.get("ключ") == "näiv"
        assert await redis_session.get("ключ".encode()) == "näiv"
        assert await redis_session.delete("ключ".encode()) is True

    async def test_a_value_that_is_not_utf8(self, redis_session: Any) -> None:
        """It can be stored, not read; it stays there, and the connection goes on."""
        await redis_session.setex("key", 60, b"\xff\xfe")
        for _ in range(2):
            with pytest.raises(ProviderError, match="UTF-8"):
                await redis_session.get("key")
        assert await redis_session.delete("key") is True

    @pytest.mark.parametrize("value", [5, 1.5, None, ["a"], {"a": 1}, bytearray(b"a"), True], ids=repr)
    async def test_other_values_are_refused(self, redis_session: Any, value: Any) -> None:
        await redis_session.setex("key", 60, "kept")
        with pytest.raises(TypeError, match=f"value must be str or bytes, got {type(value).__name__}"):
            await redis_session.setex("key", 60, value)
        with pytest.raises(TypeError, match="value"):
            await redis_session.set("key", value)
        assert await redis_session.get("key") == "kept"

    @pytest.mark.parametrize("key", [5, None, ("a",)], ids=repr)
    async def test_other_keys_are_refused(self, redis_session: Any, key: Any) -> None:
        for call in (redis_session.get(key), redis_session.delete(key), redis_session.setex(key, 60, "value")):
            with pytest.raises(TypeError, match=f"key must be str or bytes, got {type(key).__name__}"):
                await call

    async def test_text_that_is_no_unicode(self, redis_session: Any) -> None:
        """A lone surrogate cannot be sent; it is refused before it harms another's command."""
        await redis_session.setex("key", 60, "kept")
        with pytest.raises(ValueError, match="surrogates"):
            await redis_session.setex("key", 60, "\ud800")
        with pytest.raises(ValueError, match="surrogates"):
            await redis_session.get("\udcff")
        assert await redis_session.get("key") == "kept"

    async def test_keys_and_values_are_stored_as_they_are(self, redis_session: Any, redis_server: Server) -> None:
        """Other programs read and write the same keys: no prefix, no encoding of ours."""
        await redis_session.setex("app:key", 60, "value")
        assert redis_server.command("GET", "app:key") == "value"
        redis_server.command("SET", "app:other", "theirs")
        assert await redis_session.get("app:other") == "theirs"

    async def test_lifetimes_on_the_server(self, redis_session: Any, redis_server: Server) -> None:
        """To the millisecond, set in the same step; `set` gives an hour."""
        for key, ttl in (("fraction", 1.5), ("long", 7200)):
            await redis_session.setex(key, ttl, "value")
            assert ttl * 1000 - 1000 < milliseconds_left(redis_server, key) <= ttl * 1000
        await redis_session.set("hour", "value")
        assert 3_599_000 < milliseconds_left(redis_server, "hour") <= 3_600_000

    async def test_a_moment_is_rounded_up(self, redis_session: Any) -> None:
        """Less than a millisecond is a lifetime too: the command is accepted, and then the key goes."""
        await redis_session.setex("key", 1e-9, "value")
        await eventually(lambda: is_gone(redis_session, "key"), patience=2)


def milliseconds_left(server: Server, key: str) -> int:
    left = server.command("PTTL", key)
    assert isinstance(left, int)
    return left


async def is_gone(session: Any, key: str) -> bool:
    return await session.get(key) is None
