"""A look at what is going on: sessions per sandbox, memory, commands and the slowest server, now and a second.

The server's own counters tell of commands, expired keys and memory. What sessions were created, ended and validated
only the application knows: ``metrics`` is the URL of its metrics for Prometheus.
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
SO_FAR = {"commands": "total_commands_processed", "expired": "expired_keys", "evicted": "evicted_keys"}  # in INFO


@dataclass
class Server:
    """One server: bytes of memory and their bound (0: none), milliseconds of a round trip, and numbers so far."""

    memory: int | None = None  # None if the server does not tell
    bound: int = 0
    round_trip: float = 0.0
    so_far: dict[str, int] = field(default_factory=dict)


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
    """Two looks, compared: numbers ``per_second``, by server and of the application."""

    sandboxes: dict[str, int]
    servers: dict[str, Server]
    per_second: dict[str, dict[str, float]]
    application: dict[str, float] | None

    @property
    def slowest(self) -> str:
        """The server with the longest round trip."""
        return max(self.servers, key=lambda name: self.servers[name].round_trip)


async def look(client: Client, metrics: str | None = None, before: Look | None = None) -> Look:
    """Look once. Sessions are counted again only if ``before`` is old, since that goes through all keys.

    Raises ProviderError if a server cannot be reached, ValueError if the metrics cannot be read.
    """
    masters = await client.masters()
    servers = dict(zip([each.address for each in masters], await asyncio.gather(*map(_server, masters)), strict=True))
    if before is None or time.monotonic() - before.counted_at >= COUNT_EVERY:
        sandboxes, counted_at = await _sandboxes(client), time.monotonic()
    else:
        sandboxes, counted_at = before.sandboxes, before.counted_at
    application = None if metrics is None else await asyncio.to_thread(_application, metrics)
    return Look(time.monotonic(), servers, sandboxes, counted_at, application)


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
        known = before.servers.get(name, Server()).so_far
        rates[name] = _rates(known, server.so_far, seconds) if known else dict.fromkeys(server.so_far, 0.0)
    told = None
    if now.application is not None:
        told = _rates(before.application or now.application, now.application, seconds)
    return View(now.sandboxes, now.servers, rates, told)


def _rates(before: Any, now: Any, seconds: float) -> dict[str, float]:
    since = {name: number - before.get(name, 0) for name, number in now.items()}
    return {name: round((more if more >= 0 else now[name]) / seconds, 1) for name, more in since.items()}


async def _server(master: Master) -> Server:
    found = Server()
    try:
        text: bytes = await master.call(b"INFO", replay=Replay.READ)
        pairs = (line.split(":", 1) for line in text.decode("utf-8", "replace").splitlines() if ":" in line)
        info = {name: int(value) for name, value in pairs if value.isdecimal()}
        found.memory, found.bound = info.get("used_memory"), info.get("maxmemory", 0)
        found.so_far = {name: info.get(told, 0) for name, told in SO_FAR.items()}
    except NoPermissionError:
        pass
    times = []
    for _ in range(PINGS):
        begun = time.perf_counter()
        await master.call(b"PING", replay=Replay.READ)
        times.append(time.perf_counter() - begun)
    found.round_trip = round(min(times) * 1000, 3)
    return found


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
                "round_trip_ms": server.round_trip,
                "per_second": view.per_second[name],
            }
            for name, server in view.servers.items()
        },
        "slowest": view.slowest,
        "application_per_second": view.application,
    }


def rows(view: View) -> tuple[list[tuple[str, ...]], list[tuple[str, ...]], str]:
    """Return a row for each server, a row for each sandbox, and a line about the application."""
    servers = [
        (
            name + (" (slowest)" if len(view.servers) > 1 and name == view.slowest else ""),
            f"{server.round_trip:.2f}",
            "?" if server.memory is None else f"{server.memory / 1e6:,.1f}",
            f"{server.bound / 1e6:,.1f}" if server.bound else "-",
            *(f"{view.per_second[name].get(each, 0):,.1f}" for each in SO_FAR),
        )
        for name, server in view.servers.items()
    ]
    sandboxes: list[tuple[str, ...]] = [(name, f"{number:,}") for name, number in view.sandboxes.items()]
    told = view.application
    line = "" if told is None else "  ".join(f"{name} {number:,.1f}/s" for name, number in told.items())
    return servers, sandboxes, line


SERVER_HEAD = ("server", "ms", "MB", "of MB", *(f"{name}/s" for name in SO_FAR))
SANDBOX_HEAD = ("sandbox", "sessions")


def as_text(view: View) -> str:
    """Return the view as lines."""
    servers, sandboxes, line = rows(view)
    parts = [_aligned([SERVER_HEAD, *servers]), _aligned([SANDBOX_HEAD, *sandboxes])]
    return "\n\n".join([*parts, line] if line else parts)


def _aligned(table: list[tuple[str, ...]]) -> str:
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    first, *others = widths
    return "\n".join(
        row[0].ljust(first) + "".join(f"  {cell:>{width}}" for cell, width in zip(row[1:], others, strict=True))
        for row in table
    )


def as_table(view: View) -> Any:
    """Return the view for rich. Raises ImportError if that is not installed."""
    from rich.console import Group
    from rich.table import Table

    servers, sandboxes, line = rows(view)
    tables: list[Any] = []
    for head, body in ((SERVER_HEAD, servers), (SANDBOX_HEAD, sandboxes)):
        table = Table(box=None, pad_edge=False)
        for number, name in enumerate(head):
            table.add_column(name, justify="right" if number else "left")
        for row in body:
            table.add_row(*row)
        tables.append(table)
    return Group(*tables, line)
