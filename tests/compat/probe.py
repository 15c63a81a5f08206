"""Runs the rows in the environment it is started in, whichever chuk-sessions that has. Needs nothing else.

Reads a JSON list of [name, code] from standard input and writes a JSON object of name to outcome.
`python probe.py [REDIS_URL]`: with a URL everything is on that server, whose database must be for this alone.
"""

from __future__ import annotations

import ast
import asyncio
import importlib
import inspect
import json
import logging
import math
import os
import re
import sys
import warnings
from contextlib import asynccontextmanager
from datetime import datetime
from types import ModuleType
from typing import TYPE_CHECKING, Any
from unittest import mock

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

SESSION_ID = re.compile(r"sess-[\w-]*\d{10}-[0-9a-f]+")
TIME = re.compile(r"\d{4}-\d\d-\d\dT[\d:.]+Z")
LONGEST = 200


def use(path: str) -> Any:
    """The name at the end of a dotted path."""
    module, _, name = path.rpartition(".")
    return getattr(importlib.import_module(module), name)


def named(provider: str) -> str:
    """The kind of what `SESSION_PROVIDER=provider` gives."""
    before = os.environ.get("SESSION_PROVIDER")
    os.environ["SESSION_PROVIDER"] = provider
    try:
        return "a factory" if callable(use("chuk_sessions.provider_factory.factory_for_env")()) else "no factory"
    finally:
        del os.environ["SESSION_PROVIDER"]
        if before is not None:
            os.environ["SESSION_PROVIDER"] = before


def failure(call: Callable[[], object]) -> Exception | None:
    """What a call raises."""
    try:
        call()
    except Exception as exc:
        return exc
    return None


def broken() -> Any:
    """A factory of a storage that cannot be reached."""
    raise ConnectionError("the storage cannot be reached")


class Values:
    """A provider over a dict."""

    def __init__(self, data: dict[str, Any]) -> None:
        self.data = data

    async def setex(self, key: str, ttl: int, value: Any) -> None:
        self.data[key] = value

    async def get(self, key: str) -> Any:
        return self.data.get(key)

    async def delete(self, key: str) -> bool:
        return self.data.pop(key, None) is not None

    async def close(self) -> None:
        pass


def over(data: dict[str, Any]) -> Callable[[], Any]:
    """A provider factory over a dict."""

    @asynccontextmanager
    async def open_values() -> AsyncIterator[Values]:
        yield Values(data)

    return open_values


def from_module(factory: Any) -> Any:
    """What the environment gives when it names a module whose ``factory`` is this."""
    module = ModuleType("chuk_sessions.providers.compat_row")
    module.factory = factory  # type: ignore[attr-defined]
    sys.modules[module.__name__] = module
    before = os.environ.get("SESSION_PROVIDER")
    os.environ["SESSION_PROVIDER"] = "compat_row"
    try:
        return use("chuk_sessions.provider_factory.factory_for_env")()
    finally:
        del os.environ["SESSION_PROVIDER"], sys.modules[module.__name__]
        if before is not None:
            os.environ["SESSION_PROVIDER"] = before


async def allocates(factory: Any) -> str:
    """What a manager over a factory does, as the first part of an id that it made."""
    manager = use("chuk_sessions.session_manager.SessionManager")(sandbox_id="box", session_factory=factory)
    session_id: str = await manager.allocate_session(user_id="alice")
    return session_id.split("-")[0]


def seconds(info: dict[str, Any] | None) -> int | None:
    """How long a session lives from its creation."""
    if info is None:
        return None
    created, expires = (datetime.fromisoformat(info[name]) for name in ("created_at", "expires_at"))
    return round((expires - created).total_seconds())


def plain(value: Any) -> Any:
    """Members of string enumerations as their text, inside of anything."""
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, dict):
        return {plain(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(map(plain, value))
    return value


def shown(value: Any) -> str:
    """A result as the table shows it: without what differs from run to run."""
    text = re.sub(r"key-\d+", "<key>", TIME.sub("<time>", SESSION_ID.sub("<id>", repr(plain(value)))))
    return text if len(text) < LONGEST else text[:LONGEST] + "..."


async def run(code: str, key: str) -> str:
    """The outcome of a row: what it gives, or the kind of what it raises."""
    try:
        names = await namespace(code, key)
        result = eval(compile(code, "row", "eval", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT), names)
        return shown(await result if inspect.iscoroutine(result) else result)
    except Exception as exc:
        return f"raises {kind(exc)}"


def kind(error: Exception) -> str:
    """The kind of an error as programs for the published versions catch it: they know no subclasses of SessionError."""
    known = use("chuk_sessions.exceptions.SessionError")
    return (known if isinstance(error, known) else type(error)).__name__


async def namespace(code: str, key: str) -> dict[str, Any]:
    """What the row uses, made anew."""
    make = use("chuk_sessions.session_manager.SessionManager")
    names: dict[str, Any] = {"use": use, "named": named, "seconds": seconds, "failure": failure, "make": make, "k": key}
    names |= {"broken": broken, "over": over, "from_module": from_module, "allocates": allocates, "mock": mock}
    names |= {"asyncio": asyncio, "json": json, "math": math, "c": importlib.import_module("chuk_sessions")}
    names |= {"S": use("chuk_sessions.session_manager.SessionMetadata"), "m": make(sandbox_id="box")}
    if re.search(r"\bsid\b", code):
        names["sid"] = await names["m"].allocate_session(user_id="alice", custom_metadata={"a": 1})
    if re.search(r"\bp\.", code):
        names["p"] = await use("chuk_sessions.provider_factory.factory_for_env")()().__aenter__()
    return names


async def run_all(rows: list[list[str]]) -> dict[str, str]:
    """The outcomes of all rows."""
    outcomes = {}
    for number, (name, code) in enumerate(rows):
        os.environ.pop("CHUK_SANDBOX_ID", None)
        outcomes[name] = await run(code, f"key-{number}")
    return outcomes


if __name__ == "__main__":
    sys.path.pop(0)  # this folder
    logging.disable()
    warnings.simplefilter("ignore")
    for variable in [name for name in os.environ if name.startswith(("SESSION_", "CHUK_", "REDIS_"))]:
        del os.environ[variable]
    if sys.argv[1:]:
        os.environ |= {"SESSION_PROVIDER": "redis", "SESSION_REDIS_URL": sys.argv[1]}
    print(json.dumps(asyncio.run(run_all(json.load(sys.stdin)))))
