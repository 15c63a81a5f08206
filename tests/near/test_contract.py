"""The contract of stores holds with a near cache: the tests that every store runs."""

from __future__ import annotations

from itertools import count
from typing import TYPE_CHECKING

import pytest

from chuk_sessions.ids import quote_part, session_key
from chuk_sessions.providers import redis
from chuk_sessions.testing import StoreContract
from tests.support.helpers import eventually

if TYPE_CHECKING:
    from collections.abc import Callable

    from chuk_sessions.providers.redis import RedisFactory
    from chuk_sessions.stores import SessionStore
    from chuk_sessions.testing.contract.base import MakeUnreadable

pytestmark = pytest.mark.redis
BOUND = 60.0  # seconds: longer than any test, so that nothing but the rules of the cache keeps answers right
_numbers = count()


class TestNearStores(StoreContract):
    """What they have in this process is not all their sessions, so that the figures are other ones."""

    test_sweeping = None  # type: ignore[assignment]
    test_what_has_expired_is_not_counted = None  # type: ignore[assignment]
    test_there_is_room = None  # type: ignore[assignment]

    @pytest.fixture
    def factory(self, redis_url: str) -> RedisFactory:
        """A call through 1,200 aliases asks as often: on a busy machine that takes longer than the default."""
        return redis.factory(f"{redis_url}?client_name=contract-{next(_numbers)}&socket_timeout=60")

    @pytest.fixture
    async def open_store(self, factory: RedisFactory) -> Callable[[str], SessionStore]:
        """With a near cache that serves from the first read of a session on."""
        warm = factory.near_session_store("warm", BOUND)
        for _ in range(3):  # to connect, to begin to track, and for the lease
            assert await warm.read("nobody") is None
        await eventually(lambda: factory.stats()["near_state"] == 2)
        return lambda sandbox_id: factory.near_session_store(sandbox_id, BOUND)

    @pytest.fixture
    def make_unreadable(self, factory: RedisFactory) -> MakeUnreadable:
        async def spoil(sandbox_id: str, session_id: str) -> None:
            async with factory() as provider:
                await provider.setex(session_key(quote_part(sandbox_id), session_id), 3600, "no record")

        return spoil

    @pytest.fixture(autouse=True)
    def no_create_is_under_way(self, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
        """See tests/contract/test_stores.py."""
        if request.node.originalname == "test_what_ended_unseen_makes_room":
            monkeypatch.setattr("chuk_sessions.providers.redis.index.UNDER_WAY", 10_000)
