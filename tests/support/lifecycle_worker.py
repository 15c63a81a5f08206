"""What one of several processes does in the tests of the session lifecycle: `python -m` it with a job.

It says `ready`, waits for a line from the test, so that all begin together, and prints its result as JSON.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from typing import TYPE_CHECKING, Any, Self

from chuk_sessions import SessionManager
from chuk_sessions.providers import redis
from tests.support.pages import REPOSITORY

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from chuk_sessions.stores import SessionStoreFactory

TASKS = 10  # of each process
PATIENCE = 120.0  # seconds; only a test that fails waits so long


class Workers:
    """Processes that all do one job at the same time; a context, after which none is left."""

    def __init__(self, processes: int, job: str, url: str, *arguments: object) -> None:
        command = [sys.executable, "-m", "tests.support.lifecycle_worker", job, url, *map(str, arguments)]
        pipe = subprocess.PIPE
        self._processes = [
            subprocess.Popen(command, cwd=REPOSITORY, stdin=pipe, stdout=pipe, text=True) for _ in range(processes)
        ]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        for process in self._processes:
            process.kill()
            process.communicate()

    def go(self) -> None:
        """Begin, once all are ready."""
        for process in self._processes:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
        for process in self._processes:
            assert process.stdin is not None
            process.stdin.write("go\n")
            process.stdin.flush()

    def running(self) -> bool:
        """Whether any has not ended."""
        return any(process.poll() is None for process in self._processes)

    def results(self) -> list[Any]:
        """What each printed; AssertionError if one failed."""
        outputs = [process.communicate(timeout=PATIENCE)[0] for process in self._processes]
        assert [process.returncode for process in self._processes] == [0] * len(self._processes)
        return [json.loads(output) for output in outputs]


def open_factory(url: str) -> SessionStoreFactory:
    """Of the example over SQLite for `sqlite:` and a path, else of Redis."""
    if url.startswith("sqlite:"):
        from examples.sqlite_store import SQLiteFactory

        return SQLiteFactory(url.removeprefix("sqlite:"))
    return redis.factory(url)


async def count(url: str, session_id: str, tasks: str, times: str) -> list[int | None]:
    """Count in one session from many tasks; every value that was returned."""
    manager = SessionManager("box", open_factory(url))

    async def task() -> list[int | None]:
        return [await manager.increment_session_metadata(session_id, "used") for _ in range(int(times))]

    return [value for values in await asyncio.gather(*[task() for _ in range(int(tasks))]) for value in values]


async def log_in(url: str, user: str, limit: str, times: str) -> list[int]:
    """Log one user in from several tasks; how many sessions there were whenever that was looked at.

    Half of the tasks make opaque ids.
    """
    factory = open_factory(url)
    seen: list[int] = []

    async def task(number: int) -> None:
        manager = SessionManager("box", factory, max_sessions_per_user=int(limit), opaque_ids=bool(number % 2))
        for _ in range(int(times) // TASKS):
            await manager.allocate_session(user_id=user)
            seen.append(len(await manager.list_user_sessions(user)))

    await asyncio.gather(*map(task, range(TASKS)))
    return seen


async def log_in_at_once(url: str, user: str, limit: str, times: str) -> int:
    """Log one user in so many times in one turn of the loop; how many sessions that made."""
    manager = SessionManager("box", open_factory(url), max_sessions_per_user=int(limit))
    return len(set(await asyncio.gather(*[manager.allocate_session(user_id=user) for _ in range(int(times))])))


async def renew(url: str, *session_ids: str) -> list[str]:
    """Renew each session again and again, until it has ended; the last ids."""
    manager = SessionManager("box", open_factory(url))

    async def task(session_id: str) -> str:
        while (new_id := await manager.renew_session(session_id, 0.05 if len(session_id) % 2 else 0)) is not None:
            session_id = new_id
        return session_id

    return await asyncio.gather(*map(task, session_ids))


async def bind(url: str, user: str, limit: str, grace: str, *session_ids: str) -> list[list[str]]:
    """Log a user in with each session, as the other processes do at the same time; old and new ids of those it got."""
    manager = SessionManager("box", open_factory(url), max_sessions_per_user=int(limit))

    async def task(session_id: str) -> list[str]:
        new_id = await manager.renew_session(session_id, int(grace), user_id=user, custom_metadata={"user": user})
        return [] if new_id is None else [session_id, new_id]

    return [pair for pair in await asyncio.gather(*map(task, session_ids)) if pair]


async def use(url: str, session_id: str) -> list[int]:
    """Touch and change a session until it has ended, and some times more; how many calls found it, before and after."""
    manager = SessionManager("box", open_factory(url))

    async def found() -> int:
        answers = [
            await manager.validate_session(session_id),
            await manager.open_session(session_id),
            await manager.update_session_metadata(session_id, {"updated": True}),
            await manager.update_session_metadata(session_id, {"replaced": True}, merge=False),
            await manager.update_session_metadata(session_id, {"swapped": True}, remove=["updated"]),
            await manager.increment_session_metadata(session_id, "used"),
            await manager.extend_session_ttl(session_id, 1),
            await manager.set_session_ttl(session_id, 2),
        ]
        return sum(map(bool, answers))

    before = 0
    while (number := await found()) > 0:
        before += number
    return [before, sum([await found() for _ in range(20)])]


async def move_deadlines(url: str, *session_ids: str) -> int:
    """Set and extend the deadline of each session from two tasks; how many calls found it not."""
    manager = SessionManager("box", open_factory(url))

    async def task(session_id: str, number: int) -> list[bool]:
        found = []
        for turn in range(20):
            found.append(await manager.set_session_ttl(session_id, (0.5, 40)[(turn + number) % 2]))
            found.append(await manager.extend_session_ttl(session_id, 0.25))
        return found

    done = await asyncio.gather(*[task(each, number) for each in session_ids for number in range(2)])
    return sum(found.count(False) for found in done)


JOBS: dict[str, Callable[..., Awaitable[Any]]] = {
    "bind": bind,
    "count": count,
    "log_in": log_in,
    "log_in_at_once": log_in_at_once,
    "renew": renew,
    "use": use,
    "move_deadlines": move_deadlines,
}


async def main(job: str, url: str, *arguments: str) -> None:
    print("ready", flush=True)
    await asyncio.to_thread(sys.stdin.readline)
    print(json.dumps(await JOBS[job](url, *arguments)))


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
