"""A look at what is going on: sessions per sandbox, memory, commands and the slowest server, now and a second.

The server counts commands, also those that scripts run, and keys. It does not know which of them were logins. So its
numbers are named after what they count, and some are bounds: see ``CALLS``. How many sessions were created, ended and
validated only the application knows: ``metrics`` is the URL of its metrics for Prometheus.
"""

from __future__ import annotations

import asyncio
import re
import time
import urllib.request
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from http.client import HTTPException
from typing import TYPE_CHECKING, Any

from chuk_sessions.exceptions import NoPermissionError
from chuk_sessions.ids import unquote_part
from chuk_sessions.providers.redis.keys import ALL_SESSIONS, SESSION_KEY
from chuk_sessions.providers.redis.scan import Walk
from chuk_sessions.redis_client.commands import Replay

if TYPE_CHECKING:
    from chuk_sessions.redis_client.client import Client
    from chuk_sessions.redis_client.master import Master

__all__ = ["Look", "View", "as_json", "as_text", "compare", "look", "once", "watch"]

BATCH = 1000  # keys that the server looks at before it serves other clients
COUNT_EVERY = 60.0  # seconds between two walks over all keys
PINGS = 3
FETCH_TIMEOUT = 5.0  # seconds
MOST_BYTES = 64 << 20  # of a page of metrics
SAMPLE = re.compile(r"chuk_sessions_operations_total\{(.*)\} (\S+)")
LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')
# Operation and outcome that count as one of these.
APPLICATION = {
    ("create", "created"): "created",
    ("delete", "found"): "ended",
    ("touch", "found"): "validated",
    ("open", "found"): "validated",
}
INFO = {"commands": "total_commands_processed", "expired": "expired_keys", "evicted": "evicted_keys"}  # names there
# Commands whose calls count as one of these. A validation reads once: an HMGET of its script. A deletion removes once.
# To create a session takes one EXISTS, and one PEXPIREAT for the session. Scripts run an EXISTS also for what is not
# there, and a PEXPIREAT also for the index of a user: no more sessions were created than the smaller number says.
CALLS = {
    "scripts": ("evalsha", "eval"),
    "read": ("hmget", "hgetall", "hrandfield"),
    "written": ("hset", "hincrby"),
    "removed": ("unlink", "del"),
    "exists": ("exists",),
    "deadlines": ("pexpireat",),
}
CALLED = re.compile(r"cmdstat_(\w+):calls=(\d+)")
KEYS = re.compile(r"db\d+:keys=(\d+)")
USE = ("commands", "scripts", "growth")  # the figures of a server, a second, by the table that has them
SESSIONS = ("created_at_most", "read", "written", "removed", "expired", "evicted")


@dataclass
class Server:
    """One server: bytes of memory and their bound (0: none), keys, milliseconds of a round trip, and numbers so far.

    ``run`` is the name that the server gave itself when it was started.
    """

    memory: int | None = None  # None if the server does not tell
    bound: int = 0
    keys: int | None = None
    round_trip: float = 0.0
    so_far: dict[str, int] = field(default_factory=dict)
    run: str = ""


@dataclass
class Look:
    """What was found at one moment, by the monotonic clock."""

    at: float
    servers: dict[str, Server]
    sandboxes: dict[str, int]
    counted_at: float
    application: dict[str, float] | None


@dataclass
class View:
    """Two looks, compared: numbers ``per_second``, by server and of the application.

    A number that the server does not tell is missing.
    """

    sandboxes: dict[str, int]
    servers: dict[str, Server]
    per_second: dict[str, dict[str, float]]
    application: dict[str, float] | None

    @property
    def slowest(self) -> str:
        """The server with the longest round trip."""
        return max(self.servers, key=lambda name: self.servers[name].round_trip)

    @property
    def together(self) -> dict[str, float]:
        """The numbers of all servers, added up; those that each of them tells."""
        several = list(self.per_second.values())
        names = (name for name in (*USE, *SESSIONS) if several and all(name in each for each in several))
        return {name: round(sum(each[name] for each in several), 1) for name in names}


