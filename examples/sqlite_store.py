"""Sessions in an SQLite file that several processes may use: a store of one's own for ``SessionManager``.

``docs/extend/store.md`` builds this file step by step. ``python examples/sqlite_store.py`` tells a short story.
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Collection, Coroutine
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, TypeVar

from chuk_sessions import ProviderError, SessionManager
from chuk_sessions.stores import (
    Existing,
    Metadata,
    SessionRecord,
    counted,
    decode_document,
    encode_document,
    postponed,
    taken,
)

P = ParamSpec("P")
T = TypeVar("T")
Found = tuple[sqlite3.Row, SessionRecord]
Page = list[tuple[str, SessionRecord]]
logger = logging.getLogger(__name__)

SCHEMA = """
PRAGMA journal_mode = WAL;
PRAGMA foreign_keys = ON;
CREATE TABLE IF NOT EXISTS sessions (
    number INTEGER PRIMARY KEY AUTOINCREMENT, sandbox BLOB NOT NULL, id BLOB NOT NULL, user BLOB,
    created REAL NOT NULL, accessed REAL NOT NULL, expires REAL NOT NULL, idle REAL NOT NULL, ends REAL NOT NULL,
    metadata TEXT NOT NULL, UNIQUE (sandbox, id));
CREATE INDEX IF NOT EXISTS sessions_of_users ON sessions (sandbox, user);
CREATE INDEX IF NOT EXISTS ends_of_sessions ON sessions (ends);
CREATE TABLE IF NOT EXISTS aliases (
    sandbox BLOB NOT NULL, id BLOB NOT NULL, ends REAL NOT NULL,
    number INTEGER NOT NULL REFERENCES sessions ON DELETE CASCADE, PRIMARY KEY (sandbox, id));
"""
BY_ID = """(id = ? OR number = (
    SELECT a.number FROM aliases AS a WHERE a.sandbox = sessions.sandbox AND a.id = ? AND a.ends > ?))"""


class Database:
    """A file, and the thread that has the connection to it."""

    def __init__(self, path: str | Path, clock: Callable[[], float] = time.time) -> None:
        self.clock = clock
        self._thread = ThreadPoolExecutor(1, "sqlite-sessions")
        self._connection = sqlite3.connect(path, timeout=10, isolation_level=None, check_same_thread=False)
        self._connection.row_factory = sqlite3.Row
        self._connection.executescript(SCHEMA)

    def execute(self, statement: str, *values: object) -> sqlite3.Cursor:
        """Execute a statement, within a transaction."""
        return self._connection.execute(statement, values)

    def transact(self, work: Callable[[], T]) -> T:
        """Do ``work`` alone: no other caller and no other process comes between its steps."""
        try:
            with self._connection:  # commits, or rolls back if there is an error
                self.execute("BEGIN IMMEDIATE")
                return work()
        except sqlite3.Error as exc:
            raise ProviderError(f"SQLite failed: {exc}") from exc

    async def run(self, work: Callable[[], T]) -> T:
        """Do ``work`` in the thread, as one transaction."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, self.transact, work)

    def close(self) -> None:
        """End the thread, after what it has begun, and close the file."""
        self._thread.shutdown()
        self._connection.close()


def transaction(method: Callable[Concatenate[Any, P], T]) -> Callable[Concatenate[Any, P], Coroutine[Any, Any, T]]:
    """Make a coroutine function of a store's method, which then is one transaction."""

    async def call(self: Any, /, *args: P.args, **options: P.kwargs) -> T:
        result: T = await self.db.run(partial(method, self, *args, **options))
        return result

    return call


def to_blob(text: str) -> bytes:
    """Any text as bytes: SQLite takes no lone surrogates as text."""
    return text.encode("utf-8", "surrogatepass")


def to_text(blob: bytes) -> str:
    """The inverse of ``to_blob``."""
    return blob.decode("utf-8", "surrogatepass")


def to_record(row: sqlite3.Row) -> SessionRecord:
    """The session in a row. Raises ValueError if its metadata cannot be read."""
    user = None if row["user"] is None else to_text(row["user"])
    metadata, idle = decode_document(row["metadata"]), row["idle"]
    record = SessionRecord(user, row["created"], row["expires"], row["accessed"], metadata, idle=idle)
    record.idle_expires = row["ends"] if idle else None
    return record


