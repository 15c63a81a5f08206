"""An exception at the n-th call that our code makes: as a RecursionError comes deep in the stack, or a MemoryError.

The call is not carried out, whether it is of Python or of C, and the exception is raised where it stands.
"""

from __future__ import annotations

import gc
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

import pytest

from tests.support.helpers import wait_until
from tests.support.servers import RedisServer

__all__ = ["Interruption", "interruptions", "keyboard_interrupt"]


FINALIZER = "__del__"
GIVING_BACK = ("release", "__exit__")  # a lock, or what a ``with`` has; those of C


class Interruption(BaseException):
    """What is raised; no handler of ordinary errors sees it."""


class _Counter:
    """Counts the calls made by functions of the package, and raises at one of them.

    Giving a lock back does not fail: its frame had the stack to take it. What a function of C calls is its own: asyncio
    does not schedule the callbacks of a future that has its result then, and nobody else can. Nor does a finalizer
    fail: Python drops what it raises. The garbage collector is off, because others have callbacks in it.
    """

    def __init__(self, at: int) -> None:
        self._left = at
        self._calling_c: FrameType | None = None
        self.raised = False

    def __call__(self, frame: FrameType, event: str, called: Any) -> None:
        if event in ("c_return", "c_exception") and frame is self._calling_c:
            self._calling_c = None
        caller = frame.f_back if event == "call" else frame
        if event not in ("call", "c_call") or caller is None or caller is self._calling_c:
            return
        if "/chuk_sessions/" not in caller.f_code.co_filename or FINALIZER in (
            frame.f_code.co_name,
            caller.f_code.co_name,
        ):
            return
        if event == "c_call":
            self._calling_c = frame
            if called.__name__ in GIVING_BACK:
                return
        self._left -= 1
        if self._left == 0:
            self.raised = True
            raise Interruption


@contextmanager
def _interrupted(counter: _Counter) -> Iterator[None]:
    before, collects = sys.getprofile(), gc.isenabled()
    gc.disable()
    sys.setprofile(counter)
    try:
        yield
    except Interruption:
        pass
    finally:
        sys.setprofile(before)
        if collects:
            gc.enable()


def interruptions(most: int = 1000) -> Iterator[Any]:
    """For each call in turn, what to run the code in: `with interruption: ...`. Ends when the code made no more.

    `for interruption in interruptions(): ...` must run the same code each time; a fresh object is best.
    """
    for at in range(1, most):
        counter = _Counter(at)
        yield _interrupted(counter)
        if not counter.raised:
            assert at > 1, "the code makes no call at all"
            return
    raise AssertionError(f"the code makes more than {most} calls")


def keyboard_interrupt(call: Callable[[], Any], waits: Callable[[], bool], server: RedisServer) -> None:
    """Make a call to a server that stands still, and interrupt it from the keyboard once ``waits`` says that it waits.

    The call must raise KeyboardInterrupt while the server still stands still.
    """

    def interrupt() -> None:
        wait_until(waits)
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)

    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    thread = threading.Thread(target=interrupt)
    server.pause()
    try:
        thread.start()
        with pytest.raises(KeyboardInterrupt):
            call()
    finally:
        signal.signal(signal.SIGINT, before)
        server.resume()
    thread.join()
