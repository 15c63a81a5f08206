"""Replies kept in this process while the server promises to tell of every change: the near cache of one event loop.

The server tracks which keys a connection has read (https://redis.io/docs/latest/develop/reference/client-side-caching/)
and pushes the names of those that change. Pushes and replies come in one ordered stream. So a reply to a question that
was *written* at some time proves that every change before that time has been heard of. That time is the **lease**: an
entry is served only while the lease is younger than the bound of its caller. Pushes make the cache quick to forget; the
lease alone makes it right when pushes do not come: a connection that leads nowhere, a server or an event loop that
stood still.

States of the connection, with the events that lead on:

======== ============================================================ ==================================================
state    what it means                                                leads to
======== ============================================================ ==================================================
AWAY     there is no connection                                       NEW, when there is one
NEW      nobody has asked for an entry yet                            ARMING, at the first lookup
ARMING   HELLO 3 and CLIENT TRACKING are on their way                 ON; REFUSED
ON       the server tracks; served while the lease is young           REFUSED, if a fence or a read is refused
REFUSED  the server or a proxy does not track, or is no master        ARMING, at a lookup ``PAUSE`` seconds later
======== ============================================================ ==================================================

From every state the end of the connection leads to AWAY. On the way to AWAY or REFUSED all entries are dropped and no
read that is under way is stored; REFUSED ends the tracking too. A *fence* is CLIENT CACHING NO, TIME and HELLO in one
write. The first is an error on a connection that is not tracked. HELLO must tell of the same connection, protocol 3 and
a master: otherwise another server answers now, or this one has forgotten what it tracked.

States of a key: absent; pending, while a cacheable read is under way; kept. A pending read that is *poisoned* goes to
its caller and is not stored.

============================================ ============================= =============================================
event                                        pending                       kept
============================================ ============================= =============================================
its reply                                    kept                          (a second read is not cacheable)
its command is refused; read by HGETALL then absent, REFUSED               (as above)
another error, or its caller gave up         absent                        unchanged
a push that names the key; the null push     poisoned: absent              absent
a command of this loop that may change it    poisoned: absent              absent
the end of the connection, REFUSED           poisoned: absent              absent
============================================ ============================= =============================================

Rules this file keeps:

* A reply is stored inside the reader, before its caller runs and before the next push is read.
* A command of this loop drops the keys that it names when it is called, and again when it has ended: commands with
  large values use another connection, whose replies and the pushes of this one have no order.
* The server tracks every read of the connection (OPTOUT) but one after CLIENT CACHING NO. That costs a miss less than
  CLIENT CACHING YES before each read that may be kept (OPTIN). ``Untracked`` is before all others: what is tracked in
  vain does no harm, but takes memory of the server, and a script would have each of its writes told to this process.
* CLIENT CACHING NO holds for the next command of the connection, so that both are one pair; see ``Preceded``. The
  next one is never a CLIENT command, after which it would hold on, nor a read that may be kept.
* HRANDFIELD for more fields than there are is HGETALL, with lists for its reply in the place of a map: hiredis makes
  the lists, and Python the dict, in half the time that hiredis takes to make a dict.
* The lease counts from before a write. The server's time counts as later than it is, by one round trip at most.
* Tracking is without NOLOOP: with it a write of this connection would end the tracking of the key without a push, and
  the next write of another client would never be heard of.
"""

from __future__ import annotations

import asyncio
import logging
import math
import sys
import time
from collections.abc import Callable, Iterable
from enum import Enum
from typing import Protocol

from chuk_sessions.elapsed import elapsed
from chuk_sessions.exceptions import NoPermissionError
from chuk_sessions.redis_client.commands import NO_SLOT, Command, Nobody, Packed, Preceded, Replay, Reply, Waiter, pack
from chuk_sessions.redis_client.connection import Connection
from chuk_sessions.redis_client.entries import Entries, Entry
from chuk_sessions.redis_client.replies import SHAPES, UnknownCommandError, unknown_shape

__all__ = ["CACHED_READ", "HGETALL", "PAUSE", "Server", "State", "Tracking", "Untracked"]

logger = logging.getLogger(__name__)

