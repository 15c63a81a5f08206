"""A lone server, as seen from threads that wait: each command goes out, and its reply is read, in the caller's thread.

Rules this file keeps:

* There is one connection, for one caller at a time. A caller that finds it in use makes its call in the event loop of
  blocking callers, where the calls of several threads share a connection.
* It serves while all is well. The connection is opened in the event loop, after a call there that succeeded. What the
  connection cannot do is done there too: a command that was not sent, one that is sent again, one that the server
  refused for the sake of the connection. So only the event loop connects, logs in, and decides that a server is down.
* Before each command the connection is looked at: one that the server has closed gets none. After ``QUIET`` seconds
  without a byte the server must answer a PING first, as a middlebox may have forgotten the connection.
* A command whose reply is lost is sent once more if ``Replay`` allows it; else its outcome is unknown. A command that
  may be sent again waits for half of its time, so that the second try has the other half.
* Commands are packed of bytes and texts alone: hiredis turns a number into text by what may run a signal handler, and
  the process crashes if that raises. Only a caller's thread runs such handlers.
* After an exception amid a command, such as KeyboardInterrupt, the connection is closed: it is not known what was read.
* After a connection was lost there is none for ``PAUSE`` seconds, and for longer each time that none can be had.
* There is none with TLS, with logins that change, with measured round trips, behind Sentinels, or in a cluster.
"""

from __future__ import annotations

import asyncio
import contextvars
import os
import threading
import weakref
from asyncio.events import _set_running_loop
from collections.abc import Coroutine, Generator
from contextlib import suppress
from typing import Any, Generic, Protocol, TypeVar, cast

from chuk_sessions.exceptions import NotSent, OutcomeUnknown, ProviderError, ServerError
from chuk_sessions.redis_client.client import Client
from chuk_sessions.redis_client.commands import (
    BESIDE_A_VALUE,
    LARGE,
    Argument,
    Command,
    Large,
    Packed,
    Packing,
    Replay,
    Reply,
    Waiter,
    large,
    pack,
)
from chuk_sessions.redis_client.config import RedisConfig
from chuk_sessions.redis_client.connection import Connection
from chuk_sessions.redis_client.dial import open_connection
from chuk_sessions.redis_client.doubt import LATE, QUIET
from chuk_sessions.redis_client.open_batches import OpenBatches, Tally
from chuk_sessions.redis_client.outcomes import SecondTry, settle
from chuk_sessions.redis_client.replies import REPLICA_CODES
from chuk_sessions.redis_client.server_clock import ServerClock
from chuk_sessions.redis_client.server_stats import ServerStats
from chuk_sessions.redis_client.socket_wire import LONGEST_WAIT, SocketWire, WireError, can_be_polled
from chuk_sessions.redis_client.watchdog import TICKS, clock

__all__ = ["NOT_HERE", "Direct", "Run", "direct_of"]

T = TypeVar("T")

PAUSE, MAX_PAUSE = 1.0, 60.0  # seconds
PING = pack((b"PING",))
NOT_RUN = ("MOVED", "NOAUTH")  # the server ran nothing, and the event loop knows what to do
NOT_HERE: Any = object()  # in the place of a reply: the command was not sent, and must be sent in a coroutine


class Run(Protocol):
    """Runs a coroutine in the event loop of blocking callers, and waits for its result."""

    def __call__(self, call: Coroutine[Any, Any, T], /) -> T:
        """Return its result, or raise its error."""


class _Answer:
    """Stands in the place of a future that is settled before anybody awaits it."""

    __slots__ = ("_error", "_is_done", "_result")

    def __init__(self) -> None:
        self._is_done = False
        self._result: Any = None
        self._error: BaseException | None = None

    def done(self) -> bool:
        return self._is_done

    def result(self) -> Any:
        error, self._error = self._error, None
        if error is None:
            return self._result
        try:
            raise error
        finally:
            del error  # whose traceback has this frame

    def set_result(self, result: Any) -> None:
        self._is_done, self._result = True, result

    def set_exception(self, exception: BaseException) -> None:
        self._is_done, self._error = True, exception

    def __await__(self) -> Generator[Any, None, Any]:
        if not self._is_done:
            yield  # to ``Direct.run``, for which that is an error
        return self.result()


