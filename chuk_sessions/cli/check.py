"""The checklist of docs/operate/production.md, checked on a running server: a finding for each point, with advice.

A point that the server does not tell (hosted servers often refuse CONFIG) is reported as unknown, and is no failure.
"""

from __future__ import annotations

import asyncio
import re
import statistics
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass, replace
from enum import StrEnum
from os import urandom
from typing import TYPE_CHECKING

from chuk_sessions.cli.keys import key_of, name_of_key
from chuk_sessions.environment import KEYS_VARIABLE
from chuk_sessions.exceptions import (
    NoPermissionError,
    OutOfMemoryError,
    ProviderError,
    ReadOnlyError,
    ServerError,
    WrongTypeError,
)
from chuk_sessions.ids import new_session_id, renewed_id, session_key, user_tag
from chuk_sessions.providers.redis import LEGACY_VARIABLE, RedisFactory, reads_legacy
from chuk_sessions.providers.redis.keys import ALL_SESSIONS, CHECK_SANDBOX, check_value_key, index_key
from chuk_sessions.providers.redis.scan import Walk
from chuk_sessions.providers.redis.sealed.values import Seals
from chuk_sessions.providers.redis.store import RedisSessionStore
from chuk_sessions.redis_client.commands import Replay
from chuk_sessions.redis_client.replies import as_dict

if TYPE_CHECKING:
    from chuk_sessions.encryption import Keyring
    from chuk_sessions.redis_client.client import Client
    from chuk_sessions.redis_client.master import Master

__all__ = ["Finding", "Level", "check"]

OLDEST = (6, 2)
LISTPACK, INDEX_LISTPACK = 512, 64  # bytes: as in docs/operate/production.md; 64 is the server's default
FULL = 0.8  # the part of maxmemory from which on the memory is a warning
PINGS = 200
SAMPLE = 1000  # sessions that are looked at for the keys of their values
SLOW = 2.0  # milliseconds of a median round trip, from which on it is a warning; within a data centre it is under 1 ms
MASTER_NAME = re.compile(r"name=([^,]+),")
MANY_NAMES = 200_000  # so many that one of them is in a slot of the server, even if the server has a single slot

CALLS = ("commands", "provider API")
NEAR_RIGHTS = "+client|tracking +client|caching +hrandfield"  # as in docs/operate/production.md
LEGACY_RIGHTS, LEGACY_RIGHTS_IN_A_CLUSTER = "+get ~ended:*", "~taken:*"  # as in docs/operate/production.md

Info = dict[str, str]
Calls = dict[str, Callable[[], Awaitable[object]]]


class Level(StrEnum):
    """How serious a finding is."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the checklist: the name of the point, its value and the advice, which is empty if all is well.

    ``servers`` are the servers of a cluster with this finding; empty if all servers have it.
    """

    level: Level
    name: str
    value: str
    advice: str = ""
    servers: tuple[str, ...] = ()

    def __str__(self) -> str:
        where = f" ({', '.join(self.servers)})" if self.servers else ""
        return f"{self.level:<8}{self.name:<24}{self.value}{where}" + (f": {self.advice}" if self.advice else "")


async def check(client: Client, keyring: Keyring | None = None) -> list[Finding]:
    """Check every point, in a cluster on every master. Raises ProviderError if a server cannot be reached.

    ``keyring`` is that of the application.
    """
    masters = await client.masters()
    found = _together({master.address: await _check_server(client, master) for master in masters})
    if not any(finding.name == "URL" for finding in found):
        found += await _encryption(client, keyring)
    return found


async def _check_server(client: Client, master: Master) -> list[Finding]:
    await master.call(b"PING", replay=Replay.READ)
    info = await _info(master)
    misled = _misled(master, info)
    if misled is not None:
        return [_version(info), misled]
    looks = [await look(master, info) for look in LOOKS]
    near = [] if master.in_cluster else [await _near_cache(master)]
    return [_version(info), _role(info), *looks, *await _permissions(client, master), *near]