class Rows:
    """The live sessions of one sandbox, for the transactions of a store."""

    def __init__(self, database: Database, sandbox_id: str) -> None:
        self.db, self.now, self.sandbox = database, database.clock, to_blob(sandbox_id)
        self._reported = False

    def live(self, start: str, condition: str, *values: object) -> sqlite3.Cursor:
        """Execute a statement on the live sessions of which the condition is true."""
        statement = f"{start} FROM sessions WHERE sandbox = ? AND ends > ? AND {condition}"
        return self.db.execute(statement, self.sandbox, self.now(), *values)

    def select(self, condition: str, *values: object) -> list[Found]:
        """The sessions that can be read; the first that cannot is logged."""
        found = []
        for row in self.live("SELECT *", condition, *values):
            try:
                found.append((row, to_record(row)))
            except ValueError:
                if not self._reported:
                    logger.warning("A session cannot be read by this version; it counts as absent and is left alone.")
                self._reported = True
        return found

    def find(self, session_id: str) -> list[Found]:
        """The session with that id or alias: one or none."""
        found = self.select(BY_ID, to_blob(session_id), to_blob(session_id), self.now())
        for row, record in found:
            record.current_id = None if row["id"] == to_blob(session_id) else to_text(row["id"])
        return found

    def write(
        self, row: sqlite3.Row, expires: float | None = None, metadata: Metadata | None = None, interval: float = 0
    ) -> None:
        """Touch a session, for the next ``interval`` too; give it another deadline or metadata, if there are any."""
        now, expires = self.now(), row["expires"] if expires is None else expires
        idle_ends = now + row["idle"] + min(interval, row["idle"] / 2)
        ends = min(expires, max(row["ends"], idle_ends)) if row["idle"] else expires
        change = "UPDATE sessions SET accessed = max(accessed, ?), expires = ?, ends = ?, metadata = ? WHERE number = ?"
        document = row["metadata"] if metadata is None else encode_document(metadata)
        self.db.execute(change, now, expires, ends, document, row["number"])


class CoreStore(Rows):
    """What every store must have; see ``SessionStore``."""

    async def create(
        self,
        session_id: str,
        user_id: str | None,
        lifetime: float,
        metadata: Metadata,
        *,
        limit: int = 0,
        idle: float = 0,
    ) -> Existing | None:
        return await self._create(session_id, user_id, lifetime, encode_document(metadata), limit, idle)

    @transaction
    def _create(
        self, session_id: str, user_id: str | None, lifetime: float, document: str, limit: int, idle: float
    ) -> Existing | None:
        for row, record in self.find(session_id):
            self.write(row)
            return Existing(record.user_id)
        now, user = self.now(), None if user_id is None else to_blob(user_id)
        self.db.execute("DELETE FROM sessions WHERE ends <= ?", now)
        self.db.execute("DELETE FROM aliases WHERE ends <= ?", now)
        ends = now + (min(lifetime, idle) if idle else lifetime)
        values = (self.sandbox, to_blob(session_id), user, now, now, now + lifetime, idle, ends, document)
        self.db.execute("INSERT INTO sessions VALUES (NULL, ?, ?, ?, ?, ?, ?, ?, ?, ?)", *values)
        if limit:
            newest = "SELECT number FROM sessions WHERE sandbox = ? AND user = ? ORDER BY number DESC LIMIT ?"
            self.live("DELETE", f"user = ? AND number NOT IN ({newest})", user, self.sandbox, user, limit)
        return None

    @transaction
    def read(self, session_id: str) -> SessionRecord | None:
        return next((record for _, record in self.find(session_id)), None)

    @transaction
    def touch(self, session_id: str, interval: float) -> bool:
        found = self.find(session_id)
        for row, record in found:
            now = self.now()
            if now - record.accessed >= interval or row["ends"] < min(row["expires"], now + row["idle"]):
                self.write(row, interval=interval)
        return bool(found)

    async def update(self, session_id: str, metadata: Metadata, replace: bool, *, remove: Collection[str] = ()) -> bool:
        return await self._update(session_id, decode_document(encode_document(metadata)), replace, frozenset(remove))

    @transaction
    def _update(self, session_id: str, patch: Metadata, replace: bool, remove: frozenset[str]) -> bool:
        found = self.find(session_id)
        for row, record in found:
            kept = {} if replace else {key: record.metadata[key] for key in record.metadata.keys() - remove}
            self.write(row, metadata=kept | patch)
        return bool(found)

    @transaction
    def increment(self, session_id: str, field: str, amount: int) -> int | None:
        for row, record in self.find(session_id):
            value = counted(record.metadata, field, amount)
            self.write(row, metadata=record.metadata | {field: value})
            return value
        return None

    @transaction
    def extend(self, session_id: str, lifetime: float, *, from_now: bool = False) -> bool:
        found = self.find(session_id)
        for row, record in found:
            since = self.now() if from_now else record.expires
            self.write(row, expires=postponed(since, lifetime))  # or a DeadlineError beyond the year 9999
        return bool(found)

    @transaction
    def delete(self, session_id: str) -> bool:
        return self.live("DELETE", BY_ID, to_blob(session_id), to_blob(session_id), self.now()).rowcount > 0

    async def aclose(self) -> None:
        """Nothing to give back: all stores of a file share its connection."""