PAUSE = 10.0  # seconds until a server that refused is asked again
LONG_AGO = (-math.inf, -math.inf)

HELLO_3, HELLO, TIME = pack((b"HELLO", 3)), pack((b"HELLO",)), pack((b"TIME",))
TRACKING_ON = pack((b"CLIENT", b"TRACKING", b"ON", b"OPTOUT"))
TRACKING_OFF = pack((b"CLIENT", b"TRACKING", b"OFF"))
NOT_CACHING = pack((b"CLIENT", b"CACHING", b"NO"))
HGETALL = b"HGETALL"
# As ``pack`` makes it, in half its steps. There is no hash of so many fields.
CACHED_READ = b"*4\r\n$10\r\nHRANDFIELD\r\n$%d\r\n%b\r\n$10\r\n1000000000\r\n$10\r\nWITHVALUES\r\n"
READ = Replay.READ  # to look up a member of an enum takes longer than a name


class State(Enum):
    """The state of the connection, as the cache sees it."""

    AWAY = "away"
    NEW = "new"
    ARMING = "arming"
    ON = "on"
    REFUSED = "refused"


ON = State.ON


class Server(Protocol):
    """The node whose connection is tracked."""

    @property
    def address(self) -> str:
        """Its address, for messages."""

    def send(self, waiter: Waiter, packed: Packed, replay: Replay, slot: int, born: int | None = None) -> None:
        """See ``Node.send``."""

    def learn(self, told: float, asked: tuple[float, float]) -> None:
        """Take over the time of the server, see ``ServerClock``."""

    def is_ready(self) -> bool:
        """Tell whether every command under way that may change keys will drop them when it has ended."""