def _together(found: dict[str, list[Finding]]) -> list[Finding]:
    """Return a finding that all servers share once, and any other finding with the servers that have it."""
    result = []
    for point in zip(*found.values(), strict=True):
        servers: dict[Finding, list[str]] = {}
        for address, finding in zip(found, point, strict=True):
            servers.setdefault(finding, []).append(address)
        result += [replace(each, servers=tuple(names)) if len(servers) > 1 else each for each, names in servers.items()]
    return result


async def _info(server: Master) -> Info:
    """Return INFO as a dict; empty if the server refuses INFO."""
    try:
        text: bytes = await server.call(b"INFO", replay=Replay.READ)
    except ServerError:
        return {}
    return dict(line.split(":", 1) for line in text.decode(errors="replace").splitlines() if ":" in line)


async def _setting(server: Master, name: str) -> str | None:
    """Return a setting; None if the server does not know or tell it."""
    try:
        reply = await server.call(b"CONFIG", b"GET", name, replay=Replay.READ)
    except ServerError:
        return None
    return next((value.decode() for value in as_dict(reply, "CONFIG GET").values()), None)


def _misled(master: Master, info: Info) -> Finding | None:
    """Return a finding if the URL leads to the wrong kind of server; all other points would fail for that alone."""
    mode = info.get("redis_mode") or info.get("server_mode")  # the second is Valkey's name for it
    if mode == "sentinel":
        known = MASTER_NAME.match(info.get("master0", ""))
        name = known[1] if known else "NAME"
        advice = f"it has no sessions: end the URL with the name of the master, redis://HOST:26379/{name}"
        return Finding(Level.FAIL, "URL", "leads to a Sentinel", advice)
    if mode == "cluster" and not master.in_cluster:
        advice = "add ?cluster=true to the URL, or name several of its servers: redis://HOST1:PORT,HOST2:PORT"
        return Finding(Level.FAIL, "URL", "leads to one server of a cluster", advice)
    return None


def _version(info: Info) -> Finding:
    if "valkey_version" in info:
        return Finding(Level.OK, "version", f"Valkey {info['valkey_version']}")
    version = info.get("redis_version")
    if version is None:
        return Finding(Level.UNKNOWN, "version", "not told", "it must be Redis 6.2 or newer, or Valkey; allow INFO")
    if tuple(int(part) for part in version.split(".")[:2] if part.isdecimal()) < OLDEST:
        return Finding(Level.FAIL, "version", f"Redis {version}", "upgrade to 6.2 or newer, or to Valkey")
    return Finding(Level.OK, "version", f"Redis {version}")


def _role(info: Info) -> Finding:
    role = info.get("role")
    if role is None:
        return Finding(Level.UNKNOWN, "role", "not told", "the URL must lead to the master; allow INFO")
    if role != "master":
        return Finding(Level.FAIL, "role", role, "it takes no writes; the URL must lead to the master")
    return Finding(Level.OK, "role", role)


async def _policy(server: Master, info: Info) -> Finding:
    policy = info.get("maxmemory_policy") or await _setting(server, "maxmemory-policy")
    if policy is None:
        return Finding(Level.UNKNOWN, "maxmemory-policy", "not told", "it should be noeviction")
    evicted = info.get("evicted_keys", "0")
    value = policy if evicted == "0" else f"{policy}, {evicted} keys evicted since it was started"
    lost = "" if evicted == "0" else "; rebuild the index of users: python -m chuk_sessions reindex URL"
    if policy != "noeviction":
        why = (
            "when memory runs out, live sessions end, and other sessions cannot be found by their user any more:"
            f" CONFIG SET maxmemory-policy noeviction, and in redis.conf{lost}"
        )
        return Finding(Level.FAIL, "maxmemory-policy", value, why)
    if lost:
        return Finding(Level.WARN, "maxmemory-policy", value, f"delete_user_sessions may miss sessions{lost}")
    return Finding(Level.OK, "maxmemory-policy", policy)