async def look(client: Client, metrics: str | None = None, before: Look | None = None) -> Look:
    """Look once. Sessions are counted again only if ``before`` is old, since that goes through all keys.

    Raises ProviderError if a server cannot be reached, ValueError if the metrics cannot be read.
    """
    if before is None or time.monotonic() - before.counted_at >= COUNT_EVERY:
        sandboxes, counted_at = await _sandboxes(client), time.monotonic()
    else:
        sandboxes, counted_at = before.sandboxes, before.counted_at
    at = time.monotonic()  # not before the walk over all keys, which may take seconds: rates are of what comes now
    masters = await client.masters()
    servers = dict(zip([each.address for each in masters], await asyncio.gather(*map(_server, masters)), strict=True))
    application = None if metrics is None else await asyncio.to_thread(_application, metrics)
    return Look(at, servers, sandboxes, counted_at, application)


async def once(client: Client, metrics: str | None, interval: float) -> View:
    """Look twice, ``interval`` seconds apart. Raises as ``look``."""
    before = await look(client, metrics)
    await asyncio.sleep(interval)
    return compare(before, await look(client, metrics, before))


async def watch(client: Client, metrics: str | None, interval: float, stopped: asyncio.Event) -> None:
    """Draw a look every ``interval`` seconds, until ``stopped``. Raises as ``look``, and ValueError without rich."""
    try:
        from rich.live import Live
    except ImportError:
        raise ValueError("the live view needs rich: pip install 'chuk-sessions[cli]'; --once does not") from None
    before = await look(client, metrics)
    with Live(auto_refresh=False, screen=True) as live:
        while not stopped.is_set():
            now = await look(client, metrics, before)
            live.update(as_table(compare(before, now)), refresh=True)
            before = now
            with suppress(TimeoutError):
                await asyncio.wait_for(stopped.wait(), interval)


def compare(before: Look, now: Look) -> View:
    """Return what the two looks say together. A counter that went back was begun anew, and counts from 0."""
    seconds = max(now.at - before.at, 0.001)
    rates: dict[str, dict[str, float]] = {}
    for name, server in now.servers.items():
        rates[name] = _of_server(before.servers.get(name, server), server, seconds)
    told = None
    if now.application is not None:
        told = _rates(before.application or now.application, now.application, seconds)
    return View(now.sandboxes, now.servers, rates, told)


def _of_server(before: Server, now: Server, seconds: float) -> dict[str, float]:
    """Return the numbers of a server a second; one that has just come has none, and its rates are 0.

    So has one that was started anew, and another one that has got the address: its numbers began at another time.
    """
    if before.run != now.run:
        before = now
    known = {name: before.so_far.get(name, number) for name, number in now.so_far.items()}
    if any(number < known[name] for name, number in now.so_far.items()):
        known = {}  # CONFIG RESETSTAT: all of them began at 0
    rates = _rates(known, now.so_far, seconds)
    if "exists" in rates:
        rates["created_at_most"] = min(rates.pop("exists"), rates.pop("deadlines"))
    if now.keys is not None and before.keys is not None:
        rates["growth"] = round((now.keys - before.keys) / seconds, 1)
    return rates


def _rates(before: Any, now: Any, seconds: float) -> dict[str, float]:
    since = {name: number - before.get(name, 0) for name, number in now.items()}
    return {name: round((more if more >= 0 else now[name]) / seconds, 1) for name, more in since.items()}


async def _server(master: Master) -> Server:
    found = Server()
    try:
        reply: bytes = await master.call(b"INFO", b"all", replay=Replay.READ)
        _read(reply.decode("utf-8", "replace"), found)
    except NoPermissionError:
        pass
    times = []
    for _ in range(PINGS):
        begun = time.perf_counter()
        await master.call(b"PING", replay=Replay.READ)
        times.append(time.perf_counter() - begun)
    found.round_trip = round(min(times) * 1000, 3)
    return found


def _read(text: str, found: Server) -> None:
    """Fill in what INFO says. A server that counts no commands by name, as some services do, says less."""
    told = dict(line.split(":", 1) for line in text.splitlines() if ":" in line)
    info = {name: int(value) for name, value in told.items() if value.isdecimal()}
    found.run = told.get("run_id", "")
    found.memory, found.bound = info.get("used_memory"), info.get("maxmemory", 0)
    found.so_far = {name: info[each] for name, each in INFO.items() if each in info}
    if "# Keyspace" in text:
        found.keys = sum(map(int, KEYS.findall(text)))
    if calls := {name: int(number) for name, number in CALLED.findall(text)}:
        found.so_far |= {name: sum(calls.get(each, 0) for each in several) for name, several in CALLS.items()}


async def _sandboxes(client: Client) -> dict[str, int]:
    """Count the keys of sessions in each sandbox; aliases are among them."""
    counts = Counter[str]()
    async for keys in Walk(client, ALL_SESSIONS, BATCH).pages():
        found = filter(None, map(SESSION_KEY.fullmatch, keys))
        counts.update(unquote_part(match[1].decode()) for match in found)
    return dict(counts.most_common())


