"""Several threads may share a map under the GIL: no live key is ever lost.

The interpreter is made to switch threads as often as it can, and keys expire, are swept and come back under the
writers' hands. Any call between the statements of `_visit` that read an entry and delete the key, as in
`items.get(key)` and `items.pop(key)`, makes the first test fail.
"""

from __future__ import annotations

import threading
import time
from contextlib import contextmanager
from itertools import count
from typing import TYPE_CHECKING

import pytest

from chuk_sessions.providers.memory.expiring_map import SPARE_SECONDS, ExpiringMap
from tests.memory.test_expiring_map import check_filings, run
from tests.support.helpers import Clock

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = pytest.mark.usefixtures("frequent_switches")

SECONDS = 1.0
LONG = 1e9
KEYS = 256


def make_map() -> ExpiringMap:
    """A map for which each look at the clock moves it on by a second."""
    return ExpiringMap(count(0.0, 1.0).__next__)


class Crew:
    """Threads that each repeat a job until time is up; the first exception of any is raised at the end."""

    def __init__(self) -> None:
        self.stop = threading.Event()
        self.errors: list[BaseException] = []

    def _repeat(self, job: Callable[[], None]) -> None:
        try:
            while not self.stop.is_set():
                job()
        except BaseException as exc:  # reported by the main thread
            self.errors.append(exc)
            self.stop.set()

    @contextmanager
    def at_work(self, *jobs: Callable[[], None]) -> Iterator[None]:
        threads = [threading.Thread(target=self._repeat, args=(job,)) for job in jobs]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self.stop.set()
            for thread in threads:
                thread.join()
        if self.errors:
            raise self.errors[0]


def sweeping(items: ExpiringMap) -> Callable[[], None]:
    def sweep() -> None:
        for _ in items.sweep():
            pass

    return sweep


def writing(items: ExpiringMap, clock: Clock, owner: int, lost: list[str]) -> Callable[[], None]:
    """A writer with keys of its own: what it stored for long must be there when it looks again.

    It lets all its keys expire at once and stores them again while the sweepers are at them, in the order in which
    they go: the first filing, then from the last one back.
    """
    keys = [(owner, number) for number in range(KEYS)]

    def write() -> None:
        for key in keys:
            run(items.setex(key, 1, "short"))
        if owner == 0:
            clock.move(10)
        time.sleep(0)  # lets another thread in
        for key in reversed(keys):
            run(items.setex(key, LONG, "long"))
        lost.extend([str(key) for key in keys if run(items.get(key)) != "long"])
        for key in keys:
            run(items.delete(key))

    return write


@pytest.mark.parametrize("writers", [1, 3])
def test_writers_and_sweepers_lose_no_live_key(writers: int) -> None:
    clock, lost = Clock(0.0), list[str]()
    items = ExpiringMap(clock)
    work = [writing(items, clock, owner, lost) for owner in range(writers)]
    with Crew().at_work(*work, sweeping(items)):
        time.sleep(SECONDS)  # the work is in the other threads
    assert lost == []
    check_filings(items, SPARE_SECONDS)


def test_writers_of_the_same_keys() -> None:
    """Of a key that all overwrite, somebody's last value is there; and the index holds each key once."""
    items = make_map()
    lost: list[str] = []

    def write() -> None:
        for key in range(5):
            run(items.setex(key, LONG, "long"))
            run(items.setex(key, LONG / 2, "shorter"))
            if run(items.get(key)) is None:
                lost.append(str(key))

    with Crew().at_work(write, write, write, sweeping(items)):
        time.sleep(SECONDS)
    assert lost == []
    assert set(items.items) == set(range(5))
    check_filings(items, SPARE_SECONDS)


def test_threads_that_create_and_delete_the_same_keys() -> None:
    """Nothing raises, and what is left at the end can be read, deleted and is gone."""
    items = make_map()

    def create() -> None:
        for key in range(5):
            run(items.setex(key, 1, "short"))
            run(items.setex(key, LONG, "long"))
            run(items.setex(key, LONG / 2, "shorter"))

    def delete() -> None:
        for key in range(5):
            run(items.delete(key))

    with Crew().at_work(create, create, delete, delete, sweeping(items)):
        time.sleep(SECONDS)
    delete()
    assert len(items) == 0


def test_a_quiet_map_after_threads_is_sound() -> None:
    """When the threads are done, each key is filed once, and the count of stale filings is not far off."""
    clock, lost = Clock(0.0), list[str]()
    items = ExpiringMap(clock)
    with Crew().at_work(writing(items, clock, 0, lost), sweeping(items), sweeping(items)):
        time.sleep(SECONDS / 2)
    assert lost == []
    assert items.stale == pytest.approx(check_filings(items, SPARE_SECONDS) - len(items), abs=100)
