"""Replies that are well formed and have another shape than the command's: errors of the storage, never of Python."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import hiredis
import pytest

from chuk_sessions import ProviderError, SessionError, SessionManager
from chuk_sessions.providers import redis
from chuk_sessions.redis_client.client import Client
from tests.support.peer import peer

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

REPLIES = (
    b"+OK\r\n",
    b":7\r\n",
    b":-7\r\n",
    b"$3\r\nabc\r\n",
    b"$-1\r\n",
    b"$2\r\n\xff\xfe\r\n",
    b"*0\r\n",
    b"*-1\r\n",
    b"*1\r\n:1\r\n",
    b"*1\r\n$-1\r\n",
    b"*1\r\n*0\r\n",
    b"*1\r\n$1\r\nx\r\n",
    b"*2\r\n:0\r\n:1\r\n",
    b"*2\r\n:0\r\n:300\r\n",
    b"*2\r\n$1\r\n>\r\n:1\r\n",
    b"*2\r\n$5\r\nalias\r\n:1\r\n",
    b"*2\r\n$1\r\n0\r\n:1\r\n",
    b"*2\r\n$1\r\n7\r\n*1\r\n$1\r\nx\r\n",
    b"*2\r\n*0\r\n*0\r\n",
    b"*3\r\n:1\r\n:2\r\n:3\r\n",
    b"*4\r\n$1\r\nv\r\n$1\r\n1\r\n$1\r\na\r\n:1\r\n",
    b"*4\r\n:1\r\n:2\r\n:3\r\n:4\r\n",
)
Manager = SessionManager
CALLS: dict[str, Callable[[Manager], Awaitable[Any]]] = {
    "allocate": lambda manager: manager.allocate_session(user_id="alice"),
    "allocate a chosen id": lambda manager: manager.allocate_session("id", "alice"),
    "validate": lambda manager: manager.validate_session("id"),
    "validate many": lambda manager: manager.validate_sessions(["id", "other"]),
    "open": lambda manager: manager.open_session("id"),
    "info": lambda manager: manager.get_session_info("id"),
    "update": lambda manager: manager.update_session_metadata("id", {"a": 1}),
    "count": lambda manager: manager.increment_session_metadata("id", "n"),
    "extend": lambda manager: manager.extend_session_ttl("id", 1),
    "renew": lambda manager: manager.renew_session("id"),
    "delete": lambda manager: manager.delete_session("id"),
    "delete many": lambda manager: manager.delete_sessions(["id", "other"]),
    "list": lambda manager: manager.list_user_sessions("alice"),
    "end all": lambda manager: manager.delete_user_sessions("alice", keep="id"),
    "all sessions": lambda manager: all_sessions(manager),
    "how many": lambda manager: manager.count_sessions(),
}


async def all_sessions(manager: Manager) -> None:
    async for _ in manager.iter_sessions():
        pass


def answering(reply: bytes) -> Callable[[bytes], bytes]:
    """A server that says PONG, and this to everything else."""
    reader = hiredis.Reader()

    def answer(data: bytes) -> bytes:
        reader.feed(data)
        answers = []
        while (command := reader.gets()) is not False:
            answers.append(b"+PONG\r\n" if command[0].upper() == b"PING" else reply)
        return b"".join(answers)

    return answer


ENDLESS = b"*2\r\n$1\r\n7\r\n*1\r\n$1\r\nx\r\n"  # a page of SCAN, and there is always one more


async def try_all(calls: dict[str, Callable[[Manager], Awaitable[Any]]], reply: bytes, **options: Any) -> list[str]:
    wrong = []
    for name, call in calls.items():
        if reply == ENDLESS and name in ("all sessions", "how many"):
            continue
        async with peer(answering(reply)) as address:
            url = f"redis://{address}?socket_timeout=0.2"
            manager = SessionManager("box", redis.factory(url), strict=True, **options)
            try:
                await call(manager)
            except (SessionError, ProviderError):
                pass
            except Exception as exc:
                wrong.append(f"{name}, {reply!r}: {exc!r}")
    return wrong


@pytest.mark.parametrize("reply", REPLIES)
async def test_calls_of_a_manager(reply: bytes) -> None:
    assert await try_all(CALLS, reply) == []


@pytest.mark.parametrize("reply", REPLIES)
async def test_calls_of_a_manager_with_options(reply: bytes) -> None:
    assert await try_all(CALLS, reply, touch_interval=60, max_sessions_per_user=2) == []


@pytest.mark.parametrize("reply", REPLIES)
@pytest.mark.usefixtures("legacy_read")
async def test_calls_of_a_manager_that_reads_published_sessions(reply: bytes) -> None:
    assert await try_all(CALLS, reply) == []


@pytest.mark.parametrize("reply", REPLIES)
async def test_values_and_what_is_asked_of_a_server(reply: bytes) -> None:
    async with peer(answering(reply)) as address:
        url = f"redis://{address}?socket_timeout=0.2"
        client, wrong = Client(url), []
        master = (await client.masters())[0]
        async with redis.factory(url)() as session:
            calls = (
                session.get("k"),
                session.setex("k", 1, "v"),
                session.delete("k"),
                client.time_at("k"),
                master.ownership(),
            )
            for call in calls:
                try:
                    await call
                except ProviderError:
                    pass
                except Exception as exc:
                    wrong.append(repr(exc))
        assert wrong == []