class SQLiteStore(CoreStore):
    """All capabilities but ``InProcess``: sessions by user, new ids, all sessions of the sandbox."""

    @transaction
    def list_user(self, user_id: str) -> Page:
        return [
            (to_text(row["id"]), record) for row, record in self.select("user = ? ORDER BY number", to_blob(user_id))
        ]

    @transaction
    def delete_user(self, user_id: str, keep: frozenset[str]) -> int:
        kept = [row["number"] for session_id in keep for row, _ in self.find(session_id)]
        others = f"user = ? AND number NOT IN ({', '.join('?' * len(kept))})"
        return self.live("DELETE", others, to_blob(user_id), *kept).rowcount

    async def renew(
        self,
        session_id: str,
        new_id: str,
        grace: float,
        *,
        user_id: str | None = None,
        metadata: Metadata | None = None,
        limit: int = 0,
    ) -> str | None:
        patch = decode_document(encode_document({} if metadata is None else metadata))
        return await self._renew(session_id, new_id, grace, user_id, patch, limit)

    @transaction
    def _renew(
        self, session_id: str, new_id: str, grace: float, user_id: str | None, patch: Metadata, limit: int
    ) -> str | None:
        for row, record in self.find(session_id):
            if user_id is not None and record.user_id not in (None, user_id):
                raise taken(session_id)
            given = user_id is not None and record.user_id is None
            self.write(row, metadata=record.metadata | patch)
            if grace > 0 and record.current_id is not None and not given:  # found by an alias
                return record.current_id
            if given and user_id is not None:
                self.db.execute("UPDATE sessions SET user = ? WHERE number = ?", to_blob(user_id), row["number"])
                others = "SELECT number FROM sessions WHERE sandbox = ? AND user = ? AND number != ?"
                newest = f"{others} ORDER BY number DESC LIMIT ?"
                keep = (self.sandbox, to_blob(user_id), row["number"], limit - 1 if limit else -1)
                gone = f"user = ? AND number != ? AND number NOT IN ({newest})"
                self.live("DELETE", gone, to_blob(user_id), row["number"], *keep)
            self.db.execute("UPDATE sessions SET id = ? WHERE number = ?", to_blob(new_id), row["number"])
            if grace > 0:
                alias = (self.sandbox, row["id"], self.now() + grace, row["number"])
                self.db.execute("INSERT OR REPLACE INTO aliases VALUES (?, ?, ?, ?)", *alias)
            else:
                self.db.execute("DELETE FROM aliases WHERE number = ?", row["number"])
            return new_id
        return None

    async def pages(self, batch: int) -> AsyncIterator[Page]:
        after, last = -1, 0
        while last != after:
            after = last
            last, page = await self._page(after, batch)
            yield page

    @transaction
    def _page(self, after: int, batch: int) -> tuple[int, Page]:
        numbers = self.live("SELECT number", "number > ? ORDER BY number LIMIT ?", after, batch).fetchall()
        last = numbers[-1]["number"] if numbers else after
        found = self.select("number > ? AND number <= ? ORDER BY number", after, last)
        return last, [(to_text(row["id"]), record) for row, record in found]

    @transaction
    def count(self) -> int:
        return int(self.live("SELECT count(*)", "true").fetchone()[0])


class SQLiteFactory(Database):
    """What ``SessionManager(session_factory=...)`` takes: it opens the sessions of a sandbox."""

    def session_store(self, sandbox_id: str) -> SQLiteStore:
        """Open the sessions of one sandbox."""
        return SQLiteStore(self, sandbox_id)


async def main(path: Path) -> None:
    """Tell a short story of two managers that share a file."""
    with closing(SQLiteFactory(path)) as web, closing(SQLiteFactory(path)) as worker:
        sessions, others = SessionManager("shop", web), SessionManager("shop", worker)
        session_id = await sessions.allocate_session(user_id="alice", custom_metadata={"cart": ["book"]})
        await others.increment_session_metadata(session_id, "visits")
        info = await sessions.get_session_info(session_id)
        print("alice has", info and info["custom_metadata"])
        new_id = await sessions.renew_session(session_id)
        print("her old id is valid:", await others.validate_session(session_id))
        print("sessions of alice:", len(await others.list_user_sessions("alice")))
        await others.delete_session(str(new_id))
        print("she is logged in:", await sessions.validate_session(str(new_id)))


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(main(Path(folder, "sessions.db")))
