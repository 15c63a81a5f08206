"""An event loop that blocking callers run in their own threads, one at a time: such a call needs no other thread.

Rules this file keeps:

* A caller that finds the loop taken makes its call elsewhere; see ``loop_thread``. So a caller runs no call but its
  own, and the exception of a signal handler can end no call of another thread.
* Whoever runs the loop has ``_turn``, and sets ``_is_amiss`` meanwhile. An exception that breaks out leaves that set:
  it is not known what it interrupted. Whoever has the next turn gives the loop up, and the keeper closes it.
* The keeper is a daemon thread for the time between calls. While callers come it looks after them every ``IDLE``
  seconds and does nothing else. When none comes it sleeps until a socket or a timer of the loop is due. It has the turn
  only while it serves them, and waits for nothing then. A caller wakes it first, so that it learns of new timers.
* A caller takes first what has come meanwhile, so that it uses no connection that the server has closed.
* In the main thread signals are held back but for the waiting, so that what their handlers raise ends the call where
  nothing is half done. A signal that another thread takes can come at any step all the same.
* Signal handlers, ``signal.set_wakeup_fd`` and other event loops of the application are left alone.
"""

from __future__ import annotations

import asyncio
import logging
import os
import select
import selectors
import signal
import socket
import sys
import threading
from asyncio.events import _set_running_loop
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from importlib import import_module
from time import monotonic
from typing import Any, Protocol, TypeVar

from chuk_sessions.web.threads import NoThreadError, start_thread

__all__ = ["CallerLoop", "Led", "can_be_run", "hold_back_signals", "undisturbed"]

NAME = "chuk-sessions-keeper"
IDLE = 0.05  # seconds without a call, after which the keeper serves the loop
FRESH = 0.001  # seconds since the last look at the sockets, in which a call does not begin with another
MOST_HANDLES = 100  # callbacks in a row without a look at the sockets
MOST_EVENTS = 64  # of sockets, taken at once
LONGEST_POLL = 1.0  # seconds: Python finds out after a wait about a signal that came right before it
LONGEST_SLEEP = 3600.0  # seconds, of the keeper; a longer sleep is several
LONGEST_SERVICE = 0.1  # seconds that a caller waits for the keeper to give the loop back
LONGEST_END = 2.0  # seconds that the keeper waits for the last caller before it closes the loop
# What callers use of asyncio beside its interface. Where one is missing, they do not run a loop.
OF_THE_LOOP = (
    *("_ready", "_scheduled", "_thread_id", "_process_events", "_run_once"),
    *("_asyncgen_firstiter_hook", "_asyncgen_finalizer_hook"),
)
OF_THE_SELECTOR = ("_selector", "_fd_to_key")
# Signals whose handlers may raise. They are held back; the others hardly have such handlers, and every one takes time.
HELD_BACK = {
    getattr(signal, name)
    for name in ("SIGALRM", "SIGHUP", "SIGINT", "SIGQUIT", "SIGTERM", "SIGUSR1", "SIGUSR2")
    if hasattr(signal, name)
}

logger = logging.getLogger(__name__)

T = TypeVar("T")

Poll = Callable[[float, int], list[tuple[int, int]]]  # of seconds, and of the most events: some of (socket, event)

# Without the wrapper of ``signal``, which takes long to make enums.
sigmask: Callable[[int, Any], Any] = getattr(import_module("_signal"), "pthread_sigmask", signal.signal)


class Led(Protocol):
    """A call on its way through the loop."""

    has_ended: bool

    def begin(self, loop: asyncio.AbstractEventLoop) -> None:
        """Start the call; in the loop."""

    def cancel(self) -> None:
        """Cancel the call; in the loop."""


