"""The event loop of synchronous callers: a daemon thread in each process, in which their calls run.

Rules this file keeps:

* The thread starts with the first call, so that a program that makes no call has none.
* A forked child starts a thread of its own. It leaves the loop of its parent alone, even unclosed: to close it would
  change the epoll set that both processes share. The process id is compared too, because a server written in C may fork
  without the hooks of Python.
* A caller waits for a lock, which a signal can interrupt. Then, or after its timeout, its call is cancelled.
* When the interpreter exits, the loop closes its connections and ends. If it does not end soon, it is left behind.
* Where no thread can be started, as Python 3.12 refuses while it exits, a call has a loop of its own.
* A signal handler may call while the thread starts. It starts another one then, as it must not wait for what it
  interrupted; the one that is not needed ends.
* Where gevent has replaced threads by greenlets, the thread is a real one all the same. A loop in a greenlet would be
  the running loop of every greenlet, so that nobody else could use asyncio. A caller there waits as greenlets wait.
"""

from __future__ import annotations

import asyncio
import atexit
import os
import sys
import threading
from asyncio.events import _get_running_loop
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any, Generic, TypeVar

from chuk_sessions.exceptions import OutcomeUnknown, StorageError
from chuk_sessions.web.threads import NoThreadError, check_threads, has_greenlets, native, native_lock, start_thread

__all__ = ["check_threads", "run"]

T = TypeVar("T")

NAME = "chuk-sessions"
LONGEST_WAIT = 365 * 24 * 3600.0  # seconds; a lock has a limit too, and raises OverflowError beyond
LONGEST_START = 10.0  # seconds until a thread that does not run is an error
LONGEST_END = 2.0  # seconds that the end of the interpreter waits for connections to close
AT_ONCE: dict[str, Any] = {"eager_start": True} if sys.version_info >= (3, 12) else {}  # saves a turn of the loop


def run(call: Coroutine[Any, Any, T], timeout: float | None = None) -> T:
    """Run a coroutine in the loop of this process, and wait for its result.

    Args:
        call: The coroutine.
        timeout: Seconds until it is cancelled; None: it may take as long as it takes.

    Returns:
        Its result.

    Raises:
        RuntimeError: The caller is in that loop itself, or threads do not run here; see ``check_threads``.
        StorageError: The time is up, with OutcomeUnknown as its cause; or the process has too many open files.
        Exception: What the coroutine raises.
    """
    thread = _current
    if thread is None or thread.pid != os.getpid():
        try:
            thread = _start()
        except NoThreadError:
            return _run_alone(call, timeout)
        except BaseException:
            call.close()
            raise
    if _get_running_loop() is thread.loop:
        call.close()
        raise RuntimeError("a blocking call in the event loop that would have to answer it: await the manager's method")
    job = thread.job_class(call)
    try:
        thread.loop.call_soon_threadsafe(job.begin, thread.loop)
    except RuntimeError as exc:  # it was closed
        call.close()
        raise RuntimeError("the interpreter is exiting: sessions cannot be reached any more") from exc
    try:
        ended = job.wait(timeout)
    except BaseException:  # KeyboardInterrupt, or what another signal handler raises
        _cancel(thread, job)
        raise
    if not ended:
        _cancel(thread, job)
        raise _no_answer(timeout)
    result: T = job.outcome()
    return result


class Job(Generic[T]):
    """One coroutine on its way through the loop, whose caller waits for a lock."""

    _task: asyncio.Task[None] | None = None
    _result: Any = None
    _error: BaseException | None = None
    _is_cancelled = False

    def __init__(self, call: Coroutine[Any, Any, T]) -> None:
        self._call = call
        self._done = threading.Lock()
        self._done.acquire()

    def begin(self, loop: asyncio.AbstractEventLoop) -> None:
        """Start the coroutine; in the loop."""
        if self._is_cancelled:
            self._call.close()
        else:
            self._task = asyncio.Task(self._run(), loop=loop, **AT_ONCE)

    async def _run(self) -> None:
        try:
            self._result = await self._call
        except BaseException as error:  # the caller raises it
            self._error = error
        finally:
            self.wake()

    def wake(self) -> None:
        """Make the caller go on."""
        self._done.release()

    def wait(self, timeout: float | None) -> bool:
        """Wait until the coroutine has ended. Return False if that takes longer than ``timeout`` seconds."""
        return self._done.acquire(timeout=-1 if timeout is None else min(timeout, LONGEST_WAIT))

    def cancel(self) -> None:
        """Cancel the coroutine; in the loop."""
        self._is_cancelled = True
        if self._task is not None:
            self._task.add_done_callback(lambda task: self._call.close())  # it may not have begun yet
            self._task.cancel()

    def outcome(self) -> T:
        """Return what the coroutine returned, or raise what it raised."""
        error, self._error = self._error, None  # without a reference to itself by its traceback
        if error is None:
            return self._result  # type: ignore[no-any-return]
        try:
            if isinstance(error, asyncio.CancelledError):
                raise RuntimeError("the call was cancelled, as the interpreter is exiting") from None
            raise error
        finally:
            del error


