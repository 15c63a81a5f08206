"""What importing the package loads, and where its names are found; each in a fresh interpreter without warnings."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

import chuk_sessions

# Where 0.2 and 0.6 had their names, and code of others imports them from.
LOCATIONS = {
    "chuk_sessions": [
        *("SessionManager", "SessionMetadata", "factory_for_env", "ProviderError", "SessionError"),
        *("get_session", "session", "memory", "redis", "SessionStatus", "ProviderType"),
    ],
    "chuk_sessions.session_manager": ["SessionManager", "SessionMetadata"],
    "chuk_sessions.provider_factory": ["factory_for_env"],
    "chuk_sessions.providers.memory": ["factory"],
    "chuk_sessions.providers.redis": ["factory"],
    "chuk_sessions.exceptions": ["ProviderError", "SessionError"],
    "chuk_sessions.api": ["get_session", "session"],
    "chuk_sessions.enums": ["ProviderType", "SessionStatus"],
    "chuk_sessions.models": ["SessionMetadata", "SessionStatus"],
}
USE_MEMORY = """
import asyncio, json, sys
from chuk_sessions import SessionManager, factory_for_env

async def main():
    manager = SessionManager(sandbox_id="box")
    session_id = await manager.allocate_session(user_id="alice", custom_metadata={"a": 1})
    assert await manager.validate_session(session_id)
    assert await manager.get_session_info(session_id)
    async with factory_for_env()() as session:
        await session.setex("key", 60, "value")
        assert await session.get("key") == "value"

asyncio.run(main())
print(json.dumps(sorted(sys.modules)))
"""


def run_python(code: str, *options: str) -> str:
    """The output of a fresh interpreter, in which every warning is an error."""
    command = [sys.executable, "-W", "error", *options, "-c", code]
    result = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert result.returncode == 0, result.stderr
    assert result.stderr == ""
    return result.stdout


def test_memory_needs_neither_redis_nor_hiredis() -> None:
    """Using both interfaces on memory loads nothing of Redis, theirs or ours."""
    loaded = json.loads(run_python(USE_MEMORY))
    assert "chuk_sessions.providers.memory" in loaded
    assert [name for name in loaded if "redis" in name] == []


def test_the_modules_of_the_providers_are_loaded_when_asked_for() -> None:
    """As attributes of the package, each alone, and pydantic never."""
    code = """
import sys, chuk_sessions
def loaded(name):
    return any(part == name for module in sys.modules for part in module.split("."))
assert not loaded("memory") and not loaded("redis")
assert chuk_sessions.memory.factory and not loaded("redis")
assert chuk_sessions.redis.factory and loaded("redis") and not loaded("pydantic")
assert not hasattr(chuk_sessions, "postgres")
"""
    run_python(code)


def test_the_import_starts_nothing() -> None:
    """No thread, no event loop, no read of the environment that would come too early."""
    code = """
import os, threading
class Watched(dict):
    def get(self, key, default=None):
        assert not str(key).startswith(("CHUK_", "SESSION_", "REDIS")), key
        return dict.get(self, key, default)
    def __getitem__(self, key):
        assert not str(key).startswith(("CHUK_", "SESSION_", "REDIS")), key
        return dict.__getitem__(self, key)
os.environ = Watched(os.environ)
import chuk_sessions, chuk_sessions.providers.memory, chuk_sessions.providers.redis
print(threading.active_count())
"""
    assert run_python(code) == "1\n"


@pytest.mark.parametrize("module", LOCATIONS)
def test_import_locations(module: str) -> None:
    """Each place works as the first import of a program."""
    run_python(f"from {module} import {', '.join(LOCATIONS[module])}")


def test_names_are_the_same_everywhere() -> None:
    code = """
import chuk_sessions as c
from chuk_sessions import exceptions, provider_factory, session_manager
assert c.SessionManager is session_manager.SessionManager
assert c.SessionMetadata is session_manager.SessionMetadata
assert c.factory_for_env is provider_factory.factory_for_env
assert c.ProviderError is exceptions.ProviderError and c.SessionError is exceptions.SessionError
from chuk_sessions import api, enums, models
from chuk_sessions.providers import memory, redis
assert c.get_session is c.session is api.get_session is api.session
assert c.SessionStatus is enums.SessionStatus is models.SessionStatus and c.ProviderType is enums.ProviderType
assert c.SessionMetadata is models.SessionMetadata
assert c.memory is memory and c.redis is redis
"""
    run_python(code)


def test_every_public_name_exists() -> None:
    """`__all__` is sorted, complete and true."""
    assert chuk_sessions.__all__ == sorted(chuk_sessions.__all__)
    assert all(hasattr(chuk_sessions, name) for name in chuk_sessions.__all__)
    run_python("from chuk_sessions import *; SessionManager; __version__")


@pytest.mark.slow
def test_every_module_says_what_is_public() -> None:
    """Each module's `__all__` is true; and each can be imported alone, with optimisation too."""
    code = """
import importlib, pkgutil, chuk_sessions
names = [m.name for m in pkgutil.walk_packages(chuk_sessions.__path__, "chuk_sessions.")]
assert len(names) > 10
for name in names:
    module = importlib.import_module(name)
    assert all(hasattr(module, public) for public in getattr(module, "__all__", [])), name
"""
    run_python(code)
    run_python(code, "-OO")


def test_the_version() -> None:
    from importlib.metadata import PackageNotFoundError, version

    assert chuk_sessions.__version__ == "0.7.0"
    try:
        installed = version("chuk-sessions")
    except PackageNotFoundError:
        pytest.skip("not installed: the source tree is tested as it is")
    assert installed == chuk_sessions.__version__


def test_errors_have_two_roots() -> None:
    """Faults of the storage and faults of a call; nobody who catches the roots misses one."""
    for name in ("NotSent", "OutcomeUnknown", "ServerError", "UnknownProvider"):
        assert issubclass(getattr(chuk_sessions, name), chuk_sessions.ProviderError)
    assert issubclass(chuk_sessions.UnknownProvider, ImportError)
    for name in ("MetadataError", "NotSupportedError", "SessionTakenError", "StorageError"):
        assert issubclass(getattr(chuk_sessions, name), chuk_sessions.SessionError)
    assert not issubclass(chuk_sessions.SessionError, chuk_sessions.ProviderError)
    assert not issubclass(chuk_sessions.ProviderError, chuk_sessions.SessionError)


def test_what_is_off_is_not_loaded() -> None:
    """Neither memory nor Redis nor the web middleware load a library for metrics, traces, encryption or webhooks."""
    code = """
import sys
import chuk_sessions.web
from chuk_sessions import SessionManager, memory, redis
SessionManager("box", memory.factory())
SessionManager("box", redis.factory("redis://localhost"))
names = ("prometheus_client", "opentelemetry", "cryptography", "httpx", "chuk_sessions.instrumentation")
assert [name for name in sys.modules if name.startswith(names)] == []
"""
    run_python(code)