class CallerLoop:
    """An event loop of the process ``pid`` that callers run, until ``close`` or until an exception breaks out of it.

    Raises OSError if the process has too many open files, and NoThreadError.
    """

    def __init__(self) -> None:
        self.pid = os.getpid()
        self.has_ended = False  # callers need another loop
        self._turn = threading.Lock()
        self._is_amiss = self._is_kept = self._is_asleep = False
        self._calls = 0
        self._job: Led | None = None
        self._bell, self._rope = socket.socketpair()
        self._rope.setblocking(False)
        self._loop = _Loop()
        try:
            self._keeper = start_thread(self._keep, NAME)
        except NoThreadError:
            self._loop.close()
            self._rope.close()
            self._bell.close()
            raise

    def lead(self, job: Led, timeout: float) -> bool | None:
        """Run a call to its end, in this thread.

        Returns:
            True: it has ended. False: it was cancelled after ``timeout`` seconds. None: it has not begun, because
            somebody else runs the loop, or nobody can any more.

        Raises:
            BaseException: What a signal handler raises. The call is cancelled then, by the keeper.
        """
        return undisturbed(self._lead, job, timeout)

    def _lead(self, taken: Any, job: Led, timeout: float) -> bool | None:
        turn = self._turn
        if not turn.acquire(blocking=False) and not (self._is_kept and turn.acquire(timeout=LONGEST_SERVICE)):
            return None
        try:
            if self._is_amiss or self.has_ended:
                self._give_up()
                return None
            self._calls += 1
            if self._is_asleep:
                self._wake_keeper()
            self._is_amiss, self._job = True, job
            has_ended = self._loop.lead(job, timeout, taken)
            self._is_amiss, self._job = False, None
            return has_ended
        finally:
            turn.release()

    def close(self, timeout: float) -> None:
        """Cancel the call, close the connections and end. Wait for that at most ``timeout`` seconds."""
        job = self._job
        self._give_up()
        if job is not None:
            with suppress(RuntimeError):  # the loop is closed
                self._loop.call_soon_threadsafe(job.cancel)
        self._keeper.join(timeout)

    def _give_up(self) -> None:
        self.has_ended = True
        self._wake_keeper()

    def _wake_keeper(self) -> None:
        self._is_asleep = False
        with suppress(OSError):  # it is full of rings, or closed
            self._rope.send(b"\0")

    def _keep(self) -> None:
        """Serve the loop while nobody calls, and close it at the end."""
        hold_back_signals()
        pause, sleep = select.poll(), select.poll()
        pause.register(self._bell, select.POLLIN)
        sleep.register(self._bell, select.POLLIN)
        sleep.register(self._loop.fileno(), select.POLLIN)
        while not self.has_ended:
            calls = self._calls
            self._wait(pause, IDLE)
            while self._is_idle_since(calls) and self._serve():
                self._is_asleep = True
                if self._is_idle_since(calls):
                    self._wait(sleep, self._loop.next_due())
                self._is_asleep = False
        self._end()

    def _is_idle_since(self, calls: int) -> bool:
        return self._calls == calls and not self.has_ended

    def _wait(self, poll: Any, seconds: float) -> None:
        """Wait for a ring, or for what else that poll knows."""
        if (self._bell.fileno(), select.POLLIN) in poll.poll(seconds * 1000):
            self._bell.recv(4096)

    def _serve(self) -> bool:
        """Do what is due in the loop. Return False if somebody else has the turn."""
        if not self._turn.acquire(blocking=False):
            return False
        try:
            self._is_kept = True
            if self._is_amiss:
                self.has_ended = True
            else:
                self._loop.serve()
            return True
        finally:
            self._is_kept = False
            self._turn.release()

    def _end(self) -> None:
        """Cancel what runs, and close the connections. Nobody gets a turn after that."""
        if not self._turn.acquire(timeout=LONGEST_END):
            return  # a call goes on that cannot be cancelled
        try:
            self._loop.end(self._job)
        except Exception:
            logger.exception("the loop of blocking calls could not be closed in good order")
        self._job = None
        self._rope.close()
        self._bell.close()