class _NoLoop:
    """Stands in the place of the running loop in a thread whose coroutine never waits. All threads have the same."""

    def create_future(self) -> _Answer:
        return _Answer()

    def is_closed(self) -> bool:
        return False

    def call_soon_threadsafe(self, *args: object, **options: object) -> None:
        raise RuntimeError("there is no event loop here")


NO_LOOP: Any = _NoLoop()


def direct_of(client: Client) -> Direct | None:
    """Return what serves a client's blocking callers; None if its calls must be made in an event loop.

    Raises ProviderError if the URL of the client cannot be used.
    """
    found = client.opened(NO_LOOP)
    if isinstance(found, Direct) and found.pid == os.getpid():
        return found
    config = client.config
    if config.cluster or config.master is not None or config.tls is not None or config.credentials is not None:
        return None
    if config.timings or not can_be_polled():
        return None
    made = Direct(client, config)
    client.open_as(NO_LOOP, made)
    return made


class Milliseconds:
    """Counts milliseconds in the place of the ticks of a ``Watchdog``."""

    __slots__ = ()

    @property
    def tick(self) -> int:
        """The time in milliseconds."""
        return int(clock() * 1000)


class Direct:
    """The server of a client, in the place of a ``Node``; see ``Deployment``. Its clock counts milliseconds, not ticks.

    It belongs to the process ``pid``.
    """

    is_cluster = False
    guard: object = None
    bytes_in_flight = in_flight = waiting = 0
    login_renewals = reconnects = redirects = 0

    def __init__(self, client: Client, config: RedisConfig) -> None:
        self._client = weakref.ref(client)  # which lives as long as a call on it
        self._config = config
        self._timeout = min(config.timeout, LONGEST_WAIT)
        self._large = min(config.max_value_bytes + BESIDE_A_VALUE, LARGE)
        self._turn = threading.Lock()
        self._run: Run | None = None  # of the call at hand
        self._wire: SocketWire | None = None
        self._is_opening = False
        self._pause, self._next_attempt = PAUSE, 0.0
        self._patience = LATE  # seconds for the answer to a PING
        self.pid = os.getpid()
        self.open_batches = OpenBatches()  # always empty: a command is gone when ``send`` returns
        self.tally = Tally()
        self.watchdog = Milliseconds()
        self.clock = ServerClock()
        self.written = self.timeouts = 0

    def __repr__(self) -> str:
        return f"<Direct {self._config.address} {'closed' if self._wire is None else 'open'}>"

    def run(self, call: Coroutine[Any, Any, T], run: Run) -> T:
        """Run a coroutine of commands on this server, one after another, here or by ``run``; return its result.

        Raises what the coroutine raises; RuntimeError if it waits for anything else.
        """
        if self._wire is None:
            return run(cast("Coroutine[Any, Any, T]", _Beside(self, call)) if self._may_open() else call)
        try:
            is_free = self._turn.acquire(blocking=False)
        except BaseException:  # of a signal handler: perhaps nobody would give the turn back
            self._retire()
            call.close()
            raise
        if not is_free:
            return run(call)
        try:
            self._run = run
            _set_running_loop(NO_LOOP)
            call.send(None)
        except StopIteration as end:
            return end.value  # type: ignore[no-any-return]
        finally:
            try:
                _set_running_loop(None)
            finally:  # also after an exception of a signal handler amid this
                self._run = None
                self._turn.release()
        call.close()
        raise RuntimeError("the call waits for something else than the server")

    def command(self, packed: bytes, replay: Replay, run: Run) -> Reply:
        """Send one command for a caller that has no coroutine, and return its reply; without its layers that is faster.

        Return ``NOT_HERE`` if nothing was sent, as only ``run`` can serve the caller now. Raises as ``Client.call``.
        """
        if self._wire is None or len(packed) > self._large:
            return NOT_HERE
        try:
            is_free = self._turn.acquire(blocking=False)
        except BaseException:  # as in ``run``
            self._retire()
            raise
        if not is_free:
            return NOT_HERE
        try:
            self._run = run
            return self._exchange(packed, replay, None)
        finally:
            self._run = None
            self._turn.release()

    def _retire(self) -> None:
        """Let the next call make another object. Who uses this one goes on."""
        client = self._client()
        if client is not None:
            client.forget(NO_LOOP, self)

    # A connection

    def _may_open(self) -> bool:
        if self._is_opening or clock() < self._next_attempt:
            return False
        self._is_opening = True
        return True

    async def beside(self, call: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine. If it succeeds, open a connection in the background."""
        try:
            result = await call
            task = asyncio.create_task(self._open(), context=contextvars.Context())
        except BaseException:
            self.give_up_opening()
            raise
        _opening.add(task)
        task.add_done_callback(_opening.discard)
        return result

    def give_up_opening(self) -> None:
        """Let the next call open the connection."""
        self._is_opening = False

    async def _open(self) -> None:
        try:
            with suppress(ProviderError, OSError):  # the calls in the loop say what is amiss
                connection = await open_connection(self._config, asyncio.get_running_loop(), _refuse)
                self._wire = SocketWire(connection.hand_over())
                self._pause = PAUSE
                return
            self._next_attempt = clock() + self._pause
            self._pause = min(2 * self._pause, MAX_PAUSE)
        finally:
            self._is_opening = False

    def _drop(self) -> None:
        wire, self._wire = self._wire, None
        self.clock.forget()  # another server may have another time
        self._next_attempt = clock() + self._pause
        if wire is not None:
            wire.close()

    def _proven(self, left: float) -> SocketWire | None:
        """Return the connection if it is not amiss and answers a PING; else drop it."""
        wire = self._wire
        if wire is None:
            return None
        try:
            if not wire.is_amiss():
                wire.exchange(PING, min(self._patience, left / 4))
                return wire
        except WireError:  # the server may be slow: the next time it has twice as long
            self._patience = min(2 * self._patience, self._config.timeout / 2)
        self._drop()
        return None

    # Commands

    def call(
        self, args: tuple[Argument, ...], replay: Replay, born: int | None = None, bounded: bool = True
    ) -> asyncio.Future[Reply]:
        """See ``Node.call``; the future is settled."""
        answer: Any = _Answer()
        packed = pack(args)
        if len(packed) <= self._large:
            self.send(answer, packed, replay, 0, born)
        else:
            self.send(answer, large(packed, self._config.max_value_bytes, bounded), replay, 0, born)
        return answer  # type: ignore[no-any-return]

    def send(self, waiter: Waiter, packed: Packed, replay: Replay, slot: int, born: int | None = None) -> None:
        """Send one command, and give the waiter its reply or its error.

        Meanwhile there is no running loop: a signal handler, or another greenlet, may use one of its own.
        """
        _set_running_loop(None)
        try:
            if not isinstance(packed, (bytes, Large)):  # a union would be made anew each time
                packed = packed()
            waiter.set_result(self._exchange(packed, replay, born))
        except ProviderError as error:
            waiter.set_exception(error)
        finally:
            _set_running_loop(NO_LOOP)

    def send_open(self, batch: Packing, replay: Replay, slot: int, born: int) -> None:
        """Send a batch, which no other call can join."""
        self.send(batch, batch.pack, replay, slot, born)

    def _exchange(self, packed: Packed, replay: Replay, born: int | None) -> Reply:
        """Send one command, and return its reply. Raises ProviderError, which may be an error of the server."""
        timeout, now = self._timeout, clock()
        if born is None:
            born, left = int(now * 1000), timeout
        else:
            left = timeout - max(0.0, now - born / 1000)
            if left <= 0:
                self.timeouts += 1
                raise NotSent(f"could not send to Redis at {self._config.address} within {timeout:g} s")
        if type(packed) is not bytes:
            return self._in_loop(packed, replay, born)
        wire = self._wire
        try:
            if wire is None or now - wire.used >= QUIET or wire.is_amiss():
                wire = self._proven(left)
                if wire is not None:  # it has answered a PING just now
                    left -= wire.used - now
            if left < timeout - timeout / TICKS:
                timeout = left
            if wire is not None:
                self.written += 1
                reply = wire.exchange(packed, timeout if replay is Replay.NEVER else timeout / 2)
        except WireError as exc:
            lost, is_late = str(exc), isinstance(exc.__cause__, TimeoutError)
        except BaseException:
            self._drop()
            raise
        else:
            if wire is None:
                return self._in_loop(packed, replay, born)
            if not isinstance(reply, ServerError):
                return reply
            try:
                return self._refused(reply, packed, replay, born)
            finally:
                del reply  # whose traceback has this frame
        self._drop()
        return self._after_loss(lost, is_late, packed, replay, born)

    def _after_loss(self, lost: str, is_late: bool, packed: Packed, replay: Replay, born: int) -> Reply:
        """Send a command whose reply was lost once more if it may be; else raise OutcomeUnknown."""
        reason = f"the connection to Redis at {self._config.address} was lost: {lost}"
        if replay is Replay.NEVER:
            self.timeouts += is_late
            raise OutcomeUnknown(f"{reason}, before the reply came")
        answer = _Answer()
        second = SecondTry(answer, replay, reason)
        try:
            second.set_result(self._in_loop(packed, Replay.NEVER, born))
        except ProviderError as error:
            second.set_exception(error)
        return answer.result()

    def _refused(self, error: ServerError, packed: Packed, replay: Replay, born: int) -> Reply:
        """Raise an error reply, unless the event loop knows what to do."""
        if error.code in NOT_RUN:
            self._drop()
            return self._in_loop(packed, replay, born)
        if error.code in REPLICA_CODES:
            self._drop()
        try:
            raise error
        finally:
            del error  # as in ``_exchange``

    def _in_loop(self, packed: Packed, replay: Replay, born: int) -> Reply:
        assert self._run is not None
        return self._run(self._sent_in_loop(packed, replay, clock() - born / 1000))

    async def _sent_in_loop(self, packed: Packed, replay: Replay, age: float) -> Reply:
        client = self._client()
        assert client is not None
        deployment = client.deployment()
        future: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        deployment.send(future, packed, replay, 0, deployment.watchdog.tick - int(age / self._config.timeout * TICKS))
        return await future

    # What else a deployment tells

    def slot_of(self, key: Argument) -> int:
        """Return 0: a lone server has one slot for all keys."""
        return 0

    def node_of(self, key: Argument) -> Any:
        """Return the server."""
        return self

    def clock_of(self, key: Argument) -> ServerClock:
        """Return the clock of the server."""
        return self.clock

    async def masters(self) -> list[Any]:
        """Raise RuntimeError: who asks for servers uses them in an event loop."""
        raise RuntimeError("the servers are found in an event loop only")

    async def close(self) -> None:
        """Close the connection."""
        self._drop()

    @property
    def writes(self) -> int:
        """Writes to the socket so far."""
        return self.written

    @property
    def scripts(self) -> int:
        """Batch scripts written so far, each with one key."""
        return self.tally.scripts

    @property
    def script_keys(self) -> int:
        """Keys of these scripts."""
        return self.tally.keys

    def servers(self) -> dict[str, ServerStats]:
        """Return the numbers of the server, by its name. The event loop tells its state."""
        numbers = {name: getattr(self, name) for name in ("writes", "timeouts", "scripts", "script_keys")}
        return {self._config.server: ServerStats(commands=self.written, **numbers)}


class _Beside(Generic[T]):
    """``Direct.beside`` in the place of a coroutine, to be awaited or closed: it may be closed before it has begun."""

    def __init__(self, direct: Direct, call: Coroutine[Any, Any, T]) -> None:
        self._direct, self._call = direct, call

    def __await__(self) -> Generator[Any, None, T]:
        return self._direct.beside(self._call).__await__()

    def close(self) -> None:
        """End what has not begun."""
        self._call.close()
        self._direct.give_up_opening()


def _refuse(connection: Connection, sent: list[Command], unsent: list[Command]) -> None:
    """Settle the commands of a login that the server ended: nobody else would."""
    for command in (*sent, *unsent):
        settle(command, NotSent(connection.reason))


_opening: set[asyncio.Task[None]] = set()  # an event loop alone does not keep its tasks alive
