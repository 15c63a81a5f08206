"""A node with a near cache over a connection whose other end is the test: it reads what is written, and answers."""

from __future__ import annotations

import asyncio
from typing import Any

from chuk_sessions.redis_client.commands import Argument, Replay, Reply
from chuk_sessions.redis_client.config import RedisConfig
from chuk_sessions.redis_client.connection import READ_SIZE, Connection
from chuk_sessions.redis_client.dial import OnLost
from chuk_sessions.redis_client.entries import Entries
from chuk_sessions.redis_client.node import Node
from chuk_sessions.redis_client.states import State
from chuk_sessions.redis_client.tracking import Tracking
from chuk_sessions.redis_client.tracking_node import TrackingNode, track
from chuk_sessions.redis_client.watchdog import Watchdog
from chuk_sessions.testing.clock import Clock
from tests.support.wire import take_command

BOUND = 1.0
KEY, OTHER = "session:{0c7a3f}:box:a", "session:{0c7a3f}:box:b"
FIELDS = {b"v": b"2", b"created": b"1", b"accessed": b"2", b"expires": b"3", b"status": b"active"}
OK = b"+OK\r\n"


def bulk(text: bytes) -> bytes:
    return b"$%d\r\n%b\r\n" % (len(text), text)


def encoded(hash_: dict[bytes, bytes]) -> bytes:
    return b"%%%d\r\n" % len(hash_) + b"".join(bulk(part) for pair in hash_.items() for part in pair)


def in_pairs(hash_: dict[bytes, bytes]) -> bytes:
    """The reply to HRANDFIELD, which has lists of a name and a value."""
    return b"*%d\r\n" % len(hash_) + b"".join(b"*2\r\n" + bulk(name) + bulk(value) for name, value in hash_.items())


RECORD, PAIRS = encoded(FIELDS), in_pairs(FIELDS)  # as a plain read has it, and one that may be kept


def hello(number: int = 7, proto: int = 3, role: bytes = b"master", mode: bytes = b"standalone") -> bytes:
    """The answer to HELLO, as servers give it."""
    told = b"%5\r\n" + bulk(b"server") + bulk(b"redis") + bulk(b"proto") + b":%d\r\n" % proto
    told += bulk(b"id") + b":%d\r\n" % number + bulk(b"mode") + bulk(mode)
    return told + bulk(b"role") + bulk(role)


def server_time(seconds: float) -> bytes:
    return b"*2\r\n" + bulk(b"%d" % seconds) + bulk(b"%d" % round(seconds % 1 * 1_000_000))


def invalidation(*keys: str) -> bytes:
    return b">2\r\n" + bulk(b"invalidate") + b"*%d\r\n" % len(keys) + b"".join(bulk(key.encode()) for key in keys)


ALL_KEYS = b">2\r\n" + bulk(b"invalidate") + b"_\r\n"


class Transport(asyncio.Transport):
    """Keeps what is written; aborting reports the connection lost in the next turn, as a real one does."""

    def __init__(self, protocol: asyncio.BufferedProtocol) -> None:
        super().__init__()
        self.written = b""
        self.writes = 0
        self._protocol = protocol
        self._closing = False

    def write(self, data: Any) -> None:
        self.written += bytes(data)
        self.writes += 1

    def is_closing(self) -> bool:
        return self._closing

    def get_write_buffer_size(self) -> int:
        return 0

    def abort(self) -> None:
        if not self._closing:
            self._closing = True
            asyncio.get_running_loop().call_soon(self._protocol.connection_lost, None)


class Scripted:
    """A tracking node, a clock that stands still, and the transport of each connection that was made."""

    def __init__(self, entries: Entries | None = None) -> None:
        loop = asyncio.get_running_loop()
        self.clock = Clock()
        self.asked: asyncio.Future[Reply] = loop.create_future()  # the read that a test is about
        self.called: list[asyncio.Future[Reply]] = []  # other commands, which nobody waits for
        self.transports: list[Transport] = []
        self._connections: list[Connection] = []
        config = RedisConfig("peer", timeout=60.0)
        self.watchdog = Watchdog(loop, config.timeout)
        self._is_up = asyncio.Event()
        self.node: TrackingNode = track(Node(config, loop, self.watchdog, self._connect, hooks=[self._on_state]))
        self.tracking = Tracking(self.node, loop, entries, self.clock, self.clock)
        self.node.tracking = self.tracking
        self.node.reads._ask = self.tracking.ask

    async def _connect(self, on_lost: OnLost) -> Connection:
        connection = Connection(asyncio.get_running_loop(), on_lost)
        transport = Transport(connection)
        connection.connection_made(transport)
        self.transports.append(transport)
        self._connections.append(connection)
        return connection

    def _on_state(self, address: str, before: State, after: State) -> None:
        if after is State.UP:
            self._is_up.set()

    async def up(self) -> None:
        """Connect, by a command that is answered."""
        asked = self.node.call((b"PING",), Replay.READ)
        await self._is_up.wait()
        await asyncio.sleep(0)  # the command is written
        self.receive(b"+PONG\r\n")
        await asked
        self.take()

    async def serving(self) -> None:
        """Be on, with a lease of now; the server's clock is that of the test."""
        await self.up()
        await self.serving_from_here()

    async def serving_from_here(self) -> None:
        """Be on, as ``serving``, when there is a connection."""
        for replies in (hello() + OK, OK + server_time(self.clock()) + hello()):
            self.look_up(KEY)
            await asyncio.sleep(0)
            self.take()
            self.receive(replies)

    def state(self) -> str:
        return self.tracking.state.value

    def look_up(self, key: str = KEY) -> bool:
        """Whether an answer about the key could come from the cache now."""
        return self.tracking.lookup(key, BOUND) is not None

    def ask(self, key: str = KEY) -> asyncio.Future[Reply]:
        return self.node.reads.call((b"HGETALL", key), Replay.READ)

    def call(self, *args: Argument, replay: Replay = Replay.NEVER) -> None:
        self.called.append(self.node.call(args, replay))

    async def keep(self, key: str = KEY) -> None:
        asked = self.ask(key)
        await asyncio.sleep(0)
        self.receive(PAIRS)
        assert await asked == FIELDS
        self.take()

    def take(self) -> list[list[bytes]]:
        """The commands that were written since the last call."""
        data, self.transports[-1].written = self.transports[-1].written, b""
        commands = []
        while data:
            command, data = take_command(data)
            commands.append(command)
        return commands

    def receive(self, data: bytes) -> None:
        connection = self._connections[-1]
        for start in range(0, len(data), READ_SIZE):
            piece = data[start : start + READ_SIZE]
            connection.get_buffer(len(piece))[: len(piece)] = piece
            connection.buffer_updated(len(piece))

    async def lose(self) -> None:
        """End the connection, and wait for the next one."""
        self._is_up.clear()
        self._connections[-1].abort("the test ended it")
        await self._is_up.wait()

    async def close(self) -> None:
        self.asked.cancel()
        await self.node.close()
        await asyncio.gather(self.asked, *self.called, return_exceptions=True)
        self.watchdog.stop()
