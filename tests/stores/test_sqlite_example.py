"""The example store over SQLite keeps the contract, in one process and between several; and it tells its story."""

from __future__ import annotations

import asyncio
import sqlite3
import subprocess
import sys
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from chuk_sessions import SessionManager, StorageError
from chuk_sessions.testing import Clock, StoreContract
from examples.sqlite_store import SQLiteFactory, to_blob
from tests.support.helpers import eventually
from tests.support.lifecycle_worker import Workers
from tests.support.pages import REPOSITORY

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from chuk_sessions.stores import SessionStore
    from chuk_sessions.testing.contract.base import MakeUnreadable


class TestSQLiteStore(StoreContract):
    @pytest.fixture
    def clock(self) -> Clock:
        return Clock()

    @pytest.fixture
    def open_store(self, tmp_path: Path, clock: Clock) -> Iterator[Callable[[str], SessionStore]]:
        with closing(SQLiteFactory(tmp_path / "sessions.db", clock)) as factory:
            yield factory.session_store

    @pytest.fixture
    def make_unreadable(self, tmp_path: Path) -> MakeUnreadable:
        async def spoil(sandbox_id: str, session_id: str) -> None:
            change = "UPDATE sessions SET metadata = 'no document' WHERE sandbox = ? AND id = ?"
            with closing(sqlite3.connect(tmp_path / "sessions.db")) as connection, connection:
                assert connection.execute(change, (to_blob(sandbox_id), to_blob(session_id))).rowcount == 1

        return spoil


@pytest.fixture
def factory(tmp_path: Path) -> Iterator[SQLiteFactory]:
    with closing(SQLiteFactory(tmp_path / "sessions.db")) as made:
        yield made


async def test_two_processes_count(tmp_path: Path, factory: SQLiteFactory) -> None:
    """Each of 400 calls gets a value of its own."""
    manager = SessionManager("box", factory)
    session_id = await manager.allocate_session(user_id="alice")
    with Workers(2, "count", f"sqlite:{tmp_path / 'sessions.db'}", session_id, 5, 40) as workers:
        await asyncio.to_thread(workers.go)
        values = [value for part in await asyncio.to_thread(workers.results) for value in part]
    assert sorted(values) == list(range(1, 401))
    info = await manager.get_session_info(session_id)
    assert info is not None
    assert info["custom_metadata"] == {"used": 400}


async def test_a_deleted_session_stays_deleted_in_two_processes(tmp_path: Path, factory: SQLiteFactory) -> None:
    """Whatever they are doing to it at that moment; other sessions go on."""
    manager = SessionManager("box", factory, strict=True)
    session_id = await manager.allocate_session(user_id="alice")
    other = await manager.allocate_session(user_id="alice")
    with Workers(2, "use", f"sqlite:{tmp_path / 'sessions.db'}", session_id) as workers:
        await asyncio.to_thread(workers.go)

        async def in_use() -> bool:
            info = await manager.get_session_info(session_id)
            return info is not None and len(info["custom_metadata"]) > 0

        await eventually(in_use)
        assert await manager.delete_session(session_id) is True
        results = await asyncio.to_thread(workers.results)
    assert sum(before for before, _ in results) > 0
    assert [after for _, after in results] == [0, 0]
    assert [info["session_id"] for info in await manager.list_user_sessions("alice")] == [other]
    assert await manager.count_sessions() == 1


async def test_a_fault_of_the_file_is_an_outage(tmp_path: Path, factory: SQLiteFactory) -> None:
    """Not a logout."""
    manager = SessionManager("box", factory, strict=True)
    session_id = await manager.allocate_session()
    with closing(sqlite3.connect(tmp_path / "sessions.db")) as connection:
        connection.execute("ALTER TABLE sessions RENAME TO others")
        with pytest.raises(StorageError, match="SQLite failed: no such table: sessions"):
            await manager.validate_session(session_id)
        connection.execute("ALTER TABLE others RENAME TO sessions")
    assert await manager.validate_session(session_id) is True


async def test_sessions_outlive_the_process(tmp_path: Path) -> None:
    """They are there when the file is opened again."""
    with closing(SQLiteFactory(tmp_path / "sessions.db")) as first:
        session_id = await SessionManager("box", first).allocate_session(custom_metadata={"a": 1})
    with closing(SQLiteFactory(tmp_path / "sessions.db")) as second:
        info = await SessionManager("box", second).get_session_info(session_id)
    assert info is not None
    assert info["custom_metadata"] == {"a": 1}


def test_it_runs_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    """As its first lines say, in a process where every warning is an error."""
    monkeypatch.setenv("PYTHONPATH", str(REPOSITORY))
    command = [sys.executable, "-W", "error", "examples/sqlite_store.py"]
    run = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=60, check=True)
    assert run.stderr == ""
    assert run.stdout.splitlines() == [
        "alice has {'cart': ['book'], 'visits': 1}",
        "her old id is valid: False",
        "sessions of alice: 1",
        "she is logged in: False",
    ]
