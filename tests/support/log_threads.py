"""Web frameworks log from a thread of their own, which would outlive the test and write where pytest has closed."""

from __future__ import annotations

import logging
from contextlib import contextmanager
from logging.handlers import QueueListener
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["log_threads_ended"]


@contextmanager
def log_threads_ended() -> Iterator[None]:
    """At the end, the threads that were begun meanwhile have ended, and the root logger has its handlers of before."""
    begun: list[QueueListener] = []
    start, handlers = QueueListener.start, logging.root.handlers[:]

    def start_and_remember(self: QueueListener) -> None:
        begun.append(self)
        start(self)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(QueueListener, "start", start_and_remember)
        yield
    for listener in begun:
        if listener._thread is not None:  # else it was stopped
            listener.enqueue_sentinel()  # and not stop(), which Litestar calls when the process ends
            listener._thread.join()
    logging.root.handlers[:] = handlers
