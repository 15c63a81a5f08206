"""A span of OpenTelemetry for each call of a manager that asks a Redis server; none for a command.

Rules this file keeps:

* A span has names and attributes of the semantic conventions for database clients (stable since 1.33):
  https://opentelemetry.io/docs/specs/semconv/database/redis/. It has no session id, user, key or text of an error.
* If the current span is not recording, no span is made: it is either not sampled, or there is none. So the span is
  always the child of another one, such as that of a request.
* A call that takes several commands has the name of the one that it is there for.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Coroutine, Sequence
from contextvars import ContextVar
from typing import Any, NamedTuple, TypeVar

from opentelemetry.trace import Span, SpanKind, StatusCode, Tracer, TracerProvider, get_current_span, get_tracer

from chuk_sessions.codec import Metadata
from chuk_sessions.exceptions import ProviderError, ServerError
from chuk_sessions.models import SessionRecord
from chuk_sessions.stores.contract import CompleteStore, Existing, Remote, SessionStore, can
from chuk_sessions.stores.wrapper import StoreWrapper, innermost

__all__ = ["OPERATIONS", "Operation", "SessionTraces", "TracingStore"]

T = TypeVar("T")

_within: ContextVar[bool] = ContextVar("within", default=False)  # whether a span for the whole call is open


class Operation(NamedTuple):
    """A command, and the script that it runs, for EVALSHA."""

    command: str
    script: str = ""


OPERATIONS = {
    "create": Operation("EVALSHA", "create"),
    "read": Operation("HGETALL"),
    "touch": Operation("EVALSHA", "touch"),
    "open": Operation("EVALSHA", "open"),
    "update": Operation("EVALSHA", "update"),
    "increment": Operation("EVALSHA", "increment"),
    "extend": Operation("EVALSHA", "extend"),
    "retime": Operation("EVALSHA", "retime"),
    "delete": Operation("EVALSHA", "delete"),
    "renew": Operation("EVALSHA", "renew"),
    "bind": Operation("EVALSHA", "bind"),
    "list_user": Operation("EVALSHA", "index_members"),
    "delete_user": Operation("EVALSHA", "index_end"),
    "pages": Operation("SCAN"),
    "count": Operation("SCAN"),
}


class SessionTraces:
    """Make spans for the calls of the managers that it is given to, as ``SessionManager(traces=...)``.

    A manager in memory, or with a store of your own, makes none.

    Args:
        tracer_provider: The provider of the tracer. The default is the global one.
    """

    def __init__(self, tracer_provider: TracerProvider | None = None) -> None:
        self._tracer = get_tracer("chuk_sessions", tracer_provider=tracer_provider)

    def wrap(self, store: CompleteStore, sandbox_id: str) -> CompleteStore:
        """Make a store that traces the operations of another store; ``SessionManager`` calls this.

        Args:
            store: The store.
            sandbox_id: Its sandbox.

        Returns:
            The store to use in its place: the same one if it is not on Redis.
        """
        remote = innermost(store)
        return TracingStore(store, remote, self._tracer) if can(remote, Remote) else store


class TracingStore(StoreWrapper):
    """Traces the operations of a store."""

    def __init__(self, store: SessionStore, remote: Remote, tracer: Tracer) -> None:
        super().__init__(store)
        self._all = StoreWrapper(store)  # has the operations that the store may lack
        self._remote = remote
        self._tracer = tracer

    def create(
        self, session_id: str, user_id: str | None, lifetime: float, metadata: Metadata, **options: Any
    ) -> Coroutine[Any, Any, Existing | None]:
        """See ``SessionStore``."""
        return self._traced("create", super().create(session_id, user_id, lifetime, metadata, **options), session_id)

    def read(self, session_id: str) -> Coroutine[Any, Any, SessionRecord | None]:
        """See ``SessionStore``."""
        return self._traced("read", self.store.read(session_id), session_id)

    def touch(self, session_id: str, interval: float) -> Coroutine[Any, Any, bool]:
        """See ``SessionStore``."""
        return self._traced("touch", self.store.touch(session_id, interval), session_id)

    def open(self, session_id: str, interval: float, owner: str | None) -> Coroutine[Any, Any, SessionRecord | None]:
        """See ``Openable``."""
        return self._traced("open", self._all.open(session_id, interval, owner), session_id)

    def update(self, session_id: str, metadata: Metadata, replace: bool, **options: Any) -> Coroutine[Any, Any, bool]:
        """See ``SessionStore``."""
        return self._traced("update", self.store.update(session_id, metadata, replace, **options), session_id)

    def increment(self, session_id: str, field: str, amount: int) -> Coroutine[Any, Any, int | None]:
        """See ``SessionStore``."""
        return self._traced("increment", self.store.increment(session_id, field, amount), session_id)

    def extend(self, session_id: str, lifetime: float, **options: Any) -> Coroutine[Any, Any, bool]:
        """See ``SessionStore``."""
        name = "retime" if options.get("from_now") else "extend"
        return self._traced(name, self.store.extend(session_id, lifetime, **options), session_id)

    def delete(self, session_id: str) -> Coroutine[Any, Any, bool]:
        """See ``SessionStore``."""
        return self._traced("delete", self.store.delete(session_id), session_id)

    def delete_all(self, session_ids: Sequence[str]) -> Coroutine[Any, Any, list[bool | Exception]]:
        """See ``DeletingMany``; one span."""
        return self._traced("delete", self._all.delete_all(session_ids), size=len(session_ids))

    def renew(self, session_id: str, new_id: str, grace: float, **options: Any) -> Coroutine[Any, Any, str | None]:
        """See ``Renewable``."""
        name = "renew" if options.get("user_id") is None else "bind"
        return self._traced(name, super().renew(session_id, new_id, grace, **options), session_id)

    def list_user(self, user_id: str) -> Coroutine[Any, Any, list[tuple[str, SessionRecord]]]:
        """See ``UserIndexed``."""
        return self._traced("list_user", super().list_user(user_id), user_id=user_id)

    def user_pages(self, user_id: str, batch: int) -> AsyncIterator[list[tuple[str, SessionRecord]]]:
        """See ``UserPaged``; one span for all pages."""
        return self._traced_pages("list_user", self._all.user_pages(user_id, batch), user_id)

    def delete_user(self, user_id: str, keep: frozenset[str]) -> Coroutine[Any, Any, int]:
        """See ``UserIndexed``."""
        return self._traced("delete_user", super().delete_user(user_id, keep), user_id=user_id)

    def pages(self, batch: int) -> AsyncIterator[list[tuple[str, SessionRecord]]]:
        """See ``Walkable``; one span for all pages."""
        return self._traced_pages("pages", super().pages(batch))

    def count(self) -> Coroutine[Any, Any, int]:
        """See ``Walkable``."""
        return self._traced("count", super().count())

    async def together(self, name: str, size: int, call: Coroutine[Any, Any, T]) -> T:
        """Await the call, which is made of ``size`` operations of that name: one span for all of them."""
        token = None
        try:
            if _within.get() or not get_current_span().is_recording():
                return await call
            span = self._begin(name, None, None, size)
            token = _within.set(True)
            return await _ended(span, call)
        finally:
            if token is not None:
                _within.reset(token)

    async def _traced(
        self,
        name: str,
        call: Coroutine[Any, Any, T],
        session_id: str | None = None,
        user_id: str | None = None,
        size: int = 1,
    ) -> T:
        if _within.get() or not get_current_span().is_recording():
            return await call
        return await _ended(self._begin(name, session_id, user_id, size), call)

    async def _traced_pages(self, name: str, pages: AsyncIterator[T], user_id: str | None = None) -> AsyncIterator[T]:
        traced = not _within.get() and get_current_span().is_recording()
        span = self._begin(name, None, user_id, 1) if traced else None
        try:
            async for page in pages:
                yield page
        except BaseException as exc:
            if span is not None and not isinstance(exc, GeneratorExit):
                _fail(span, exc)
            raise
        finally:
            if span is not None:
                span.end()

    def _begin(self, name: str, session_id: str | None, user_id: str | None, size: int) -> Span:
        command, script = OPERATIONS[name]
        attributes: dict[str, str | int] = {"db.system.name": "redis", "db.operation.name": command}
        if size > 1:
            attributes["db.operation.name"] = f"PIPELINE {command}"
            attributes["db.operation.batch.size"] = size
        if script:
            attributes["db.stored_procedure.name"] = script
        try:
            attributes["db.namespace"] = self._remote.namespace()
            endpoint = self._remote.endpoint(session_id, user_id)
        except (ProviderError, ValueError):  # the call itself says so
            endpoint = None
        if endpoint is not None:
            address, port = endpoint
            attributes["server.address"] = address
            if port is not None:
                attributes["server.port"] = port
        title = f"{attributes['db.operation.name']} {script}".rstrip()
        return self._tracer.start_span(title, kind=SpanKind.CLIENT, attributes=attributes)


async def _ended(span: Span, call: Coroutine[Any, Any, T]) -> T:
    """Await the call and end the span."""
    try:
        return await call
    except BaseException as exc:
        _fail(span, exc)
        raise
    finally:
        span.end()


def _fail(span: Span, error: BaseException) -> None:
    """Say that the call failed: by the server's code or the class of the error, without its text."""
    kind = type(error).__qualname__
    if isinstance(error, ServerError) and error.code:
        span.set_attribute("db.response.status_code", error.code)
        kind = error.code
    span.set_attribute("error.type", kind)
    span.set_status(StatusCode.ERROR)