class GreenletJob(Job[T]):
    """A job whose caller is a greenlet: the other greenlets of its thread go on meanwhile."""

    def __init__(self, call: Coroutine[Any, Any, T]) -> None:
        from gevent.hub import Waiter, get_hub

        self._call = call
        self._guard = native_lock()()  # of the watcher, which nobody may touch when it is closed
        hub = get_hub()
        self._waiter = Waiter(hub)
        self._watcher = hub.loop.async_()
        self._watcher.start(self._waiter.switch, True)

    def wake(self) -> None:
        """See ``Job``; from the thread of the loop."""
        with self._guard:
            if self._watcher is not None:
                self._watcher.send()

    def wait(self, timeout: float | None) -> bool:
        """See ``Job``."""
        from gevent import Timeout

        try:
            with Timeout(timeout if timeout is None else min(timeout, LONGEST_WAIT), False):
                return bool(self._waiter.get())
            return False
        finally:
            with self._guard:
                watcher, self._watcher = self._watcher, None
                watcher.stop()
                watcher.close()


class LoopThread:
    """A thread that runs an event loop until ``close``, in the process ``pid``."""

    loop: asyncio.AbstractEventLoop

    def __init__(self) -> None:
        self.pid = os.getpid()
        greenlets = has_greenlets()
        self.job_class: type[Job[Any]] = GreenletJob if greenlets else Job
        make_lock = native_lock()
        self._begun, self._ended = make_lock(), make_lock()
        self._begun.acquire()
        self._ended.acquire()
        self._failure: OSError | None = None
        if greenlets:
            native("_thread", "start_new_thread")(self._serve, ())
        else:
            start_thread(self._serve, NAME)
        if not self._begun.acquire(timeout=LONGEST_START):
            raise RuntimeError(f"the thread for sessions did not run within {LONGEST_START:g} s: do threads run here?")
        if self._failure is not None:
            raise self._failure

    def _serve(self) -> None:
        try:
            with asyncio.Runner(loop_factory=_loop_factory()) as runner:
                self.loop = runner.get_loop()
                self.loop.call_soon(self._begun.release)
                self.loop.run_forever()
        except OSError as exc:  # too many open files
            self._failure = exc
            self._begun.release()
        finally:
            self._ended.release()

    def close(self, timeout: float) -> None:
        """Make the loop cancel its tasks, close its connections and end. Wait for that at most ``timeout`` seconds."""
        with suppress(RuntimeError):  # it has ended
            self.loop.call_soon_threadsafe(self.loop.stop)
            self._ended.acquire(timeout=timeout)


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """Return uvloop's, with which a call costs a third less, if it is installed. Greenlets would not run beside it."""
    if has_greenlets():
        return None
    try:
        from uvloop import new_event_loop
    except ImportError:
        return None
    return new_event_loop


def _no_answer(timeout: float | None) -> StorageError:
    cause = OutcomeUnknown(f"no answer within {timeout} s; a change may have been made")
    error = StorageError(f"the call was given up: {cause}")
    error.__cause__ = cause
    return error


def _run_alone(call: Coroutine[Any, Any, T], timeout: float | None) -> T:
    """Run a coroutine in a loop of its own, with connections of its own, as no thread can be started any more."""

    async def limited() -> T:
        async with asyncio.timeout(None if timeout is None else min(timeout, LONGEST_WAIT)):
            return await call

    if _get_running_loop() is not None:
        call.close()
        raise RuntimeError("no thread can be started for a blocking call, and an event loop runs in this one")
    try:
        with asyncio.Runner() as runner:
            return runner.run(limited())
    except TimeoutError as exc:
        raise _no_answer(timeout) from exc


def _cancel(thread: LoopThread, job: Job[Any]) -> None:
    with suppress(RuntimeError):  # the loop has ended, and all its tasks
        thread.loop.call_soon_threadsafe(job.cancel)


_current: LoopThread | None = None
_starting = threading.RLock()
_inherited: list[object] = []
_closes_at_exit = False


def _start() -> LoopThread:
    """Start the thread of this process, unless another caller has done so meanwhile."""
    global _current, _closes_at_exit
    with _starting:
        if _current is not None and _current.pid == os.getpid():
            return _current
        check_threads()
        before = _current
        _inherited.append(before)
        try:
            made = LoopThread()
        except OSError as exc:
            raise StorageError(f"the call was not made, as no event loop can be made for it: {exc.strerror}") from exc
        if _current is before:
            _current = made
        else:  # the call of a signal handler was quicker
            made.close(LONGEST_END)
        if not _closes_at_exit:
            _closes_at_exit = True
            atexit.register(_close_at_exit)
        return _current or made


def _close_at_exit() -> None:
    global _current
    thread, _current = _current, None
    if thread is not None and thread.pid == os.getpid():
        thread.close(LONGEST_END)


def _after_fork_in_child() -> None:
    global _current, _starting
    _inherited.append(_current)
    _current, _starting = None, threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
