"""Manages the connection to one server: the attempts to make it, and the outages in between.

Rules this file keeps:

* There is at most one connection, made by at most one attempt at a time. A connection in ``Doubt`` that does not answer
  is kept while a second one is made, to compare them. Then one of the two is ended.
* UP -> RECONNECTING when the connection is lost, for ``reconnect_grace``. -> DOWN: attempts go on with full jitter,
  capped at ``MAX_PAUSE``. -> UP. Each transition has one log line, unless they come in floods: see ``states``. A server
  that was never reached is DOWN at the first failure.
* UP -> IDLE when the server closes, in good order, a connection that was quiet and that no command waits for: servers
  and proxies close idle connections (``timeout`` in redis.conf). The next command makes another connection, which may
  take as long as a first one. -> UP, or if that fails -> RECONNECTING.
* Commands belong to the owner. It gets them back with the lost connection, and sends them again or settles them.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
import random
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Protocol

from chuk_sessions.exceptions import NotSent, OutcomeUnknown, ProviderError, ServerError
from chuk_sessions.redis_client.commands import Argument, Command
from chuk_sessions.redis_client.config import RedisConfig
from chuk_sessions.redis_client.connection import Connection
from chuk_sessions.redis_client.dial import OnLost, open_connection
from chuk_sessions.redis_client.doubt import Doubt
from chuk_sessions.redis_client.heartbeat import Heartbeat
from chuk_sessions.redis_client.limited_log import LimitedLog
from chuk_sessions.redis_client.outcomes import settle
from chuk_sessions.redis_client.states import TRANSITIONS, Hook, State

if TYPE_CHECKING:
    from chuk_sessions.redis_client.renewal import Renewal

__all__ = ["FIRST_PAUSE", "MAX_PAUSE", "Connect", "Link", "Owner"]

logger = logging.getLogger(f"{__package__}.node")  # a name that applications know

FIRST_PAUSE = 0.05  # seconds between attempts at the most, doubled each time
MAX_PAUSE = 1.0
MAX_PAUSE_IN_GRACE = 0.25  # callers wait meanwhile: a server that is back must be found before they get an error

QUESTIONS: tuple[tuple[Argument, ...], ...] = ((b"EVAL", b"return 1", 0), (b"PING",))  # see ``Link._replaces``

Connect = Callable[[OnLost], Awaitable[Connection]]


class Owner(Protocol):
    """The owner of the commands that go over the connection."""

    def on_up(self, connection: Connection) -> None:
        """Take a new connection: waiting commands may be sent."""

    def on_lost(self, connection: Connection, reason: str, sent: list[Command], unsent: list[Command]) -> None:
        """Take back the commands of an ended connection: settle the sent ones, and keep the rest for the next one."""

    def on_proven(self) -> None:
        """Learn that the connection was in doubt, and has answered."""

    def on_question(self) -> None:
        """Learn that a question of the link is on its way: without an answer the connection is silent."""

    def fail_waiting(self, reason: str) -> None:
        """Settle the waiting commands: there will be no connection soon."""

    def on_trouble(self) -> None:
        """Learn that the connection was lost, or that an attempt to make one failed."""


class Link:
    """Keeps a connection for ``owner``, made by ``connect`` or to the host of ``config``. Belongs to ``loop``.

    If the link is not ``lasting``, it wants a connection only while there are commands.
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
        self.doubt: Doubt | None = None  # of the connection too
        self._renewal: Renewal | None = None  # of the last connection whose login ends
        self.is_comparing = False  # a second connection was made, and waits for an answer like the first one
        self._pause = 0.0  # seconds at the most before the next attempt to connect
        self._context = contextvars.Context()  # empty: a task must not keep the first caller's variables alive
        self._log = LimitedLog(logger, loop.time)
        self.state = State.NEW
        self.reason = ""  # why there is no connection
        self.refusal: ServerError | None = None  # what the server said to the last attempt to connect
        self.up_since = 0.0
        self.reconnects = 0
        self.login_renewals = 0

    def begin(self) -> None:
        """Begin to connect, unless an attempt is running."""
        if self.state is State.CLOSED:
            return
        if self.state is State.RECONNECTING and self._grace is None:
            self._start_grace()
        if self._connecting is not None and not self._connecting.done():
            return
        self._connecting = self._context.copy().run(self._loop.create_task, self._connect())
        self._connecting.add_done_callback(self._connect_ended)  # a task may be cancelled before it has begun

    def end(self, reason: str) -> None:
        """Begin to close: from now on there will be no connection."""
        if self.state is not State.CLOSED:
            self.reason = reason
            self._enter(State.CLOSED)
        self._stop_grace()
        if self._connecting is not None and not self._connecting.cancelling():
            self._connecting.cancel()
        if self._connection is not None:
            self._connection.abort(reason)

    async def ended(self) -> None:
        """Wait, after ``end``, until no connection is open, and no attempt and no renewal runs."""
        if self._connecting is not None:
            await asyncio.wait([self._connecting])
        if self._connection is not None:
            await asyncio.wait([self._connection.lost])
        if self._renewal is not None:
            await self._renewal.ended()

    # Connecting

    async def _connect(self) -> None:
        while self._is_wanted():  # the application's credentials may ignore a cancellation
            await asyncio.sleep(self._jitter() * self._pause)
            most = MAX_PAUSE if self.state is State.DOWN else MAX_PAUSE_IN_GRACE
            self._pause = min(max(FIRST_PAUSE, 2 * self._pause), most)
            try:
                if await self._take(await self._open(self._lost)):
                    return
            except Exception as exc:  # whatever the error is, the next attempt may succeed
                if self._is_closed():
                    return
                self._failed(exc)

    async def _take(self, connection: Connection) -> bool:
        """Use a new connection, in the place of one in doubt, or end the new one. Return whether it is used."""
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
        """Tell whether a connection is wanted: there is none, or it is in doubt."""
        return not self._is_closed() and (self.doubt is None or self.doubt.persists)

    def _compare(self) -> None:
        """Make a second connection, because the first one was quiet and does not answer; ``Doubt`` calls this.

        The second connection shows whether the server is slow or the first connection leads nowhere.
        """
        self._pause = 0.0
        self.begin()
        self._owner.on_trouble()

    async def _replaces(self, connection: Connection) -> bool:
        """Tell whether to use this connection. If it answers and the old one does not, end the old one.

        The question is a script: a server that lets writes wait (CLIENT PAUSE, a failover in good order) answers all
        other commands. When such a pause ends, either connection may get its answer first: so there is a second
        question. Raises NotSent if there is no answer, or if this connection was lost meanwhile.
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
        """Wait for an answer, or for the end of the silent connection. Raises NotSent if neither comes."""
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
        if self._connection is not None:  # it is in doubt: it may still answer, and its owner ends it in time
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
        if connection.renew_in is not None:
            self._keep_logged_in(connection, connection.renew_in)
        self._enter(State.UP, "" if self._config.master is None else f", at {connection.peer}")
        self._owner.on_up(connection)

    def _keep_logged_in(self, connection: Connection, renew_in: float) -> None:
        from chuk_sessions.redis_client.renewal import Renewal  # only where logins end

        self._renewal = Renewal(
            self._loop,
            connection,
            renew_in,
            self._config,
            self._owner.on_question,
            self._renewed,
            self._log,
            self._jitter,
        )

    def _renewed(self) -> None:
        self.login_renewals += 1

    # Outages

    def _lost(self, connection: Connection, sent: list[Command], unsent: list[Command]) -> None:
        # A connection that did not get beyond the handshake has no commands of callers. One that an exception has ended
        # twice may still have them, though they were taken back.
        if connection is not self._connection:
            for command in sent:
                settle(command, OutcomeUnknown(connection.reason))
            for command in unsent:
                settle(command, NotSent(connection.reason))
            return
        # If an exception comes in between, all of this is done once more: see ``Connection``.
        doubt = self.doubt
        if doubt is not None:
            doubt.end()
        if self._heartbeat is not None:
            self._heartbeat.stop()
        if self._renewal is not None:
            self._renewal.stop()
        self.reason = f"the connection to Redis at {self._config.address} was lost: {connection.reason}"
        if self._loop.time() - self.up_since > MAX_PAUSE:
            self._pause = 0.0  # the connection was of use: connect at once
        self._owner.on_lost(connection, self.reason, sent, unsent)
        if self.state is State.CLOSED:
            self._owner.fail_waiting(self.reason)
        elif not (sent or unsent) and (not self._lasting or self._was_idle(connection, doubt)):
            if self.state is State.UP:
                self._enter(State.IDLE)
        else:
            if self.state is State.UP:  # else the connection was lost just before its first use
                self._enter(State.RECONNECTING)
            self.begin()
            self._owner.on_trouble()
        self._connection = self.doubt = self._heartbeat = None

    def _was_idle(self, connection: Connection, doubt: Doubt | None) -> bool:
        """Tell whether the server or a proxy closed the connection because it was not used."""
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
        """Change the state, by a transition of the table. Write the log line and call the hooks."""
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
