"""What sealed metadata costs where no clock is needed: commands, writes, bytes on the wire and bytes on the server."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from benchmarks.workloads.manager_bodies import METADATA, USER
from chuk_sessions import SessionManager
from chuk_sessions.ids import session_key
from chuk_sessions.providers import redis
from tests.redis.test_exact_costs import OPERATIONS, SANDBOX, one_session
from tests.sealed.places import keyring

if TYPE_CHECKING:
    from tests.support.servers import Server
    from tests.support.wire import Wire

pytest.importorskip("cryptography", reason="the extra `encryption` is not installed")
pytestmark = pytest.mark.redis

OF_A_VALUE = 33 + 1  # bytes more, and one more digit of its length
VALUES = {"allocate": 3, "update": 1, "replace": 1, "remove": 1}  # that a call of that name sends


def manager_of(url: str) -> SessionManager:
    return SessionManager(SANDBOX, redis.factory(url, encryption=keyring(plain_fields=["used"])))


@pytest.mark.parametrize("name", OPERATIONS)
async def test_an_operation_is_one_command_in_one_write(wire: Wire, redis_url: str, name: str) -> None:
    """As without keys, and only values are longer."""
    operation, command, size = OPERATIONS[name]
    manager = manager_of(redis_url)
    session_id = await one_session(manager)
    wire.clear()
    assert await operation(manager, session_id)
    assert (wire.commands, len(wire.writes)) == ([command], 1)
    most = VALUES.get(name, 0) * OF_A_VALUE
    assert size + most - VALUES.get(name, 0) <= wire.size <= size + most


async def test_a_login_reads_the_session_once_more(wire: Wire, redis_url: str) -> None:
    manager = manager_of(redis_url)
    commands = []
    for _ in range(2):
        visitor = await manager.allocate_session(custom_metadata=METADATA)
        wire.clear()
        assert await manager.renew_session(visitor, user_id=USER)
        commands.append(wire.commands)
    assert commands[1] == ["HGETALL", "EVALSHA"]  # when the server knows the script


async def test_bytes_of_a_session_on_the_server(redis_server: Server, redis_url: str) -> None:
    """By the server's own account, with the metadata of the quick start."""
    sizes = []
    for manager in (SessionManager(SANDBOX, redis.factory(redis_url)), manager_of(redis_url)):
        session_id = await manager.allocate_session(user_id=USER, custom_metadata=METADATA)
        sizes.append(int(str(redis_server.command("MEMORY", "USAGE", session_key(SANDBOX, session_id)))))
    assert sizes[0] < sizes[1] <= 1.45 * sizes[0]
