"""Clients that send requests to an application, in the process that serves them.

``main`` is a worker that runs a block of requests to a library's application whenever it is told to (see
``measure.told``): the first line is the question, answered with what is installed once the sessions are filled; each
further line is answered with the figures of a block. ``added`` is a task of ``worker``: what our middleware adds to the
same application.
"""

from __future__ import annotations

import asyncio
import gc
import json
import platform
import sys
import time
from collections.abc import AsyncIterator, Mapping
from typing import Any

from benchmarks.measure.placement import Placement, placed
from benchmarks.measure.timing import quantile
from benchmarks.web import applications

HOST = (b"host", b"shop.example")
SLOWEST = 0.99


class Client:
    """A browser: a cookie, and the requests that it sends one after another."""

    def __init__(self, app: applications.Application, **more: Any) -> None:
        self.app = app
        self.more = more  # of the scope
        self.headers: list[tuple[bytes, bytes]] = [HOST]
        self.status = 0
        self.is_sent = False
        self.body = b""

    def scope(self, path: str) -> dict[str, Any]:
        """As a server makes it."""
        return {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": "1.1",
            "method": "GET",
            "scheme": "http",
            "path": path,
            "raw_path": path.encode(),
            "root_path": "",
            "query_string": b"",
            "headers": self.headers,
            "client": ("127.0.0.1", 1),
            "server": ("127.0.0.1", 80),
            "state": {},
            **self.more,
        }

    async def receive(self) -> Any:
        """The whole request at once."""
        if self.is_sent:
            return {"type": "http.disconnect"}
        self.is_sent = True
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(self, message: Any) -> None:
        """Take the response, and its cookie."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
            for name, value in message["headers"]:
                if name == b"set-cookie":
                    self.headers = [HOST, (b"cookie", value.partition(b";")[0])]
        else:
            self.body += message.get("body", b"")

    async def get(self, path: str) -> None:
        """One request."""
        self.is_sent, self.body = False, b""
        await self.app(self.scope(path), self.receive, self.send)

    async def checked(self, path: str, body: bytes) -> None:
        """The same; AssertionError if it was not answered as it should be."""
        await self.get(path)
        assert (self.status, self.body) == (200, body), f"{path} answered {self.status}: {self.body[:80]!r}"

    async def many(self, path: str, count: int, times: list[int]) -> None:
        """So many, with the nanoseconds of each."""
        clock = time.perf_counter_ns
        for _ in range(count):
            start = clock()
            await self.get(path)
            times.append(clock() - start)
        assert self.status == 200, f"{path} answered {self.status}"


def main() -> None:
    """Answer until the input ends."""
    serve(**json.loads(sys.stdin.readline()))


def serve(
    *, library: str, path: str, clients: int, count: int, url: str | None, loop: str, placement: Placement
) -> None:
    """The same, for one page of the application of a library."""
    from benchmarks.worker import LIBRARIES, loop_factory, versions

    app = getattr(applications, library)(url)
    with placed(placement), asyncio.Runner(loop_factory=loop_factory(loop)) as runner:
        runner.run(_serve(blocks(app, path, clients, count), versions(LIBRARIES)))


async def _serve(found: AsyncIterator[Mapping[str, float]], versions: Mapping[str, str]) -> None:
    await anext(found)  # connections are opened and code is warm before anything is timed
    print(json.dumps({"versions": versions, "python": platform.python_version()}), flush=True)
    while sys.stdin.readline():
        gc.collect()  # as in the gate
        await asyncio.sleep(0)  # timers that came due while others ran
        print(json.dumps(await anext(found)), flush=True)


async def blocks(
    app: applications.Application, path: str, clients: int, count: int
) -> AsyncIterator[Mapping[str, float]]:
    """Without end: of ``count`` requests, nanoseconds a request and the 99th percentile of single ones.

    AssertionError if the sessions do not hold what they were filled with.
    """
    browsers = [Client(app) for _ in range(clients)]
    for browser in browsers:
        await browser.checked("/nothing", b"x")
        if path != "/nothing":
            await browser.checked("/fill", b"x")
            await browser.checked("/read", b"alice")
    each = max(1, count // clients)
    while True:
        times: list[int] = []
        start = time.perf_counter_ns()
        await asyncio.gather(*[browser.many(path, each, times) for browser in browsers])
        spent = time.perf_counter_ns() - start
        if path != "/nothing":
            await browsers[0].checked("/read", b"alice")
        yield {"ns": round(spent / (each * clients), 1), "p99": quantile(times, SLOWEST)}


def added(*, page: str, loop: str, count: int, least: int, most: int, seconds: float) -> Mapping[str, list[float]]:
    """Nanoseconds that our middleware, in memory, adds to a request of one client: a figure for each pair of blocks.

    The two sides take turns in one process: the application in the middleware, and the same application alone, whose
    scope has a dict with the same data already.
    """
    from benchmarks.worker import loop_factory

    with asyncio.Runner(loop_factory=loop_factory(loop)) as runner:
        return runner.run(_pairs(page, count, least, most, time.monotonic() + seconds))


async def _pairs(page: str, count: int, least: int, most: int, deadline: float) -> Mapping[str, list[float]]:
    ours = Client(applications.chuk(None))
    alone = Client(applications.bare(None), session={} if page == "nothing" else dict(applications.DATA))
    if page != "nothing":
        await ours.checked("/fill", b"x")
        await ours.checked("/read", b"alice")

    async def block(client: Client) -> float:
        start = time.perf_counter_ns()
        for _ in range(count):
            await client.get(f"/{page}")
        return (time.perf_counter_ns() - start) / count

    await block(alone), await block(ours)
    found: list[float] = []
    while len(found) < least or (len(found) < most and time.monotonic() < deadline):
        if len(found) % 2:
            without, with_ours = await block(alone), await block(ours)
        else:
            with_ours, without = await block(ours), await block(alone)
        found.append(round(with_ours - without, 1))
    assert ours.status == alone.status == 200
    return {"ns": found}
