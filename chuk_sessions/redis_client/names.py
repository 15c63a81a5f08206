"""Resolves names of servers to addresses, with threads of its own.

The executor of the loop belongs to the application: names without an answer would fill it, and a full executor would
keep us from connecting. One thread at a time asks for a name, for all callers in all event loops. It goes on if no
caller waits any more, because the system cannot be told to stop. ``MAX_THREADS`` threads ask at the same time. Further
names wait for a thread. A thread that has waited for ``PATIENCE`` seconds does not count any more, so that names
without an answer do not hold up other names. There are at most ``MOST_THREADS`` threads in all.
"""

from __future__ import annotations

import asyncio
import os
import socket
import threading
import time
from collections import deque
from contextlib import suppress
from itertools import chain, zip_longest
from typing import Any, cast

__all__ = ["THREAD_NAME", "Place", "addresses_of"]

THREAD_NAME = "chuk_sessions names"
MAX_THREADS = 8  # reached while DNS is out; otherwise an answer takes milliseconds
MOST_THREADS = 64
PATIENCE = 0.5  # seconds: less than a connection may take

Name = tuple[str, int]
Place = tuple[int, int, tuple[str, int] | tuple[str, int, int, int]]  # family, protocol, address

_asking: dict[Name, list[asyncio.Future[list[Place]]]] = {}  # the callers that wait for an answer
_queue: deque[Name] = deque()  # names that no thread asks for yet
_begun: list[float] = []  # when each thread began to ask, by time.monotonic()
_lock = threading.Lock()  # guards all three


async def addresses_of(host: str, port: int) -> list[Place]:
    """Return the addresses of a name, at least one, in the system's order but with both families in turn.

    If ``host`` is an address, it is returned at once, without a thread. Raises OSError if the name has no address, and
    ValueError if it cannot be a name.
    """
    with suppress(OSError):
        socket.inet_pton(socket.AF_INET, host)
        return [(socket.AF_INET, socket.IPPROTO_TCP, (host, port))]
    with suppress(OSError):
        socket.inet_pton(socket.AF_INET6, host)
        return [(socket.AF_INET6, socket.IPPROTO_TCP, (host, port, 0, 0))]
    future: asyncio.Future[list[Place]] = asyncio.get_running_loop().create_future()
    _ask((host, port), future)
    try:
        while not (await asyncio.wait([future], timeout=PATIENCE))[0]:
            _relieve()
        return future.result()
    finally:
        future.cancel()


def _ask(name: Name, future: asyncio.Future[list[Place]]) -> None:
    with _lock:
        if name in _asking:
            _asking[name].append(future)
        else:
            _queue.append(name)
            _asking[name] = [future]
    _relieve()


def _relieve() -> None:
    """Start threads for names that wait, if more threads are allowed."""
    with _lock:
        now = time.monotonic()
        while _queue and len(_begun) < MOST_THREADS and sum(now - each < PATIENCE for each in _begun) < MAX_THREADS:
            _begun.append(now)
            try:
                threading.Thread(target=_answer, args=(_queue[0], now), name=THREAD_NAME, daemon=True).start()
            except BaseException:
                _begun.remove(now)
                raise
            _queue.popleft()


def _answer(name: Name | None, begun: float) -> None:
    """Ask for a name, and then for names that wait for a thread. ``_begun`` has ``begun`` for the first name."""
    while name is not None:
        places, error = None, None
        try:
            places = _look_up(*name)
        except Exception as exc:
            error = exc.with_traceback(None)  # the traceback would hold this frame, and this frame the error
        with _lock:
            waiting = _asking.pop(name, [])
            with suppress(ValueError):  # the entry was removed as that of a thread that could not be started
                _begun.remove(begun)
            name = _queue.popleft() if _queue else None
            if name is not None:
                begun = time.monotonic()
                _begun.append(begun)
        for future in waiting:
            with suppress(RuntimeError):  # its loop is closed: no caller waits any more
                future.get_loop().call_soon_threadsafe(_settle, future, places, error)


def _settle(future: asyncio.Future[list[Place]], places: list[Place] | None, error: Exception | None) -> None:
    if future.done():
        return
    if places is not None:
        future.set_result(places)
    elif error is not None:
        future.set_exception(error)


def _look_up(host: str, port: int) -> list[Place]:
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    places = list(dict.fromkeys((family, protocol, cast(Any, address)) for family, _, protocol, _, address in found))
    first = [place for place in places if place[0] == places[0][0]]
    others = [place for place in places if place[0] != places[0][0]]
    return [place for place in chain(*zip_longest(first, others)) if place is not None]


def _after_fork_in_child() -> None:
    """Begin anew: the threads of the parent do not exist here, and one of them may have had the lock."""
    global _lock
    _lock = threading.Lock()
    _begun.clear()
    _asking.clear()
    _queue.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
