"""A test's own server leaves nothing behind, at whichever step of a connection the test ends."""

from __future__ import annotations

import asyncio
import gc
import socket
from contextlib import suppress

import pytest

from tests.support.listening import listening


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(100):
        writer.write(data)


def connect(address: str) -> socket.socket:
    host, _, port = address.partition(":")
    return socket.create_connection((host, int(port)), timeout=10)


@pytest.mark.parametrize("turns", range(8))
def test_a_connection_of_any_age_is_closed(turns: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The loop ends right after: what it leaves open, the garbage collector complains of."""
    complaints: list[str] = []
    monkeypatch.setattr("sys.unraisablehook", lambda complaint: complaints.append(str(complaint.exc_value)))

    async def leave() -> socket.socket:
        async with listening(echo) as address:
            connection = connect(address)
            for _ in range(turns):
                await asyncio.sleep(0)
        return connection

    with asyncio.run(leave()) as connection:
        gc.collect()
        with suppress(ConnectionResetError):
            assert connection.recv(1) == b""
    assert complaints == []


async def test_what_was_written_last_arrives_before_the_end() -> None:
    async def say(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"bye")

    async with listening(say) as address:
        host, _, port = address.partition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        assert await reader.read() == b"bye"
        writer.close()
        await writer.wait_closed()


@pytest.mark.parametrize("error", [AssertionError("wrong request"), TimeoutError("wrong request")], ids=repr)
@pytest.mark.parametrize("also", [False, True], ids=["alone", "beside one of the test"])
async def test_an_error_of_the_server_is_the_tests(error: Exception, also: bool) -> None:
    async def fail(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        raise error

    async def ask() -> None:
        async with listening(fail) as address:
            with connect(address) as connection:
                connection.setblocking(False)
                await asyncio.get_running_loop().sock_recv(connection, 1)
            if also:
                raise RuntimeError("no answer")

    with pytest.raises(RuntimeError if also else type(error)) as caught:
        await ask()
    assert "wrong request" in (caught.value.__notes__[0] if also else str(caught.value))
