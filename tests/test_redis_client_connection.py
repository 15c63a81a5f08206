"""One connection, byte by byte: what is written, whose reply is whose, and what happens when it ends."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from chuk_sessions.exceptions import OutcomeUnknown, ServerError
from chuk_sessions.redis_client.connection import Command, Connection, Reply, pack

GET_A = b"*2\r\n$3\r\nGET\r\n$1\r\na\r\n"
GET_B = b"*2\r\n$3\r\nGET\r\n$1\r\nb\r\n"


class RecordingTransport(asyncio.Transport):
    """Keeps each write; aborting reports the connection lost in the next turn, as a real one does."""

    def __init__(self, protocol: asyncio.Protocol) -> None:
        super().__init__()
        self.writes: list[bytes] = []
        self._protocol = protocol
        self._closing = False

    def write(self, data: Any) -> None:
        self.writes.append(bytes(data))

    def is_closing(self) -> bool:
        return self._closing

    def abort(self) -> None:
        if not self._closing:
            self._closing = True
            asyncio.get_running_loop().call_soon(self._protocol.connection_lost, None)


class Peer:
    """A connection on a recording transport, and what it hands back when it is lost."""

    def __init__(self) -> None:
        self.unsent: list[Command] = []
        self.connection = Connection(asyncio.get_running_loop(), "host:1", lambda _, unsent: self.unsent.extend(unsent))
        self.transport = RecordingTransport(self.connection)
        self.connection.connection_made(self.transport)

    def get(self, key: str) -> asyncio.Future[Reply]:
        future: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        self.connection.send((future, pack((b"GET", key))))
        return future


@pytest.fixture
async def peer() -> Peer:
    return Peer()


async def turn() -> None:
    await asyncio.sleep(0)


async def test_commands_of_one_turn_leave_in_one_write(peer: Peer) -> None:
    futures = [peer.get("a"), peer.get("b")]
    assert peer.transport.writes == []
    await turn()
    assert peer.transport.writes == [GET_A + GET_B]
    futures.append(peer.get("a"))
    await turn()
    assert peer.transport.writes == [GET_A + GET_B, GET_A]
    assert not any(future.done() for future in futures)


async def test_replies_match_commands_first_in_first_out(peer: Peer) -> None:
    first, second = peer.get("a"), peer.get("b")
    await turn()
    peer.connection.data_received(b"$1\r\n1\r\n$1\r\n2\r\n")
    assert (await first, await second) == (b"1", b"2")


async def test_a_reply_may_come_in_pieces(peer: Peer) -> None:
    first = peer.get("a")
    await turn()
    for byte in b"$3\r\nabc\r":
        peer.connection.data_received(bytes([byte]))
        assert not first.done()
    peer.connection.data_received(b"\n")
    assert await first == b"abc"


async def test_a_push_takes_no_replys_place(peer: Peer) -> None:
    first = peer.get("a")
    await turn()
    peer.connection.data_received(b">2\r\n$10\r\ninvalidate\r\n*1\r\n$1\r\nz\r\n$1\r\n1\r\n")
    assert await first == b"1"


async def test_a_false_or_null_reply_is_a_reply(peer: Peer) -> None:
    futures = [peer.get("a") for _ in range(3)]
    await turn()
    peer.connection.data_received(b"#f\r\n_\r\n$-1\r\n")
    assert [await future for future in futures] == [False, None, None]


async def test_an_error_reply_reaches_only_its_caller(peer: Peer) -> None:
    first, second = peer.get("a"), peer.get("b")
    await turn()
    peer.connection.data_received(b"-WRONGTYPE not a string\r\n$1\r\n2\r\n")
    with pytest.raises(ServerError, match="WRONGTYPE not a string"):
        await first
    assert await second == b"2"


async def test_a_command_cancelled_before_the_flush_is_not_written(peer: Peer) -> None:
    first, second = peer.get("a"), peer.get("b")
    first.cancel()
    await turn()
    assert peer.transport.writes == [GET_B]
    peer.connection.data_received(b"$1\r\n2\r\n")
    assert await second == b"2"


async def test_nothing_is_written_when_all_of_a_turn_gave_up(peer: Peer) -> None:
    peer.get("a").cancel()
    await turn()
    assert peer.transport.writes == []


async def test_a_command_cancelled_after_the_flush_keeps_its_place(peer: Peer) -> None:
    first, second = peer.get("a"), peer.get("b")
    await turn()
    first.cancel()
    peer.connection.data_received(b"-ERR for a\r\n$1\r\n2\r\n")
    assert await second == b"2"


@pytest.mark.parametrize("garbage", [b"HTTP/1.1 400 Bad Request\r\n", b"$x\r\n", b"\0\0\0"])
async def test_bytes_that_are_no_reply_end_the_connection(peer: Peer, garbage: bytes) -> None:
    first, second = peer.get("a"), peer.get("b")
    await turn()
    peer.connection.data_received(garbage)
    await turn()
    for future in (first, second):
        with pytest.raises(OutcomeUnknown, match="host:1"):
            await future
    assert peer.connection.lost.done()


async def test_a_reply_that_nobody_asked_for_ends_the_connection(peer: Peer) -> None:
    peer.connection.data_received(b"+OK\r\n")
    await turn()
    assert peer.connection.lost.done()


async def test_a_lost_connection_settles_what_was_sent_and_hands_back_the_rest(peer: Peer) -> None:
    sent = peer.get("a")
    await turn()
    unsent = peer.get("b")
    peer.connection.connection_lost(ConnectionResetError("reset by peer"))
    with pytest.raises(OutcomeUnknown, match="reset by peer"):
        await sent
    assert not unsent.done()
    assert [command[0] for command in peer.unsent] == [unsent]


async def test_commands_given_while_the_connection_closes_are_handed_back(peer: Peer) -> None:
    peer.connection.abort("test")
    late = peer.get("a")
    await turn()
    await turn()
    assert [command[0] for command in peer.unsent] == [late]
    assert peer.transport.writes == []


async def test_repr_tells_the_state(peer: Peer) -> None:
    peer.get("a").cancel()
    assert repr(peer.connection) == "<Connection host:1 open unsent=1 sent=0>"
    peer.connection.connection_lost(None)
    assert repr(peer.connection) == "<Connection host:1 closed unsent=0 sent=0>"
