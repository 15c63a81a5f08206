"""Which clocks a store has that is given none: those that there are when it is made, as a test may replace them."""

from __future__ import annotations

import time
from datetime import datetime
from typing import TYPE_CHECKING

import pytest

from chuk_sessions import SessionManager
from chuk_sessions.providers import memory
from chuk_sessions.providers.memory.expiring_map import ExpiringMap
from tests.support import custom_provider
from tests.support.helpers import Clock

if TYPE_CHECKING:
    from collections.abc import Callable

    from chuk_sessions.provider import Factory

DAY = 86_400.0


@pytest.fixture
def travel(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Moves both clocks of the process on, as freezegun does it: by other functions in the module ``time``."""
    passed = [0.0]
    monotonic, wall = time.monotonic, time.time
    monkeypatch.setattr(time, "monotonic", lambda: monotonic() + passed[0])
    monkeypatch.setattr(time, "time", lambda: wall() + passed[0])

    def move(seconds: float) -> None:
        passed[0] += seconds

    return move


@pytest.mark.parametrize(
    "make", [lambda: memory.factory(memory.MemoryStore()), memory.factory, custom_provider.factory]
)
async def test_time_moves_with_the_module(travel: Callable[[float], None], make: Callable[[], Factory]) -> None:
    manager = SessionManager("box", make(), strict=True)
    session_id = await manager.allocate_session(user_id="alice", ttl_hours=24)
    before = await manager.get_session_info(session_id)
    travel(DAY / 2)
    assert await manager.validate_session(session_id) is True
    after = await manager.get_session_info(session_id)
    assert before is not None
    assert after is not None
    passed = datetime.fromisoformat(after["last_accessed"]) - datetime.fromisoformat(before["created_at"])
    assert passed.total_seconds() >= DAY / 2
    travel(DAY / 2)
    assert await manager.validate_session(session_id) is False


async def test_values_too(travel: Callable[[float], None]) -> None:
    async with memory.factory(memory.MemoryStore())() as values:
        await values.setex("key", 60, "value")
        travel(61)
        assert await values.get("key") is None
    items = ExpiringMap()
    await items.setex("key", 60, "value")
    travel(61)
    assert await items.get("key") is None


@pytest.mark.parametrize("login", ["allocated", "bound"])
async def test_a_login_after_the_clock_was_set_back_lives(login: str) -> None:
    """At the limit an earlier session ends, though it seems to be newer."""
    wall_clock = Clock(1_700_000_000.0)
    store = memory.MemoryStore(wall_clock=wall_clock)
    manager = SessionManager("box", memory.factory(store), max_sessions_per_user=2)
    made: list[str | None] = []
    for moved in (0, 1, -3600):
        wall_clock.move(moved)
        if login == "allocated":
            made.append(await manager.allocate_session(user_id="alice"))
        else:
            made.append(await manager.renew_session(await manager.allocate_session(), user_id="alice"))
    assert [await manager.validate_session(str(each)) for each in made] == [False, True, True]