class _Loop(asyncio.SelectorEventLoop):
    """A loop that runs until one call has ended, with less around it than ``run_until_complete``."""

    def __init__(self) -> None:
        self._epoll = selectors.EpollSelector()
        super().__init__(self._epoll)
        own: Any = self._epoll
        self._poll: Poll = own._selector.poll
        self._looked = 0.0  # when the sockets were looked at

    def fileno(self) -> int:
        """Return the file descriptor that is readable while a socket of the loop has something to do."""
        return self._epoll.fileno()

    def next_due(self) -> float:
        """Return the seconds until there is something to do, if nothing comes."""
        own: Any = self
        if own._ready:
            return 0.0
        try:
            due: float = own._scheduled[0]._when
        except IndexError:
            return LONGEST_SLEEP
        return min(max(0.0, due - monotonic()), LONGEST_SLEEP)

    def _poll_with(self, taken: Any) -> Poll:
        """Make a ``poll`` during which signals are held back as in that mask only."""

        def poll(seconds: float, most: int) -> list[tuple[int, int]]:
            try:
                sigmask(signal.SIG_SETMASK, taken)
                return self._poll(seconds, most)
            finally:
                sigmask(signal.SIG_BLOCK, HELD_BACK)

        return poll

    def lead(self, job: Led, timeout: float, taken: Any) -> bool:
        """Run a call to its end, and return True. Return False if it was cancelled after so many seconds.

        ``taken`` is the mask of signals while it waits; None: that is not changed.
        """
        poll = self._poll if taken is None else self._poll_with(taken)
        hooks = sys.get_asyncgen_hooks()
        try:
            self._enter()
            now = monotonic()
            if now - self._looked > FRESH:
                self._look(now)
            job.begin(self)
            has_ended = self._spin(job, now + timeout, poll)
            if not has_ended:
                job.cancel()
                self._spin(job, now, poll)
            return has_ended
        finally:
            self._leave(hooks)

    def serve(self) -> None:
        """Do what is due, and wait for nothing."""
        own: Any = self
        hooks = sys.get_asyncgen_hooks()
        try:
            self._enter()
            self._run_due()
            for _ in range(MOST_HANDLES):
                if not own._ready:
                    break
                own._run_once()
        finally:
            self._leave(hooks)

    def end(self, job: Led | None) -> None:
        """Cancel that call and all tasks, close all connections, and close the loop."""
        own: Any = self
        own._thread_id = None  # an exception may have left it
        if job is not None:
            job.cancel()
        with asyncio.Runner(loop_factory=lambda: self) as runner:
            runner.get_loop()

    def _enter(self) -> None:
        own: Any = self
        _set_running_loop(self)
        own._thread_id = threading.get_ident()
        sys.set_asyncgen_hooks(own._asyncgen_firstiter_hook, own._asyncgen_finalizer_hook)

    def _leave(self, hooks: Any) -> None:
        """Undo ``_enter``, as a whole even if signal handlers raise meanwhile."""
        own: Any = self
        try:
            _set_running_loop(None)
        finally:
            try:
                sys.set_asyncgen_hooks(*hooks)
            finally:
                own._thread_id = None

    def _spin(self, job: Led, deadline: float, poll: Poll) -> bool:
        """Run until the call has ended, and return True; False: there is nothing to do before the deadline.

        An exception in a callback goes to the caller: it may be that of a signal handler.
        """
        own: Any = self
        ready, keys = own._ready, own._epoll._fd_to_key
        handles = 0
        while True:
            while ready and handles < MOST_HANDLES:
                handle = ready.popleft()
                if not handle._cancelled:
                    handle._context.run(handle._callback, *handle._args)
                handles += 1
            if job.has_ended:
                return True
            now = monotonic()
            scheduled = own._scheduled  # another list, once many of its timers were cancelled
            due = scheduled[0]._when if scheduled else deadline
            if ready or (scheduled and due <= now):
                self._run_due()
            elif now < deadline:
                self._looked = now
                for fd, event in poll(min(due - now, deadline - now, LONGEST_POLL), MOST_EVENTS):
                    self._take(keys.get(fd), event)
            if deadline <= now:
                return job.has_ended
            handles = 0

    def _look(self, now: float) -> None:
        """Take what has come, and run the timers that are due. Calls that never wait must not keep these waiting."""
        own: Any = self
        self._looked = now
        own._process_events(self._epoll.select(0))
        if own._scheduled and own._scheduled[0]._when <= now:
            self._run_due()

    def _run_due(self) -> None:
        """Do what is due, and wait for nothing: not even if all that was due are timers that were cancelled."""
        own: Any = self
        self.call_soon(int)
        own._run_once()

    def _take(self, key: Any, event: int) -> None:
        """Read from a socket, or do else what has happened to it."""
        if key is None:  # removed by the one before
            return
        reader, _ = key.data
        if event == select.EPOLLIN and reader is not None and not reader._cancelled:
            reader._context.run(reader._callback, *reader._args)
            return
        own: Any = self
        read = selectors.EVENT_READ if event & ~select.EPOLLOUT else 0
        write = selectors.EVENT_WRITE if event & ~select.EPOLLIN else 0
        own._process_events([(key, (read | write) & key.events)])


def undisturbed(call: Callable[..., T], *args: Any) -> T:
    """Call with the mask of signals that are held back otherwise, and ``args``. In the main thread hold back more.

    In other threads no signal handler runs: there the mask is None, and stays.
    """
    if threading.get_ident() != threading.main_thread().ident:
        return call(None, *args)
    taken = sigmask(signal.SIG_BLOCK, ())
    try:
        sigmask(signal.SIG_BLOCK, HELD_BACK)
        return call(taken, *args)
    finally:
        sigmask(signal.SIG_SETMASK, taken)


def hold_back_signals() -> None:
    """Let this thread take no signal that the main thread may hold back; the system would give it to any thread."""
    if hasattr(signal, "pthread_sigmask"):
        sigmask(signal.SIG_BLOCK, HELD_BACK)


@cache
def can_be_run() -> bool:
    """Tell whether callers can run a loop of this Python: it needs epoll, and some of what asyncio keeps to itself."""
    if not hasattr(selectors, "EpollSelector"):
        return False
    loop = _Loop()
    try:
        return all(hasattr(loop, name) for name in OF_THE_LOOP) and all(
            hasattr(loop._epoll, name) for name in OF_THE_SELECTOR
        )
    finally:
        loop.close()
