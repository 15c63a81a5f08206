"""One connection, byte by byte: what is written, whose reply is whose, and what happens when it ends."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from chuk_sessions.exceptions import ServerError
from chuk_sessions.redis_client.commands import MANY, Command, Replay, Reply, pack
from chuk_sessions.redis_client.connection import Connection

GET_A = b"*2\r\n$3\r\nGET\r\n$1\r\na\r\n"
GET_B = b"*2\r\n$3\r\nGET\r\n$1\r\nb\r\n"


class RecordingTransport(asyncio.Transport):
    """Keeps each write; aborting reports the connection lost in the next turn, as a real one does."""

    def __init__(self, protocol: asyncio.BufferedProtocol) -> None:
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

    def __init__(self, max_in_flight: int = 1000) -> None:
        self.sent: list[Command] = []
        self.unsent: list[Command] = []
        self.connection = Connection(asyncio.get_running_loop(), self._lost, max_in_flight)
        self.transport = RecordingTransport(self.connection)
        self.connection.connection_made(self.transport)

    def _lost(self, _: Connection, sent: list[Command], unsent: list[Command]) -> None:
        self.sent += sent
        self.unsent += unsent

    def receive(self, data: bytes) -> None:
        self.connection.get_buffer(len(data))[: len(data)] = data
        self.connection.buffer_updated(len(data))

    def get(self, key: str, born: int = 0) -> asyncio.Future[Reply]:
        future: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        self.connection.send((future, pack((b"GET", key)), born, Replay.READ, 0))
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
    peer.receive(b"$1\r\n1\r\n$1\r\n2\r\n")
    assert (await first, await second) == (b"1", b"2")


async def test_a_reply_may_come_in_pieces(peer: Peer) -> None:
    first = peer.get("a")
    await turn()
    for byte in b"$3\r\nabc\r":
        peer.receive(bytes([byte]))
        assert not first.done()
    peer.receive(b"\n")
    assert await first == b"abc"


async def test_a_push_takes_no_replys_place(peer: Peer) -> None:
    first = peer.get("a")
    await turn()
    peer.receive(b">2\r\n$10\r\ninvalidate\r\n*1\r\n$1\r\nz\r\n$1\r\n1\r\n")
    assert await first == b"1"


async def test_a_false_or_null_reply_is_a_reply(peer: Peer) -> None:
    futures = [peer.get("a") for _ in range(3)]
    await turn()
    peer.receive(b"#f\r\n_\r\n$-1\r\n")
    assert [await future for future in futures] == [False, None, None]


async def test_an_error_reply_reaches_only_its_caller(peer: Peer) -> None:
    first, second = peer.get("a"), peer.get("b")
    await turn()
    peer.receive(b"-WRONGTYPE not a string\r\n$1\r\n2\r\n")
    with pytest.raises(ServerError, match="WRONGTYPE not a string"):
        await first
    assert await second == b"2"


async def test_a_command_cancelled_before_the_flush_is_not_written(peer: Peer) -> None:
    first, second = peer.get("a"), peer.get("b")
    first.cancel()
    await turn()
    assert peer.transport.writes == [GET_B]
    peer.receive(b"$1\r\n2\r\n")
    assert await second == b"2"


async def test_nothing_is_written_when_all_of_a_turn_gave_up(peer: Peer) -> None:
    peer.get("a").cancel()
    await turn()
    assert peer.transport.writes == []


async def test_a_command_cancelled_after_the_flush_keeps_its_place(peer: Peer) -> None:
    first, second = peer.get("a"), peer.get("b")
    await turn()
    first.cancel()
    peer.receive(b"-ERR for a\r\n$1\r\n2\r\n")
    assert await second == b"2"


@pytest.mark.parametrize("garbage", [b"HTTP/1.1 400 Bad Request\r\n", b"$x\r\n", b"\0\0\0"])
async def test_bytes_that_are_no_reply_end_the_connection(peer: Peer, garbage: bytes) -> None:
    first, second = peer.get("a"), peer.get("b")
    await turn()
    peer.receive(garbage)
    await turn()
    assert not first.done()
    assert not second.done()
    assert [command[0] for command in peer.sent] == [first, second]
    assert "no reply" in peer.connection.reason


async def test_a_reply_that_nobody_asked_for_ends_the_connection(peer: Peer) -> None:
    peer.receive(b"+OK\r\n")
    await turn()
    assert peer.connection.lost.done()


async def test_a_lost_connection_hands_back_what_was_sent_and_the_rest(peer: Peer) -> None:
    sent = peer.get("a")
    await turn()
    unsent = peer.get("b")
    peer.connection.connection_lost(ConnectionResetError("reset by peer"))
    assert [command[0] for command in peer.sent] == [sent]
    assert [command[0] for command in peer.unsent] == [unsent]
    assert peer.connection.reason == "reset by peer"


async def test_no_more_than_the_bound_is_in_flight_and_replies_let_the_next_go() -> None:
    peer = Peer(max_in_flight=1)
    first, second = peer.get("a"), peer.get("b")
    await turn()
    assert (peer.connection.in_flight, peer.connection.queued, peer.transport.writes) == (1, 1, [GET_A])
    peer.receive(b"$1\r\n1\r\n")
    await turn()
    assert peer.transport.writes == [GET_A, GET_B]
    peer.receive(b"$1\r\n2\r\n")
    assert (await first, await second) == (b"1", b"2")


async def test_nothing_is_written_while_the_transport_is_full(peer: Peer) -> None:
    first = peer.get("a")
    peer.connection.pause_writing()
    await turn()
    assert peer.transport.writes == []
    peer.connection.resume_writing()
    await turn()
    assert peer.transport.writes == [GET_A]
    assert not first.done()


async def test_given_up_commands_do_not_add_up_while_nothing_may_be_written() -> None:
    """Neither while the transport is full nor while the bound of commands is reached; the others keep their order."""
    for peer in (Peer(), Peer(max_in_flight=1)):
        first = peer.get("a")
        if peer.connection._max_in_flight > 1:
            peer.connection.pause_writing()
        await turn()
        waiting = [peer.get(str(number)) for number in range(50)]
        for _ in range(2000):
            peer.get("given up").cancel()
            await turn()
        assert peer.connection.queued <= 2 * len(waiting) + MANY
        peer.connection.connection_lost(None)
        assert [command[0] for command in peer.sent + peer.unsent if not command[0].done()] == [first, *waiting]


async def test_a_large_batch_is_written_in_parts(peer: Peer) -> None:
    values = [peer.get("x" * 700_000) for _ in range(3)]
    await turn()
    assert [len(data) // 700_000 for data in peer.transport.writes] == [2]
    await turn()
    assert [len(data) // 700_000 for data in peer.transport.writes] == [2, 1]
    assert not any(value.done() for value in values)


async def test_overdue_commands_are_the_old_ones_that_still_wait(peer: Peer) -> None:
    sent = [peer.get("a", born) for born in (1, 1, 2)]
    await turn()
    queued = [peer.get("b", born) for born in (1, 2)]
    sent[0].cancel()
    found = peer.connection.overdue(1)
    assert [[command[0] for command in commands] for commands in found] == [[sent[1]], [queued[0]]]


async def test_arguments_that_an_error_repeats_are_not_shown(peer: Peer) -> None:
    first = peer.get("a")
    await turn()
    peer.receive(b"-ERR unknown command 'AUTH', with args beginning with: 'user' 's3cr3t' \r\n")
    with pytest.raises(ServerError, match=r"^ERR unknown command 'AUTH'$"):
        await first


async def test_commands_given_while_the_connection_closes_are_handed_back(peer: Peer) -> None:
    peer.connection.abort("test")
    late = peer.get("a")
    await turn()
    await turn()
    assert [command[0] for command in peer.unsent] == [late]
    assert peer.transport.writes == []


async def test_repr_tells_the_state(peer: Peer) -> None:
    peer.get("a").cancel()
    assert repr(peer.connection) == "<Connection open unsent=1 sent=0>"
    peer.connection.connection_lost(None)
    assert repr(peer.connection) == "<Connection closed unsent=0 sent=0>"