async def _memory(server: Master, info: Info) -> Finding:
    used, limit = int(info.get("used_memory", 0)), int(info.get("maxmemory", 0))
    value = f"{info.get('used_memory_human', 'not told')} of {info.get('maxmemory_human', 'not told')}"
    if not info:
        return Finding(Level.UNKNOWN, "memory", "not told", "allow INFO")
    if not limit:
        advice = "set maxmemory below the memory of the machine, or the operating system may end the server"
        return Finding(Level.WARN, "memory", f"{info.get('used_memory_human')} without a limit", advice)
    if used > FULL * limit:
        return Finding(Level.WARN, "memory", value, "a full server takes no new session: raise maxmemory")
    return Finding(Level.OK, "memory", value)


async def _persistence(server: Master, info: Info) -> Finding:
    if "aof_enabled" not in info:
        return Finding(Level.UNKNOWN, "persistence", "not told", "appendonly yes is advised; allow INFO")
    for name in ("aof_last_write_status", "aof_last_bgrewrite_status", "rdb_last_bgsave_status"):
        if info.get(name, "ok") != "ok":
            return Finding(
                Level.FAIL, "persistence", f"{name} is {info[name]}", "look at the log and disk of the server"
            )
    if info["aof_enabled"] != "1":
        advice = "a crash loses all sessions since the last snapshot: CONFIG SET appendonly yes, and in redis.conf"
        return Finding(Level.WARN, "persistence", "appendonly no", advice)
    fsync = await _setting(server, "appendfsync") or "not told"
    if fsync == "no":
        advice = "a crash of the machine loses up to 30 s: CONFIG SET appendfsync everysec, and in redis.conf"
        return Finding(Level.WARN, "persistence", "appendonly yes, appendfsync no", advice)
    return Finding(Level.OK, "persistence", f"appendonly yes, appendfsync {fsync}")


async def _sessions_listpack(server: Master, info: Info) -> Finding:
    return await _listpack(server, "hash", LISTPACK, "sessions with a longer metadata value take")


async def _index_listpack(server: Master, info: Info) -> Finding:
    return await _listpack(server, "zset", INDEX_LISTPACK, "the index of a user's sessions takes")


async def _listpack(server: Master, kind: str, least: int, what_takes: str) -> Finding:
    name, name_in_6_2 = f"{kind}-max-listpack-value", f"{kind}-max-ziplist-value"
    costs = f"{what_takes} twice the memory"
    for each in (name, name_in_6_2):  # newer servers know both
        value = await _setting(server, each)
        if value is not None and int(value) < least:
            return Finding(Level.WARN, each, value, f"{costs}: CONFIG SET {each} {least}")
        if value is not None:
            return Finding(Level.OK, each, value)
    return Finding(Level.UNKNOWN, name, "not told", f"with less than {least} {costs}; in Redis 6.2 it is {name_in_6_2}")


async def _access(server: Master, info: Info) -> Finding:
    """Find the user of this connection. It is a warning if it is the default user and needs no password."""
    try:
        user = (await server.call(b"ACL", b"WHOAMI", replay=Replay.READ)).decode()
    except ServerError:
        return Finding(Level.OK, "user", "a user that may not run ACL WHOAMI")
    if user != "default":
        return Finding(Level.OK, "user", user)
    advice = "anybody who reaches the server can use all sessions: make a user with a password, and put both in the URL"
    try:
        reply = await server.call(b"ACL", b"GETUSER", b"default", replay=Replay.READ)
    except ServerError:
        return Finding(Level.UNKNOWN, "user", "default", f"if it has no password, {advice}")
    if b"nopass" in as_dict(reply, "ACL GETUSER")[b"flags"]:
        return Finding(Level.WARN, "user", "default, without a password", advice)
    return Finding(Level.OK, "user", "default, with a password")


