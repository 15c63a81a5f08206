"""From SESSION_PROVIDER to a factory: the built-in names, users' own modules, and what is no provider."""

from __future__ import annotations

import asyncio
import importlib
import sys
from typing import TYPE_CHECKING

import pytest

import chuk_sessions.providers
from chuk_sessions import ProviderError, SessionManager, UnknownProvider, factory_for_env
from chuk_sessions.provider_factory import _warn_of_memory
from chuk_sessions.providers.memory import MemoryFactory

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

MEMORY = ("memory", "mem", "inmemory", "MEMORY", " Memory ", "", "  ")
REDIS = ("redis", "redis_store", "REDIS", "valkey", "valkey_store", " Valkey\n")
KNOWN = ("memory", "mem", "inmemory", "redis", "redis_store", "valkey", "valkey_store")
CUSTOM = "from tests.support.custom_provider import factory\n"
OWN_GENERATOR = """
from contextlib import asynccontextmanager
from tests.support.custom_provider import CustomSession
data = {}

@asynccontextmanager
async def factory():
    yield CustomSession(data)
"""
OWN_CLASS = """
from tests.support.custom_provider import CustomSession
data = {}

class factory(CustomSession):
    def __init__(self):
        super().__init__(data)

    async def __aenter__(self):
        return self

    async def __aexit__(self, *exc_info):
        pass
"""
UNKNOWN = (
    "nonsense",
    "no.such.module",
    "a b",
    "..",
    ".x",
    "x.",
    "a/b",
    "chuk_sessions.nope",
    "json.decoder.nope",
    "\udcff",
)


@pytest.fixture
def write_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str, str], None]]:
    """Writes a module that can be imported by its dotted name, also as one of chuk_sessions.providers."""
    providers = tmp_path / "providers"
    providers.mkdir()
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(chuk_sessions.providers, "__path__", [*chuk_sessions.providers.__path__, str(providers)])
    before = set(sys.modules)

    def write(name: str, source: str) -> None:
        *packages, module = name.removeprefix("chuk_sessions.").split(".")
        folder = tmp_path.joinpath(*packages)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{module}.py").write_text(source)
        importlib.invalidate_caches()

    yield write
    for name in set(sys.modules) - before:
        del sys.modules[name]


async def check_it_works() -> None:
    """Both interfaces, over what the environment names now."""
    async with factory_for_env()() as session:
        await session.setex("key", 60, "value")
        assert await session.get("key") == "value"
    manager = SessionManager("box", strict=True)
    session_id = await manager.allocate_session(custom_metadata={"a": 1})
    assert await manager.validate_session(session_id) is True
    assert await manager.delete_session(session_id) is True


async def test_memory_is_the_default() -> None:
    assert isinstance(factory_for_env(), MemoryFactory)
    await check_it_works()