class Tracking:
    """The near cache of one node. Of the time since then by ``clock`` and by ``wall_clock`` the longer counts.

    ``ServerClock`` says why there are two.
    """

    def __init__(
        self,
        server: Server,
        loop: asyncio.AbstractEventLoop,
        entries: Entries | None = None,
        clock: Callable[[], float] = elapsed,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self._server = server
        self._loop = loop
        self.entries = Entries() if entries is None else entries
        self._get = self.entries.get
        self._clock, self._wall_clock = clock, wall_clock
        self.pending_reads: dict[str, CachedRead] = {}
        self._connection: Connection | None = None
        self._asked: Arming | Fence | None = None  # the question that is under way
        self._id: object = None  # of the connection, by the server
        self._leased = LONG_AGO
        self._ahead = (0.0, 0.0)  # by how much the clock of the server is ahead of each of ours, at most
        self._again = -math.inf  # when a server that refused may be asked again
        self._told = False
        self.state = State.AWAY
        self._is_tracked = False  # the server may be tracking the connection
        self.is_read = False  # the server has answered a cacheable read of this generation
        self.now = 0.0  # the time of the server at the last lookup, or a little later
        self.hits = self.misses = self.lapsed = 0
        self.invalidations = self.poisoned = self.flushes = self.fences = 0

    def __repr__(self) -> str:
        return f"<Tracking {self.state.value} entries={len(self.entries)} pending={len(self.pending_reads)}>"

    @property
    def rank(self) -> int:
        """2 if the server tracks this connection and has answered a fence, 0 if it refused, 1 if neither."""
        if self.state is State.REFUSED:
            return 0
        return 2 if self.state is State.ON and self._leased is not LONG_AGO else 1

    def number(self, name: str) -> int:
        """Return one of the numbers of ``Client.stats``, without ``near_``."""
        if name == "entries":
            return len(self.entries)
        number: int = getattr(self.entries if name in ("bytes", "evictions") else self, name)
        return number

    @property
    def pending(self) -> int:
        """Reads under way whose replies may be kept."""
        return len(self.pending_reads)

    # Lookups

    def lookup(self, key: str, bound: float) -> Entry | None:
        """Return the entry of ``key``, and count a hit, if the lease is at most ``bound`` seconds old; else None.

        A hit sets ``now``, and asks for a new lease once half of the bound has passed. A lookup without a lease that is
        young enough asks for one in any case.
        """
        get, clock = self._get, self._clock  # not called as they are loaded: Python would look for methods first
        entry = get(key)
        now = clock()
        leased, wall_leased = self._leased
        age = now - leased
        if entry is None:  # one clock is enough: nothing is served
            if age > bound:
                self._renew(now)
            self.misses += 1
            return None
        wall_clock = self._wall_clock
        wall = wall_clock()
        wall_age = wall - wall_leased
        if wall_age > age:
            age = wall_age
        if age > bound:
            self.lapsed += 1
            self._renew(now)
            self.misses += 1
            return None
        if age > bound / 2:
            self._renew(now)
        ahead, wall_ahead = self._ahead
        now, wall = now + ahead, wall + wall_ahead
        self.now = now if now > wall else wall
        self.hits += 1
        entry.is_used = True
        return entry

    def reject(self) -> None:
        """Count the last hit as a miss: its entry cannot answer the call."""
        self.hits -= 1
        self.misses += 1

    def keeps(self, key: str) -> bool:
        """Tell whether it is of use to ``ask`` for the whole of a key: its reply would be kept, as far as is known."""
        return self.state is State.ON and self.entries.takes(key)

    def ask(self, key: str, born: int) -> asyncio.Future[Reply]:
        """Send the read of ``key``, and keep its reply if that is possible. Return a future of the reply."""
        future: asyncio.Future[Reply] = self._loop.create_future()
        pending = self.pending_reads.get(key)
        if self.state is ON and self._get(key) is None and (pending is None or pending.future.done()):
            text = key.encode()
            read = self.pending_reads[key] = CachedRead(self, key, future, born)
            self._server.send(read, CACHED_READ % (len(text), text), READ, 0, born)
        else:
            self.ask_plainly(key, future, born)
        return future

    def ask_plainly(self, key: str, future: asyncio.Future[Reply], born: int) -> None:
        """Send the read of ``key`` for a reply that is not kept."""
        self._server.send(future, pack((HGETALL, key)), READ, 0, born)

    # Forgetting

    def evict(self, keys: Iterable[str | bytes]) -> None:
        """Forget keys, because a command of this loop may change them. Nothing that is read now is stored."""
        for key in keys:
            self._forget(key)

    def on_push(self, push: list[Reply]) -> None:
        """Forget the keys that the server says have changed; all of them if it names none."""
        if not push or push[0] != b"invalidate":
            return
        keys = push[1] if len(push) == 2 else None
        if not isinstance(keys, list):
            self._flush()
            return
        for key in keys:
            self.invalidations += self._forget(key)

    def begin(self, connection: Connection) -> None:
        """Take a new connection. It is armed at the first lookup."""
        self.end()
        self._connection = connection
        self._is_tracked = False
        self._again = -math.inf
        self.state = State.NEW
        connection.on_push = self.on_push

    def end(self) -> None:
        """Drop everything: the connection has ended."""
        self.state = State.AWAY
        self._connection = None
        self._drop_all()

    def refuse(self, reason: str) -> None:
        """Drop everything: the server or what is before it does not track this connection, or is no master."""
        self.state = State.REFUSED
        self._drop_all()
        self._again = self._clock() + PAUSE
        self._stop()
        if not self._told:
            self._told = True
            logger.warning("The near cache of Redis at %s is off: %s", self._server.address, reason)

    def _stop(self) -> None:
        """Have the server track nothing more: nothing is kept, and each touch would be told to this process."""
        connection = self._connection
        if connection is not None and self._is_tracked:
            self._is_tracked = False
            waiter = Answer(lambda: self._connection is not connection, lambda reply: None)
            connection.send((waiter, TRACKING_OFF, sys.maxsize, Replay.NEVER, NO_SLOT))

    def _drop_all(self) -> None:
        """End the generation: the lease, all entries, the reads and the question under way."""
        self.is_read = False
        self._leased = LONG_AGO
        self._asked = None
        self._flush()

    def _flush(self) -> None:
        self.poisoned += len(self.pending_reads)
        self.pending_reads.clear()
        self.flushes += self.entries.clear()

    def _forget(self, key: object) -> bool:
        """Drop the entry of ``key`` and poison the read under way. Return whether there was one of the two."""
        if isinstance(key, bytes):
            key = key.decode("utf-8", "replace")  # a key that is no UTF-8 was never asked for
        if not isinstance(key, str):
            return False
        poisoned = self.pending_reads.pop(key, None) is not None
        self.poisoned += poisoned
        return self.entries.drop(key) or poisoned

    # Arming and fences

    def _renew(self, now: float) -> None:
        """Ask for a new lease, unless a question is under way; begin to track if that has not been done."""
        if self._asked is not None or self._connection is None:
            return
        if self.state is State.ON:
            self._put(Fence(self))
        elif (
            self.state is State.NEW or (self.state is State.REFUSED and now >= self._again)
        ) and self._server.is_ready():
            self.state = State.ARMING
            self._is_tracked = True  # until the reply says more
            self._put(Arming(self))

    def _put(self, question: Arming | Fence) -> None:
        """Send a question over the connection and nowhere else: it must never be sent again over another one."""
        self._asked = question
        if self._connection is not None:
            for command in question.commands:
                self._connection.send(command)

    def is_asked(self, question: object) -> bool:
        """Tell whether this question is the one under way."""
        return self._asked is question

    def on_armed(self, hello: Reply, tracking: Reply) -> None:
        """Learn the replies to HELLO 3 and CLIENT TRACKING; each may be an error."""
        self._asked = None
        self._is_tracked = tracking == b"OK"
        told = hello if isinstance(hello, dict) else {}
        reason = _why_not(told)
        if isinstance(hello, Exception):
            reason = f"HELLO 3 was refused: {hello}"
        elif not reason and tracking != b"OK":
            why = tracking if isinstance(tracking, Exception) else "an odd answer"
            reason = f"CLIENT TRACKING was refused: {why}"
        if reason:
            self.refuse(reason)
            return
        self._id = told.get(b"id")
        self.state = State.ON

    def on_fence(self, written: tuple[float, float], caching: Reply, clock: Reply, hello: Reply) -> None:
        """Learn the replies to CLIENT CACHING NO, TIME and HELLO, written at ``written``; each may be an error."""
        self._asked = None
        told = hello if isinstance(hello, dict) else {}
        reason = _why_not(told)
        if not reason and told.get(b"id") != self._id:
            reason = "another connection of the server answers now"
        if not reason and caching != b"OK":
            why = caching if isinstance(caching, Exception) else "an odd answer"
            reason = f"CLIENT CACHING was refused: {why}"
        try:
            seconds, microseconds = clock
            now = int(seconds) + int(microseconds) / 1_000_000
        except SHAPES as exc:
            reason = f"TIME was refused: {clock if isinstance(clock, Exception) else type(exc).__name__}"
        if reason:
            self.refuse(reason)
            return
        self.fences += 1
        self._ahead = now - written[0], now - written[1]
        self._leased = written
        self._server.learn(now, written)
        if self._told and self.is_read:  # the server has agreed to everything
            self._told = False
            logger.warning("The near cache of Redis at %s is on again", self._server.address)

    # Cacheable reads

    def give_up(self, read: CachedRead) -> None:
        """Forget a read that will not be stored."""
        if self.pending_reads.get(read.key) is read:
            del self.pending_reads[read.key]

    def clocks(self) -> tuple[float, float]:
        """Return the time now, by the two clocks."""
        return self._clock(), self._wall_clock()


class CachedRead:
    """Waits for the reply to a read that may be kept."""

    __slots__ = ("_born", "_tracking", "future", "key")

    def __init__(self, tracking: Tracking, key: str, future: asyncio.Future[Reply], born: int) -> None:
        self._tracking = tracking
        self.key = key
        self.future = future
        self._born = born

    def done(self) -> bool:
        """See ``Waiter``; a read that its caller gave up is not stored."""
        if self.future.done():
            self._tracking.give_up(self)
            return True
        return False

    def set_result(self, reply: Reply) -> None:
        """Keep the reply if that is possible, here inside the reader, and give it to the caller as a dict.

        With protocol 2 the reply is a plain list of names and values, which the caller knows from HGETALL.
        """
        tracking, key = self._tracking, self.key
        if type(reply) is list and (not reply or type(reply[0]) is list):
            try:
                reply = dict(reply)
            except SHAPES:
                self.set_exception(unknown_shape("HRANDFIELD"))
                return
        pending = tracking.pending_reads
        if pending.get(key) is self:  # else it was poisoned meanwhile
            del pending[key]
            tracking.is_read = True
            tracking.entries.put(key, reply)
        self.future.set_result(reply)

    def set_exception(self, exception: Exception) -> None:
        """Give the error to the caller. If the server refuses the command, read as without a cache from now on."""
        tracking = self._tracking
        tracking.give_up(self)
        if isinstance(exception, NoPermissionError | UnknownCommandError):
            tracking.refuse(f"HRANDFIELD was refused: {exception}")
            tracking.ask_plainly(self.key, self.future, self._born)
        else:
            self.future.set_exception(exception)


class Untracked(Preceded):
    """Makes the bytes of CLIENT CACHING NO and a command: the server does not track what the command reads.

    Over a connection that is not tracked the first is refused, and the command does the same.
    """

    __slots__ = ("_packed",)
    before: Command = (Nobody(), NOT_CACHING, sys.maxsize, Replay.NEVER, NO_SLOT)

    def __init__(self, packed: Packed) -> None:
        self._packed = packed

    def __call__(self) -> bytes:
        """Return the bytes of both."""
        return NOT_CACHING + (self._packed if isinstance(self._packed, bytes) else self._packed())


class Answer:
    """Waits for one reply to a question of the cache, which is over when ``is_over`` says so."""

    __slots__ = ("_is_over", "_on_reply")

    def __init__(self, is_over: Callable[[], bool], on_reply: Callable[[Reply], None]) -> None:
        self._is_over = is_over
        self._on_reply = on_reply

    def done(self) -> bool:
        """Tell whether nobody waits for the reply any more."""
        return self._is_over()

    def set_result(self, reply: Reply) -> None:
        """Take the reply."""
        self._on_reply(reply)

    set_exception = set_result


class Question(Preceded):
    """Commands of the cache itself, called together. They are over when the connection ends or others are asked.

    The first two are a pair.
    """

    parts: tuple[bytes, ...]

    def __init__(self, tracking: Tracking) -> None:
        self._tracking = tracking
        self._replies: list[Reply] = []
        self.written = LONG_AGO
        answer = Answer(self._is_over, self._on_reply)
        self.before: Command = (answer, self.parts[0], sys.maxsize, Replay.NEVER, NO_SLOT)
        packed: tuple[Packed, ...] = (self, *self.parts[2:])
        self.commands: list[Command] = [(answer, part, sys.maxsize, Replay.NEVER, NO_SLOT) for part in packed]

    def __call__(self) -> bytes:
        self.written = self._tracking.clocks()
        return self.parts[0] + self.parts[1]

    def _is_over(self) -> bool:
        return not self._tracking.is_asked(self)

    def _on_reply(self, reply: Reply) -> None:
        self._replies.append(reply)
        if len(self._replies) == len(self.parts) and not self._is_over():
            self._on_replies(*self._replies)

    def _on_replies(self, *replies: Reply) -> None:
        raise NotImplementedError


class Arming(Question):
    """Asks the server to speak RESP3 and to track the keys of this connection."""

    parts = HELLO_3, TRACKING_ON

    def _on_replies(self, *replies: Reply) -> None:
        self._tracking.on_armed(*replies)


class Fence(Question):
    """Asks for the time of the server, and whether it still is the server that tracks this connection."""

    parts = NOT_CACHING, TIME, HELLO

    def _on_replies(self, *replies: Reply) -> None:
        self._tracking.on_fence(self.written, *replies)


def _why_not(told: dict[Reply, Reply]) -> str:
    """Return the reason in a reply to HELLO why nothing may be kept; empty if there is none."""
    if told.get(b"proto") != 3:
        return "the server or a proxy does not speak RESP3"
    if told.get(b"role") != b"master":
        return "the server is no master"
    if told.get(b"mode") == b"cluster":
        return "the server is one of a cluster"
    if not isinstance(told.get(b"id"), int):
        return "the server does not tell the id of the connection"
    return ""