async def _permissions(client: Client, server: Master) -> list[Finding]:
    """Run every operation on that server, on sessions and a value made for this check; they are removed afterwards."""
    users = (urandom(16).hex() for _ in range(MANY_NAMES))
    user = next((user for user in users if server.has(index_key(CHECK_SANDBOX, user_tag(CHECK_SANDBOX, user)))), None)
    if user is None:
        return [Finding(Level.UNKNOWN, what, "its slots have just moved", "run it again") for what in CALLS]
    store, name = RedisSessionStore(client, CHECK_SANDBOX), new_session_id(CHECK_SANDBOX, user, time.time())
    guests = (new_session_id(CHECK_SANDBOX, None, time.time()) for _ in range(MANY_NAMES))
    guest = next((guest for guest in guests if server.has(session_key(CHECK_SANDBOX, guest))), name)
    new_name, value = renewed_id(name, time.time()), check_value_key(name)
    sessions: Calls = {
        "allocate": lambda: store.create(name, user, 60.0, {"a": 1}, limit=1),
        "validate": lambda: store.touch(name, 0),
        "validate seldom": lambda: store.touch(name, 60),
        "open": lambda: store.open(name, 0, user),
        "open seldom": lambda: store.open(name, 60, user),
        "read": lambda: store.read(name),
        "update": lambda: store.update(name, {"a": 2}, True),
        "count": lambda: store.increment(name, "n", 1),
        "extend": lambda: store.extend(name, 60.0),
        "set lifetime": lambda: store.extend(name, 60.0, from_now=True),
        "renew": lambda: store.renew(name, new_name, 0),
        "list": lambda: store.list_user(user),
        "allocate for nobody": lambda: store.create(guest, None, 60.0, {"a": 1}),
        "log in": lambda: store.renew(guest, new_session_id(CHECK_SANDBOX, user, time.time()), 0, user_id=user),
        "end all": lambda: store.delete_user(user, frozenset([new_name])),
        "delete": lambda: store.delete(new_name),
    }
    async with RedisFactory(client)() as values:
        provider: Calls = {
            "set": lambda: values.setex(value, 60, "value"),
            "get": lambda: values.get(value),
            "remove": lambda: values.delete(value),
        }
        found = [await _try("commands", sessions), await _try("provider API", provider)]
    if reads_legacy():
        asking = RedisFactory(client, legacy=True).session_store(CHECK_SANDBOX)
        rights = f"{LEGACY_RIGHTS} {LEGACY_RIGHTS_IN_A_CLUSTER}" if server.in_cluster else LEGACY_RIGHTS
        found.append(await _try(LEGACY_VARIABLE, {"ask for an unknown id": lambda: asking.read(new_name)}, rights))
    return found


async def _encryption(client: Client, keyring: Keyring | None) -> list[Finding]:
    """Look at some sessions. No finding without a keyring, if no value is sealed."""
    values, plain = Counter[bytes](), Counter[bytes]()
    try:
        for fields in await _some_sessions(client):
            for name, value in fields.items():
                if (found := key_of(name, value)) is not None:
                    values[found] += 1
                    plain[name] += not found
    except NoPermissionError as exc:
        return [Finding(Level.UNKNOWN, "encryption", f"not told ({exc})", "ask as an administrator")]
    names = {} if keyring is None else keyring.names
    if keyring is None and not any(values):
        return []
    shown = ", ".join(f"{name_of_key(key, names)} {number}" for key, number in values.most_common()) or "no values"
    if unknown := sorted(key.hex() for key in values if key and key not in names):
        advice = f"values are sealed with keys that are not in {KEYS_VARIABLE} (ids {', '.join(unknown)}): add them"
        return [Finding(Level.FAIL, "encryption", shown, advice)]
    if keyring is not None and keyring.refuses_plaintext and not all(map(Seals(keyring, "").is_plain, +plain)):
        return [Finding(Level.FAIL, "encryption", shown, "plain values are refused: seal them with `rotate`")]
    return [Finding(Level.OK, "encryption", shown)]