@pytest.mark.parametrize("name", MEMORY)
def test_names_of_memory(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv("SESSION_PROVIDER", name)
    assert isinstance(factory_for_env(), MemoryFactory)


@pytest.mark.redis
@pytest.mark.parametrize("name", REDIS)
async def test_names_of_redis(monkeypatch: pytest.MonkeyPatch, redis_url: str, name: str) -> None:
    monkeypatch.setenv("SESSION_PROVIDER", name)
    monkeypatch.setenv("SESSION_REDIS_URL", redis_url)
    await check_it_works()


async def test_the_environment_is_read_at_each_call(
    monkeypatch: pytest.MonkeyPatch, write_module: Callable[[str, str], None]
) -> None:
    """Not at import: a program may set it as its first act, or change it."""
    write_module("their_provider", CUSTOM)
    assert isinstance(factory_for_env(), MemoryFactory)
    monkeypatch.setenv("SESSION_PROVIDER", "their_provider")
    assert not isinstance(factory_for_env(), MemoryFactory)
    monkeypatch.setenv("SESSION_PROVIDER", "memory")
    assert isinstance(factory_for_env(), MemoryFactory)


@pytest.mark.parametrize("name", ["their_provider", "their.provider", "tests.support.custom_provider"])
async def test_a_module_by_its_dotted_path(
    monkeypatch: pytest.MonkeyPatch, write_module: Callable[[str, str], None], name: str
) -> None:
    if not name.startswith("tests."):
        write_module(name, CUSTOM)
    monkeypatch.setenv("SESSION_PROVIDER", name)
    assert not isinstance(factory_for_env(), MemoryFactory)
    await check_it_works()


async def test_a_module_among_the_providers(
    monkeypatch: pytest.MonkeyPatch, write_module: Callable[[str, str], None]
) -> None:
    """It comes before a module of the same name elsewhere, as in 0.2."""
    write_module("theirs", "def factory():\n    raise AssertionError\n")
    write_module("chuk_sessions.providers.theirs", CUSTOM)
    monkeypatch.setenv("SESSION_PROVIDER", "theirs")
    await check_it_works()


@pytest.mark.parametrize("name", UNKNOWN)
def test_unknown_names(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """An error of both kinds that says what was asked for and what there is."""
    monkeypatch.setenv("SESSION_PROVIDER", name)
    with pytest.raises(UnknownProvider) as caught:
        factory_for_env()
    assert isinstance(caught.value, ProviderError)
    assert isinstance(caught.value, ModuleNotFoundError)  # which programs for 0.6.3 catch
    assert all(known in str(caught.value) for known in (*KNOWN, "SESSION_PROVIDER", repr(name)))
    with pytest.raises(ProviderError):
        SessionManager("box")


@pytest.mark.parametrize(
    "name",
    ["redis://:s3cr3t@host/0", "rediss://s3cr3t.example?ssl_ca_certs=/x", "user:s3cr3t@host", "s3cr3t@host"],
)
def test_a_url_in_its_place_is_not_shown(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """It may hold a password; the error says where it belongs."""
    monkeypatch.setenv("SESSION_PROVIDER", name)
    with pytest.raises(UnknownProvider, match=r"SESSION_PROVIDER=\(not shown\) is no known provider") as caught:
        factory_for_env()
    assert "s3cr3t" not in f"{caught.value!r} {caught.value} {caught.value.name}"
    assert ("SESSION_PROVIDER=redis, and SESSION_REDIS_URL" in str(caught.value)) == (":" in name)
    assert caught.value.__cause__ is None


def test_a_url_without_a_provider_is_told_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Memory is used: whoever set the URL alone would lose the sessions with the process."""
    _warn_of_memory.cache_clear()
    assert isinstance(factory_for_env(), MemoryFactory)
    monkeypatch.setenv("REDIS_URL", "redis://:s3cr3t@host")  # others use that one too
    assert isinstance(factory_for_env(), MemoryFactory)
    assert caplog.records == []
    monkeypatch.setenv("SESSION_REDIS_URL", "redis://:s3cr3t@host")
    for provider in ("memory", "", " "):
        monkeypatch.setenv("SESSION_PROVIDER", provider)
        assert isinstance(factory_for_env(), MemoryFactory)
    (record,) = caplog.records
    assert record.levelname == "WARNING"
    assert "SESSION_PROVIDER is not: sessions are kept in the memory of this process" in record.getMessage()
    assert "s3cr3t" not in record.getMessage()


def test_no_other_names_are_built_in(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor does a name reach into the package."""
    for name in ("Redis2", "memory2", "memory.factory"):
        monkeypatch.setenv("SESSION_PROVIDER", name)
        with pytest.raises(UnknownProvider):
            factory_for_env()


@pytest.mark.parametrize("name", ["broken", "chuk_sessions.providers.broken", "package.broken"])
@pytest.mark.parametrize("missing", ["no_such_module_at_all", "broken_dependency.inner", "json.nope"])
def test_a_module_that_misses_another_is_not_unknown(
    monkeypatch: pytest.MonkeyPatch, write_module: Callable[[str, str], None], name: str, missing: str
) -> None:
    """What goes wrong inside the module is shown as it is, not as a name mistyped."""
    write_module(name, f"import {missing}\n")
    monkeypatch.setenv("SESSION_PROVIDER", name.removeprefix("chuk_sessions.providers."))
    with pytest.raises(ModuleNotFoundError, match=missing.split(".", maxsplit=1)[0]) as caught:
        factory_for_env()
    assert not isinstance(caught.value, UnknownProvider)


@pytest.mark.parametrize("error", ["ImportError('mine')", "TypeError('mine')", "ValueError('mine')", "OSError('mine')"])
def test_a_module_that_fails_is_not_unknown(
    monkeypatch: pytest.MonkeyPatch, write_module: Callable[[str, str], None], error: str
) -> None:
    write_module("failing", f"raise {error}\n")
    monkeypatch.setenv("SESSION_PROVIDER", "failing")
    with pytest.raises((ImportError, TypeError, ValueError, OSError), match=r"^mine$") as caught:
        factory_for_env()
    assert not isinstance(caught.value, UnknownProvider)


@pytest.mark.parametrize("source", [OWN_GENERATOR, OWN_CLASS], ids=["generator", "class"])
async def test_a_factory_that_gives_the_session_itself(
    monkeypatch: pytest.MonkeyPatch, write_module: Callable[[str, str], None], source: str
) -> None:
    """It is the provider factory itself."""
    write_module("own_provider", source)
    monkeypatch.setenv("SESSION_PROVIDER", "own_provider")
    await check_it_works()


async def test_a_factory_that_can_be_entered_and_called_is_called(
    monkeypatch: pytest.MonkeyPatch, write_module: Callable[[str, str], None]
) -> None:
    """Entering it may mean to open a pool once; it is a provider factory as it is."""
    source = (
        "from tests.support.custom_provider import factory as make\n"
        "class Pool:\n"
        "    __call__ = staticmethod(make())\n"
        "    async def __aenter__(self): raise AssertionError\n"
        "    async def __aexit__(self, *exc_info): pass\n"
        "pool = Pool()\n"
        "def factory(): return pool\n"
    )
    write_module("pool_provider", source)
    monkeypatch.setenv("SESSION_PROVIDER", "pool_provider")
    assert type(factory_for_env()).__name__ == "Pool"
    await check_it_works()


@pytest.mark.parametrize(
    "source", ["def factory(): pass\n", "async def factory(): pass\n", "def factory(): return 5\n"]
)
def test_a_factory_that_gives_no_factory(
    monkeypatch: pytest.MonkeyPatch, write_module: Callable[[str, str], None], source: str
) -> None:
    write_module("empty_provider", source)
    monkeypatch.setenv("SESSION_PROVIDER", "empty_provider")
    with pytest.raises(UnknownProvider, match=r"must return a provider factory, got (NoneType|coroutine|int)"):
        factory_for_env()


@pytest.mark.parametrize("source", ["", "factory = None\n", "factory = 5\n", "def make(): ...\n"])
def test_a_module_without_factory(
    monkeypatch: pytest.MonkeyPatch, write_module: Callable[[str, str], None], source: str
) -> None:
    write_module("empty_provider", source)
    monkeypatch.setenv("SESSION_PROVIDER", "empty_provider")
    with pytest.raises(UnknownProvider, match=r"empty_provider.*factory\(\)"):
        factory_for_env()


def test_a_factory_that_fails_is_not_hidden(
    monkeypatch: pytest.MonkeyPatch, write_module: Callable[[str, str], None]
) -> None:
    write_module("failing_later", "def factory():\n    raise RuntimeError('mine')\n")
    monkeypatch.setenv("SESSION_PROVIDER", "failing_later")
    with pytest.raises(RuntimeError, match="mine"):
        factory_for_env()


def test_the_store_outlives_a_loop() -> None:
    """What one `asyncio.run` stored on memory, the next one reads."""
    session_id = asyncio.run(SessionManager("box").allocate_session(custom_metadata={"a": 1}))
    assert asyncio.run(SessionManager("box").validate_session(session_id)) is True
