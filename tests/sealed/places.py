"""Keys, sealing factories and what stands on a server: for the tests of this folder."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from chuk_sessions import SessionManager
from chuk_sessions.encryption import Keyring, key_id
from chuk_sessions.ids import quote_part, session_key
from chuk_sessions.providers import redis
from chuk_sessions.providers.redis.sealed.store import SealedStore
from chuk_sessions.redis_client.client import Client
from chuk_sessions.redis_client.replies import as_dict

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

    from chuk_sessions.encryption import Plaintext

KEYS = {"k1": bytes(range(32)), "k2": bytes(range(32, 64))}
NAMES = {key_id(name): name for name in KEYS}


def keyring(
    write: str | None = "k1",
    names: Iterable[str] = ("k1", "k2"),
    plaintext: Plaintext = "read",
    plain_fields: Iterable[str] = (),
) -> Keyring:
    """With the keys of these names."""
    return Keyring({name: KEYS[name] for name in names}, write=write, plaintext=plaintext, plain_fields=plain_fields)


def manager_of(url: str, keys: Keyring | None = None, **options: Any) -> SessionManager:
    """Of the sandbox `box`; strict."""
    return SessionManager("box", redis.factory(url, encryption=keys), strict=True, **options)


def store_of(client: Client | str, keys: Keyring | None = None) -> SealedStore:
    client = Client(client) if isinstance(client, str) else client
    return SealedStore(client, "box", keyring() if keys is None else keys)


async def stored(url: str, session_id: str, sandbox_id: str = "box") -> dict[bytes, bytes]:
    """The hash of the session as it stands on the server."""
    key = session_key(quote_part(sandbox_id), session_id)
    found: dict[bytes, bytes] = as_dict(await Client(url).call(b"HGETALL", key), "HGETALL")
    return found


async def sealed_with(url: str, session_id: str, sandbox_id: str = "box") -> dict[str, str]:
    """For each key of the metadata the name of the key that has sealed its value; `plain` for a plain value."""
    found = await stored(url, session_id, sandbox_id)
    return {
        name[2:].decode(): NAMES[value[1:5]] if value[:1] == b"\x01" else "plain"
        for name, value in found.items()
        if name.startswith(b"m:")
    }


async def put_value(url: str, session_id: str, field: str, value: bytes, sandbox_id: str = "box") -> None:
    """Write a value as somebody who may write to the server."""
    await Client(url).call(b"HSET", session_key(quote_part(sandbox_id), session_id), f"m:{field}", value)


def by_another(url: str, work: Callable[[SealedStore], Awaitable[object]], keys: Keyring) -> Callable[[], None]:
    """The work as another process would do it."""

    async def run() -> None:
        await work(store_of(f"{url}?client_name=other", keys))

    def do() -> None:
        with ThreadPoolExecutor(1) as thread:
            thread.submit(lambda: asyncio.run(run())).result()

    return do