def _application(url: str) -> dict[str, float]:
    """Read what the application has counted. Raises ValueError if that cannot be read."""
    if not url.startswith(("http://", "https://")):
        raise ValueError("--metrics must be an http:// or https:// URL")
    try:
        with urllib.request.urlopen(url, timeout=FETCH_TIMEOUT) as answer:
            text: str = answer.read(MOST_BYTES).decode("utf-8", "replace")
    except OSError as exc:
        raise ValueError(f"the metrics could not be read: {getattr(exc, 'reason', exc)}") from exc
    except HTTPException as exc:  # its text may have a part of the URL, with a password in it
        kind = type(exc).__name__
        raise ValueError(f"the metrics could not be read: no HTTP server there, or a wrong URL ({kind})") from None
    found = dict.fromkeys(APPLICATION.values(), 0.0)
    for labels, number in SAMPLE.findall(text):
        known = dict(LABEL.findall(labels))
        name = APPLICATION.get((known.get("operation", ""), known.get("outcome", "")))
        if name is not None:
            found[name] += float(number)
    return found


def as_json(view: View) -> dict[str, Any]:
    """Return the view as what JSON can hold."""
    return {
        "sandboxes": view.sandboxes,
        "servers": {
            name: {
                "memory": server.memory,
                "maxmemory": server.bound,
                "keys": server.keys,
                "round_trip_ms": server.round_trip,
                "per_second": view.per_second[name],
            }
            for name, server in view.servers.items()
        },
        "slowest": view.slowest,
        "per_second": view.together,
        "application_per_second": view.application,
    }


Table = list[tuple[str, ...]]
SERVER_HEAD = ("server", "ms", "MB", "of MB", "keys", *(f"{name}/s" for name in USE))
COUNTED_HEAD = ("counted by", "created/s <=", *(f"{name}/s" for name in SESSIONS[1:]))
SANDBOX_HEAD = ("sandbox", "sessions")


def tables(view: View) -> tuple[list[Table], str]:
    """Return tables, each with its head, of the servers, of what they count, and of the sandboxes; and a last line.

    The line tells of the application; it is empty if that was not asked.
    """
    is_one = len(view.servers) == 1
    servers: Table = [SERVER_HEAD]
    for name, server in view.servers.items():
        servers.append(
            (
                name + ("" if is_one or name != view.slowest else " (slowest)"),
                f"{server.round_trip:.2f}",
                "?" if server.memory is None else f"{server.memory / 1e6:,.1f}",
                f"{server.bound / 1e6:,.1f}" if server.bound else "-",
                "?" if server.keys is None else f"{server.keys:,}",
                *_cells(view.per_second[name], USE),
            )
        )
    counted: Table = [COUNTED_HEAD, *((name, *_cells(rates, SESSIONS)) for name, rates in view.per_second.items())]
    if not is_one:
        counted.append(("all", *_cells(view.together, SESSIONS)))
    sandboxes: Table = [SANDBOX_HEAD, *((name, f"{number:,}") for name, number in view.sandboxes.items())]
    told = view.application or {}
    line = "  ".join(f"{name} {number:,.1f}/s" for name, number in told.items())
    return [servers, counted, sandboxes], line and f"application: {line}"


def _cells(rates: dict[str, float], names: tuple[str, ...]) -> list[str]:
    return [f"{rates[name]:,.1f}" if name in rates else "?" for name in names]


def as_text(view: View) -> str:
    """Return the view as lines."""
    several, line = tables(view)
    parts = [_aligned(table) for table in several]
    return "\n\n".join([*parts, line] if line else parts)


def _aligned(table: Table) -> str:
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    first, *others = widths
    return "\n".join(
        row[0].ljust(first) + "".join(f"  {cell:>{width}}" for cell, width in zip(row[1:], others, strict=True))
        for row in table
    )


def as_table(view: View) -> Any:
    """Return the view for rich. Raises ImportError if that is not installed."""
    from rich.console import Group
    from rich.table import Table as Drawn

    several, line = tables(view)
    drawn: list[Any] = []
    for head, *body in several:
        table = Drawn(box=None, pad_edge=False)
        for number, name in enumerate(head):
            table.add_column(name, justify="right" if number else "left")
        for row in body:
            table.add_row(*row)
        drawn += [table, ""]
    return Group(*drawn, line)
