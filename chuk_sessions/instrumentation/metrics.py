"""``SessionMetrics``: counts the operations of managers in plain integers, which a collector reads when it is asked.

Rules this file keeps:

* No metrics library is called for an operation: that would take several times as long as a validation in memory.
* An operation adds to one integer. On a store that is not in this process it also adds to a histogram, which takes two
  looks at the clock.
* An operation is counted when it has ended. An operation that its caller cancelled is not counted.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Coroutine, Sequence
from time import perf_counter
from typing import Any, TypeVar

from chuk_sessions.arguments import check_flag
from chuk_sessions.codec import Metadata
from chuk_sessions.exceptions import (
    LoadingError,
    NoPermissionError,
    NotSent,
    OutcomeUnknown,
    OutOfMemoryError,
    ReadOnlyError,
    ServerError,
    WrongTypeError,
)
from chuk_sessions.histogram import Histogram
from chuk_sessions.models import SessionRecord
from chuk_sessions.stores.contract import Existing, InProcess, Remote, SessionStore, can
from chuk_sessions.stores.wrapper import StoreWrapper, innermost

__all__ = ["KINDS", "OPERATIONS", "CountingStore", "SessionMetrics", "Tally", "kind_of"]

T = TypeVar("T")

MOST_SANDBOXES = 100
OTHER = "other"  # the label of all sandboxes beyond these
OPERATIONS = (
    *("create", "read", "touch", "open", "update", "increment", "extend", "delete", "renew"),
    *("list_user", "delete_user", "pages", "count"),
)
CLASSES: tuple[tuple[type[Exception], str], ...] = (  # the first one that fits counts
    (NotSent, "not_sent"),
    (OutcomeUnknown, "outcome_unknown"),
    (LoadingError, "loading"),
    (NoPermissionError, "no_permission"),
    (OutOfMemoryError, "out_of_memory"),
    (ReadOnlyError, "read_only"),
    (WrongTypeError, "wrong_type"),
    (ServerError, "server"),
    (Exception, "other"),
)
KINDS = tuple(kind for _, kind in CLASSES)


def kind_of(error: Exception) -> str:
    """Return the kind of an error for a label: one of ``KINDS``."""
    return next(kind for known, kind in CLASSES if isinstance(error, known))


class Tally:
    """Counts one operation: how often it found its session, did not find it, and failed; and how long it took."""

    __slots__ = ("_errors", "found", "missing", "times")

    def __init__(self) -> None:
        self.found = self.missing = 0
        self.times: Histogram | None = None
        self._errors: dict[str, int] | None = None  # few operations ever fail

    def failed(self, error: Exception) -> None:
        """Count an error."""
        if self._errors is None:
            self._errors = dict.fromkeys(KINDS, 0)
        self._errors[kind_of(error)] += 1

    @property
    def errors(self) -> dict[str, int]:
        """How many errors there were, by kind."""
        return dict(self._errors or dict.fromkeys(KINDS, 0))

    def outcomes(self, operation: str) -> dict[str, int]:
        """Return how often each outcome came. A create that finds no session has created one."""
        names = ("existing", "created") if operation == "create" else ("found", "missing")
        return {names[0]: self.found, names[1]: self.missing, "error": sum(self.errors.values())}


class SessionMetrics:
    """Count the operations of the managers that it is given to, as ``SessionManager(metrics=...)``.

    Several managers may share one. ``chuk_sessions.instrumentation.prometheus`` and ``.otel`` show the numbers.

    Args:
        by_sandbox: Whether to count each sandbox apart, for a label ``sandbox``. The first 100 sandboxes are told
            apart; all others count as ``other``.

    Raises:
        TypeError: ``by_sandbox`` is no bool.
    """

    def __init__(self, *, by_sandbox: bool = False) -> None:
        self.by_sandbox = check_flag("by_sandbox", by_sandbox)
        self._tallies: dict[str, dict[str, Tally]] = {}

    def __repr__(self) -> str:
        return f"SessionMetrics(by_sandbox={self.by_sandbox!r})"

    def stats(self) -> dict[str, dict[str, int]]:
        """Return how often each operation had each outcome, over all sandboxes.

        Returns:
            A dict: for each operation so far a dict of its outcomes. These are ``found``, ``missing`` and ``error``; of
                ``create`` ``created``, ``existing`` and ``error``.
        """
        found: dict[str, dict[str, int]] = {}
        for _, operation, tally in self.tallies():
            outcomes = found.setdefault(operation, {})
            for name, number in tally.outcomes(operation).items():
                outcomes[name] = outcomes.get(name, 0) + number
        return found

    def tallies(self) -> list[tuple[str, str, Tally]]:
        """Return the numbers of each operation that was called.

        Returns:
            For each sandbox (empty unless ``by_sandbox``) and operation the two names and the numbers.
        """
        return [
            (sandbox, operation, tally)
            for sandbox, several in list(self._tallies.items())
            for operation, tally in several.items()
            if tally.found or tally.missing or any(tally.errors.values())
        ]

    def wrap(self, store: SessionStore, sandbox_id: str) -> CountingStore:
        """Make a store that counts the operations of another store here; ``SessionManager`` calls this.

        Args:
            store: The store.
            sandbox_id: Its sandbox.

        Returns:
            The store to use in its place. If it is not in this process, its operations are timed too.
        """
        tallies = self._tallies_of(sandbox_id)
        within = innermost(store)
        if can(within, InProcess) and not can(within, Remote):
            return CountingStore(store, tallies)
        for tally in tallies.values():
            tally.times = tally.times or Histogram()
        return TimingStore(store, tallies)

    def _tallies_of(self, sandbox_id: str) -> dict[str, Tally]:
        label = sandbox_id if self.by_sandbox else ""
        if label not in self._tallies and len(self._tallies) >= MOST_SANDBOXES:
            label = OTHER
        return self._tallies.setdefault(label, {operation: Tally() for operation in OPERATIONS})


class CountingStore(StoreWrapper):
    """Counts the operations of a store. Methods make the store's awaitable, and ``_count`` awaits it."""

    def __init__(self, store: SessionStore, tallies: dict[str, Tally]) -> None:
        super().__init__(store)
        self._all = StoreWrapper(store)  # has the operations that the store may lack
        self._tallies = tallies
        self._touch, self._read = tallies["touch"], tallies["read"]

    async def _count(self, tally: Any, call: Coroutine[Any, Any, T]) -> T:
        """Return the result of the call; False and None say that the session was not found."""
        try:
            result = await call
        except Exception as exc:
            tally.failed(exc)
            raise
        if result is None or result is False:
            tally.missing += 1
        else:
            tally.found += 1
        return result

    def create(
        self, session_id: str, user_id: str | None, lifetime: float, metadata: Metadata, **options: Any
    ) -> Coroutine[Any, Any, Existing | None]:
        """See ``SessionStore``."""
        return self._count(self._tallies["create"], super().create(session_id, user_id, lifetime, metadata, **options))

    def read(self, session_id: str) -> Coroutine[Any, Any, SessionRecord | None]:
        """See ``SessionStore``."""
        return self._count(self._read, self.store.read(session_id))

    def touch(self, session_id: str, interval: float) -> Coroutine[Any, Any, bool]:
        """See ``SessionStore``."""
        return self._count(self._touch, self.store.touch(session_id, interval))

    def open(self, session_id: str, interval: float, owner: str | None) -> Coroutine[Any, Any, SessionRecord | None]:
        """See ``Openable``; one operation, also if the store takes several steps."""
        return self._count(self._tallies["open"], self._all.open(session_id, interval, owner))

    def update(self, session_id: str, metadata: Metadata, replace: bool, **options: Any) -> Coroutine[Any, Any, bool]:
        """See ``SessionStore``."""
        return self._count(self._tallies["update"], self.store.update(session_id, metadata, replace, **options))

    def increment(self, session_id: str, field: str, amount: int) -> Coroutine[Any, Any, int | None]:
        """See ``SessionStore``."""
        return self._count(self._tallies["increment"], self.store.increment(session_id, field, amount))

    def extend(self, session_id: str, lifetime: float, **options: Any) -> Coroutine[Any, Any, bool]:
        """See ``SessionStore``."""
        return self._count(self._tallies["extend"], self.store.extend(session_id, lifetime, **options))

    def delete(self, session_id: str) -> Coroutine[Any, Any, bool]:
        """See ``SessionStore``."""
        return self._count(self._tallies["delete"], self.store.delete(session_id))

    async def delete_all(self, session_ids: Sequence[str]) -> list[bool | Exception]:
        """See ``DeletingMany``; each id is an operation."""
        results = await self._all.delete_all(session_ids)
        tally = self._tallies["delete"]
        for result in results:
            if isinstance(result, Exception):
                tally.failed(result)
            elif result:
                tally.found += 1
            else:
                tally.missing += 1
        return results

    def renew(self, session_id: str, new_id: str, grace: float, **options: Any) -> Coroutine[Any, Any, str | None]:
        """See ``Renewable``."""
        return self._count(self._tallies["renew"], super().renew(session_id, new_id, grace, **options))

    def list_user(self, user_id: str) -> Coroutine[Any, Any, list[tuple[str, SessionRecord]]]:
        """See ``UserIndexed``."""
        return self._count(self._tallies["list_user"], super().list_user(user_id))

    def user_pages(self, user_id: str, batch: int) -> AsyncIterator[list[tuple[str, SessionRecord]]]:
        """See ``UserPaged``; one operation when all pages were read."""
        return self._count_pages(self._tallies["list_user"], self._all.user_pages(user_id, batch))

    def delete_user(self, user_id: str, keep: frozenset[str]) -> Coroutine[Any, Any, int]:
        """See ``UserIndexed``."""
        return self._count(self._tallies["delete_user"], super().delete_user(user_id, keep))

    def pages(self, batch: int) -> AsyncIterator[list[tuple[str, SessionRecord]]]:
        """See ``Walkable``; one operation when all pages were read."""
        return self._count_pages(self._tallies["pages"], super().pages(batch))

    def count(self) -> Coroutine[Any, Any, int]:
        """See ``Walkable``."""
        return self._count(self._tallies["count"], super().count())

    async def _count_pages(self, tally: Tally, pages: AsyncIterator[T]) -> AsyncIterator[T]:
        try:
            async for page in pages:
                yield page
        except Exception as exc:
            tally.failed(exc)
            raise
        tally.found += 1


class TimingStore(CountingStore):
    """Counts the operations of a store that is not in this process, and measures how long each takes."""

    async def _count(self, tally: Any, call: Coroutine[Any, Any, T]) -> T:
        begun = perf_counter()
        try:
            result = await call
        except Exception as exc:
            tally.failed(exc)
            tally.times.add(perf_counter() - begun)
            raise
        if result is None or result is False:
            tally.missing += 1
        else:
            tally.found += 1
        tally.times.add(perf_counter() - begun)
        return result

    async def delete_all(self, session_ids: Sequence[str]) -> list[bool | Exception]:
        """See ``DeletingMany``; each deletion took as long as all of them."""
        begun, tally = perf_counter(), self._tallies["delete"]
        results = await super().delete_all(session_ids)
        if tally.times is not None:
            for _ in results:
                tally.times.add(perf_counter() - begun)
        return results
