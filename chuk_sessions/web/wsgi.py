"""Requests and streamed responses of WSGI, as the routines for sessions need them. https://peps.python.org/pep-3333/."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from chuk_sessions.web.asgi import Headers, Scope

__all__ = ["Stream", "scope_of"]


def scope_of(environ: dict[str, Any], ambient: bool) -> Scope:
    """Return what a transport reads of a request, in the form of ASGI."""
    headers: Headers = []
    if ambient:
        if cookie := environ.get("HTTP_COOKIE"):
            headers = [(b"cookie", cookie.encode("latin-1", "replace"))]
    else:
        named = ((name[5:], value) for name, value in environ.items() if name.startswith("HTTP_"))
        headers = [(name.replace("_", "-").lower().encode(), value.encode("latin-1")) for name, value in named]
    return {"type": "http", "path": environ.get("PATH_INFO") or "/", "headers": headers}


class Stream:
    """The body of a streamed response: ``finish`` is called before its end is sent, or when the client has left.

    It is not called after an error in the stream.
    """

    def __init__(self, chunks: Iterable[Any], finish: Callable[[], None]) -> None:
        self._chunks = chunks
        self._iterator = iter(chunks)
        self._finish: Callable[[], None] | None = finish

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        try:
            return next(self._iterator)
        except StopIteration:
            self._end()
            raise
        except BaseException:
            self._finish = None
            raise

    def _end(self) -> None:
        finish, self._finish = self._finish, None
        if finish is not None:
            finish()

    def close(self) -> None:
        """Close the stream, which may have been left in the middle."""
        try:
            if hasattr(self._chunks, "close"):
                self._chunks.close()
        finally:
            self._end()