async def _some_sessions(client: Client) -> list[dict[bytes, bytes]]:
    """Return the fields of some sessions, from one server after the other until there are enough."""

    async def fields_of(key: bytes) -> dict[bytes, bytes]:
        try:
            return as_dict(await client.call(b"HGETALL", key, replay=Replay.READ), "HGETALL")
        except WrongTypeError:
            return {}

    found: list[dict[bytes, bytes]] = []
    async with aclosing(Walk(client, ALL_SESSIONS, SAMPLE).pages()) as pages:
        async for keys in pages:  # in a cluster the first page is of one master
            found += await asyncio.gather(*map(fields_of, keys[: SAMPLE - len(found)]))
            if len(found) >= SAMPLE:
                break
    return found


async def _try(name: str, calls: Calls, rights: str = "this permission") -> Finding:
    """Return a finding about the first call that fails, or that all succeed.

    A user for sessions alone may have no right to keys of the provider API, and needs none.
    """
    for what, call in calls.items():
        try:
            await call()
        except NoPermissionError as exc:
            if name == "provider API":
                return Finding(Level.UNKNOWN, name, f"not for this user ({what}: {exc})", "fine unless you use it")
            return Finding(Level.FAIL, name, f"{what} failed: {exc}", f"give the user {rights} (ACL SETUSER)")
        except OutOfMemoryError as exc:
            return Finding(Level.FAIL, name, f"{what} failed: {exc}", "raise maxmemory")
        except ReadOnlyError as exc:
            return Finding(Level.FAIL, name, f"{what} failed: {exc}", "the URL must lead to the master")
        except ProviderError as exc:
            return Finding(Level.FAIL, name, f"{what} failed: {exc}", "remove the cause that the error names")
    return Finding(Level.OK, name, "every call works")


async def _near_cache(server: Master) -> Finding:
    """Tell whether this user may have a near cache, without turning one on for this connection.

    CLIENT CACHING is an error on a connection that is not tracked: any error but a refusal shows the right.
    """
    name, fine = "near cache", "fine unless you use near_cache"
    try:
        await server.call(b"HELLO", replay=Replay.READ)
        await server.call(b"CLIENT", b"TRACKING", b"OFF", replay=Replay.READ)
        await server.call(b"HRANDFIELD", session_key(CHECK_SANDBOX, "near"), b"1", b"WITHVALUES", replay=Replay.READ)
        await server.call(b"CLIENT", b"CACHING", b"NO", replay=Replay.READ)
    except NoPermissionError as exc:
        advice = f"{fine}; then give the user {NEAR_RIGHTS} (ACL SETUSER)"
        return Finding(Level.UNKNOWN, name, f"not for this user ({exc})", advice)
    except ServerError as exc:
        if not str(exc).startswith("ERR CLIENT CACHING"):
            return Finding(Level.UNKNOWN, name, f"the server does not track ({exc})", fine)
    return Finding(Level.OK, name, "the server tracks for this user")


async def _latency(server: Master, info: Info) -> Finding:
    times = []
    for _ in range(PINGS):
        begun = time.perf_counter()
        await server.call(b"PING", replay=Replay.READ)
        times.append((time.perf_counter() - begun) * 1000)
    median = statistics.median(times)
    value = f"median {median:.2f} ms, longest {max(times):.2f} ms of {PINGS}"
    if median > SLOW:
        return Finding(Level.WARN, "latency", value, "every call waits for it: move application and server together")
    return Finding(Level.OK, "latency", value)


LOOKS: tuple[Callable[[Master, Info], Awaitable[Finding]], ...] = (
    _policy,
    _memory,
    _persistence,
    _sessions_listpack,
    _index_listpack,
    _access,
    _latency,
)
