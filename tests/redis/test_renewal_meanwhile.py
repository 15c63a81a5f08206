"""A session with a chosen id gets a new one while its user logs in elsewhere: the session must not end by that."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from chuk_sessions import SessionManager
from chuk_sessions.ids import renewed_id
from chuk_sessions.providers import redis
from chuk_sessions.providers.redis import index
from chuk_sessions.providers.redis.scripts import MOVE, RENEW
from chuk_sessions.providers.redis.store import RedisSessionStore
from tests.support.helpers import time_passes
from tests.support.meddler import Meddler

pytestmark = pytest.mark.redis
UNDER_WAY = 0.05  # seconds, in place of a minute


async def test_an_old_session_is_renewed_during_a_login_at_the_limit(
    redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An index entry without a session is given up by its own age. The session's age says nothing of it."""
    monkeypatch.setattr(index, "UNDER_WAY", int(UNDER_WAY * 1e6))
    manager = SessionManager("box", redis.factory(redis_url), strict=True)
    await manager.allocate_session("chosen", "alice")
    await time_passes(2 * UNDER_WAY)
    renewals = 0

    def log_in() -> None:
        """Between the entry of the new id and the session under it."""
        nonlocal renewals
        renewals += 1
        if renewals == 2:
            with ThreadPoolExecutor(1) as thread:
                thread.submit(asyncio.run, allocate_at_the_limit(redis_url)).result()

    store = RedisSessionStore(Meddler(redis_url, RENEW, log_in, times=3), "box")
    new_id = await store.renew("chosen", renewed_id("chosen", 1.0), 0)
    assert renewals == 3  # the login cancelled the entry, and the renewal began anew
    assert new_id is not None
    assert await manager.validate_session(new_id) is True
    assert len(await manager.list_user_sessions("alice")) == 2


async def test_a_renewal_that_ends_just_before_its_entry_is_given_up(
    redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The login saw an entry without a session, and the session is there when the login acts on that."""
    urls = (f"{redis_url}?client_name={name}" for name in ("one", "other"))
    one, other = (SessionManager("box", redis.factory(url), strict=True, max_sessions_per_user=3) for url in urls)
    await one.allocate_session(user_id="alice")
    await one.allocate_session("chosen", "alice")
    filed, seen, renewed = asyncio.Event(), asyncio.Event(), asyncio.Event()
    move, end = MOVE.step, index.UserIndex._end

    async def slow_move(*args: Any) -> Any:
        reply = await move(*args)
        filed.set()
        await seen.wait()
        return reply

    async def slow_end(*args: Any, **options: Any) -> int:
        seen.set()
        await renewed.wait()
        return await end(*args, **options)

    async def renew() -> str | None:
        new_id = await one.renew_session("chosen")
        renewed.set()
        return new_id

    monkeypatch.setattr(MOVE, "step", slow_move)
    monkeypatch.setattr(index.UserIndex, "_end", slow_end)
    renewal = asyncio.create_task(renew())
    await filed.wait()
    await other.allocate_session(user_id="alice")
    new_id = await renewal
    assert new_id is not None
    assert await one.validate_session(new_id) is True
    assert len(await one.list_user_sessions("alice")) == 3


@pytest.mark.parametrize("turns", range(4))
async def test_what_is_kept_is_kept_under_the_id_that_it_gets_meanwhile(redis_url: str, turns: int) -> None:
    """Ending all other sessions of a user, while the one that stays is renewed: a password change does both."""
    manager = SessionManager("box", redis.factory(redis_url), strict=True)
    for user_id in map(str, range(20)):
        session_id = await manager.allocate_session(user_id=user_id)

        async def renew(session_id: str = session_id) -> str | None:
            for _ in range(turns):
                await asyncio.sleep(0)
            return await manager.renew_session(session_id)

        _, new_id = await asyncio.gather(manager.delete_user_sessions(user_id, keep=session_id), renew())
        assert new_id is not None
        assert await manager.validate_session(new_id) is True


async def allocate_at_the_limit(redis_url: str) -> None:
    """Log in from another process; the user may have two sessions: the old one has two entries in the index now."""
    other = SessionManager("box", redis.factory(f"{redis_url}?client_name=other"), strict=True, max_sessions_per_user=2)
    await other.allocate_session(user_id="alice")
