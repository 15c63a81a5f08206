"""The way to one server: its connection, the attempts to make one, and the outages in between.

Rules this file keeps:

* At most one connection, made by at most one attempt at a time. One in ``Doubt`` that does not answer is kept while a
  second one is made, to compare; one of the two is ended then.
* UP -> RECONNECTING when the connection is lost and for ``reconnect_grace``. -> DOWN: attempts go on with full jitter,
  capped at ``MAX_PAUSE``. -> UP. One log line per transition, unless they come in floods: see ``states``. A server that
  was never reached is DOWN at the first failure.
* UP -> IDLE when the server closes, in good order, a connection that has been quiet and that nobody waits for: servers
  and proxies do so to what is idle (``timeout`` in redis.conf). The next command makes another connection, which takes
  as long as a first one may. -> UP, or if that fails -> RECONNECTING.
* Commands are the owner's: it gets them back with the connection that was lost, and says what becomes of them.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
import random
from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol

from chuk_sessions.exceptions import NotSent, ProviderError, ServerError
from chuk_sessions.redis_client.commands import Argument, Command
from chuk_sessions.redis_client.config import RedisConfig
from chuk_sessions.redis_client.connection import Connection
from chuk_sessions.redis_client.dial import OnLost, open_connection
from chuk_sessions.redis_client.doubt import Doubt
from chuk_sessions.redis_client.heartbeat import Heartbeat
from chuk_sessions.redis_client.limited_log import LimitedLog
from chuk_sessions.redis_client.outcomes import settle
from chuk_sessions.redis_client.states import TRANSITIONS, Hook, State

__all__ = ["FIRST_PAUSE", "MAX_PAUSE", "Connect", "Link", "Owner"]

logger = logging.getLogger(f"{__package__}.node")  # a name that applications know

FIRST_PAUSE = 0.05  # seconds between attempts at the most, doubled each time
MAX_PAUSE = 1.0
QUESTIONS: tuple[tuple[Argument, ...], ...] = ((b"EVAL", b"return 1", 0), (b"PING",))
MAX_PAUSE_IN_GRACE = 0.25  # callers wait then: a server that is back before they are told must be found before that

Connect = Callable[[OnLost], Awaitable[Connection]]


class Owner(Protocol):
    """Whose commands go over the connection."""

    def on_up(self, connection: Connection) -> None:
        """There is a connection: what waits may be sent."""

    def on_lost(self, connection: Connection, reason: str, sent: list[Command], unsent: list[Command]) -> None:
        """It has ended: what was sent must be settled, and the rest waits for the next one."""

    def on_proven(self) -> None:
        """The connection was in doubt, and has answered."""

    def fail_waiting(self, reason: str) -> None:
        """There will be none soon: what waits must be settled."""

    def on_trouble(self) -> None:
        """The connection was lost, or an attempt to make one failed."""


class Link:
    """Keeps a connection for ``owner``: to the host of ``config``, or what ``connect`` makes. Belongs to ``loop``.

    One that is not ``lasting`` is only wanted while there are commands.
    """

    def __init__(
        self,
        config: RedisConfig,
        loop: asyncio.AbstractEventLoop,
        owner: Owner,
        connect: Connect | None = None,
        jitter: Callable[[], float] = random.random,
        hooks: Sequence[Hook] = (),
        lasting: bool = True,
    ) -> None:
        self._config = config
        self._loop = loop
        self._owner = owner
        self._open = connect or (lambda on_lost: open_connection(config, loop, on_lost))
        self._jitter = jitter
        self._hooks = hooks
        self._lasting = lasting
        self._connection: Connection | None = None
        self._connecting: asyncio.Task[None] | None = None
        self._grace: asyncio.TimerHandle | None = None
        self._heartbeat: Heartbeat | None = None  # of the connection
        self.doubt: Doubt | None = None  # likewise
        self.is_comparing = False  # a second connection was answered, and waits for what the first one waits for
        self._pause = 0.0  # seconds at the most before the next attempt to connect
        self._context = contextvars.Context()  # empty: what runs on must not keep the first caller's variables alive
        self._log = LimitedLog(logger, loop.time)
        self.state = State.NEW
        self.reason = ""  # why there is no connection
        self.refusal: ServerError | None = None  # what the server said to the last attempt to connect
        self.up_since = 0.0
        self.reconnects = 0

    def begin(self) -> None:
        """Connect, if nobody does yet."""
        if self.state is State.CLOSED:
            return
        if self.state is State.RECONNECTING and self._grace is None:
            self._start_grace()
        if self._connecting is not None and not self._connecting.done():
            return
        self._connecting = self._context.copy().run(self._loop.create_task, self._connect())
        self._connecting.add_done_callback(self._connect_ended)  # a task may be cancelled before it has begun

    def end(self, reason: str) -> None:
        """Begin to close: there will be no connection any more."""
        if self.state is not State.CLOSED:
            self.reason = reason
            self._enter(State.CLOSED)
        self._stop_grace()
        if self._connecting is not None and not self._connecting.cancelling():
            self._connecting.cancel()
        if self._connection is not None:
            self._connection.abort(reason)

    async def ended(self) -> None:
        """After ``end``, wait until nothing is open and nothing runs."""
        if self._connecting is not None:
            await asyncio.wait([self._connecting])
        if self._connection is not None:
            await asyncio.wait([self._connection.lost])

    # Connecting

    async def _connect(self) -> None:
        while self._is_wanted():  # credentials of the application need not heed that this is cancelled
            await asyncio.sleep(self._jitter() * self._pause)
            most = MAX_PAUSE if self.state is State.DOWN else MAX_PAUSE_IN_GRACE
            self._pause = min(max(FIRST_PAUSE, 2 * self._pause), most)
            try:
                if await self._take(await self._open(self._lost)):
                    return
            except Exception as exc:  # whatever it is, the next attempt may succeed
                if self._is_closed():
                    return
                self._failed(exc)

    async def _take(self, connection: Connection) -> bool:
        """Use a new connection, in the place of the one in doubt if there is one, or end it; whether it is used."""
        try:
            if self._is_wanted() and await self._replaces(connection):
                self._use(connection)
                return True
            if self.doubt is not None:
                self.doubt.be_patient()
            connection.abort("it is not needed any more")
            await asyncio.wait([connection.lost])
            return False
        except BaseException:
            connection.abort("connecting was given up")
            raise

    def _is_closed(self) -> bool:
        return self.state is State.CLOSED

    def _is_wanted(self) -> bool:
        """Whether a connection is: there is none, or it is in doubt."""
        return not self._is_closed() and (self.doubt is None or self.doubt.persists)

    def _compare(self) -> None:
        """The connection was quiet and does not answer: have a second one, to see whether it is the server or the way.

        Called by its ``Doubt``.
        """
        self._pause = 0.0
        self.begin()
        self._owner.on_trouble()

    async def _replaces(self, connection: Connection) -> bool:
        """Whether to use this one; the connection that does not answer, as this one does, is ended.

        It must answer a script: a server that lets writes wait (CLIENT PAUSE, a failover in good order) answers all
        else. When such a pause ends, either connection may be the first to be answered: so it is asked once more.
        Raises NotSent if there is no answer, or if this one was lost meanwhile.
        """
        silent = self._connection
        if silent is not None:
            self.is_comparing = True
            try:
                for question in QUESTIONS:
                    await self._must_answer(connection, silent, question)
            finally:
                self.is_comparing = False
            if not silent.lost.done():
                if not self._is_wanted():
                    return False
                silent.abort("it was quiet, and did not answer while another one did")
                await asyncio.wait([silent.lost])
        if connection.lost.done():
            raise NotSent(connection.reason)
        return True

    async def _must_answer(self, connection: Connection, silent: Connection, command: tuple[Argument, ...]) -> None:
        """Wait for an answer, or for the end of the silent one. Raises NotSent if neither comes."""
        question = connection.request(*command)
        try:
            either = [question, silent.lost]
            await asyncio.wait(either, timeout=self._config.timeout, return_when=asyncio.FIRST_COMPLETED)
            if question.done():
                question.exception()  # a refusal is an answer too
            elif not silent.lost.done():
                raise NotSent("a second connection got no answer either")
            if connection.lost.done():
                raise NotSent(connection.reason)
        finally:
            question.cancel()

    def _failed(self, exc: Exception) -> None:
        if self._connection is not None:  # in doubt: it may still answer, and its owner knows how long to wait
            self._owner.on_trouble()
            return
        unexpected = f"cannot connect to Redis at {self._config.address}: {type(exc).__name__}"
        self.reason = str(exc) if isinstance(exc, ProviderError) else unexpected
        self.refusal = _refusal_in(exc)
        if self.state is State.IDLE:
            self._enter(State.RECONNECTING)
            self._start_grace()
        elif self.state is not State.RECONNECTING:
            self._go_down()
        self._owner.on_trouble()

    def _connect_ended(self, task: asyncio.Task[None]) -> None:
        if task is self._connecting and self._connection is None:
            self._owner.fail_waiting(f"connecting to Redis at {self._config.address} was given up")

    def _use(self, connection: Connection) -> None:
        self._stop_grace()
        self.up_since = self._loop.time()
        self.reconnects += self.state is not State.NEW
        self.refusal = None
        self._connection = connection
        config, loop = self._config, self._loop
        self.doubt = Doubt(loop, connection, config.timeout, self._owner.on_proven, self._compare)
        if config.heartbeat:
            self._heartbeat = Heartbeat(loop, connection, config.heartbeat, config.timeout, self.doubt.answered)
        self._enter(State.UP, "" if self._config.master is None else f", at {connection.peer}")
        self._owner.on_up(connection)

    # Outages

    def _lost(self, connection: Connection, sent: list[Command], unsent: list[Command]) -> None:
        if connection is not self._connection:  # it did not get beyond the handshake: nothing of callers is on it
            for command in sent + unsent:
                settle(command, NotSent(connection.reason))
            return
        # If an exception comes amid this, all of it is done once more: see ``Connection``.
        doubt = self.doubt
        if doubt is not None:
            doubt.end()
        if self._heartbeat is not None:
            self._heartbeat.stop()
        self.reason = f"the connection to Redis at {self._config.address} was lost: {connection.reason}"
        if self._loop.time() - self.up_since > MAX_PAUSE:
            self._pause = 0.0  # it was of use: no reason to hesitate
        self._owner.on_lost(connection, self.reason, sent, unsent)
        if self.state is State.CLOSED:
            self._owner.fail_waiting(self.reason)
        elif not (sent or unsent) and (not self._lasting or self._was_idle(connection, doubt)):
            if self.state is State.UP:
                self._enter(State.IDLE)
        else:
            if self.state is State.UP:  # else it was lost in the moment that it was to be used
                self._enter(State.RECONNECTING)
            self.begin()
            self._owner.on_trouble()
        self._connection = self.doubt = self._heartbeat = None

    def _was_idle(self, connection: Connection, doubt: Doubt | None) -> bool:
        """Whether the connection was closed because nobody used it, as servers and proxies do."""
        return connection.was_hung_up and doubt is not None and doubt.is_quiet

    def _start_grace(self) -> None:
        due = self._loop.time() + self._config.reconnect_grace
        self._grace = self._loop.call_at(due, self._end_grace, due, context=self._context)

    def _stop_grace(self) -> None:
        if self._grace is not None:
            self._grace.cancel()
            self._grace = None

    def _end_grace(self, due: float) -> None:
        self._grace = None
        if self.state is not State.RECONNECTING:
            return
        if self._config.reconnect_grace and self._loop.time() > due + self._config.reconnect_grace / 2:
            self._start_grace()  # the application held up the loop: the attempt to connect had no chance
        else:
            self._go_down()

    def _go_down(self) -> None:
        self._owner.fail_waiting(self.reason)
        if self.state is not State.DOWN:
            self._enter(State.DOWN)

    def _enter(self, state: State, at: str = "") -> None:
        """Change the state: by a transition of the table, which goes to the log, and to the hooks."""
        before = self.state
        assert (before, state) in TRANSITIONS, f"no transition leads from {before.value} to {state.value}"
        self.state = state
        address, line = self._config.address, TRANSITIONS[before, state]
        if line is not None:
            level, words = line
            self._log.line(level, words.format(address=address, at=at, reason=self.reason))
        for hook in self._hooks:
            try:
                hook(address, before, state)
            except Exception:
                logger.exception("a hook for the state of Redis at %s raised", address)


def _refusal_in(exc: BaseException | None) -> ServerError | None:
    while exc is not None and not isinstance(exc, ServerError):
        exc = exc.__cause__
    return exc
