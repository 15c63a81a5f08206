"""The contract of stores, run by every store of ours: it is the class that authors of other stores run."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from chuk_sessions.ids import quote_part, session_key
from chuk_sessions.providers import memory
from chuk_sessions.stores import InProcess
from chuk_sessions.stores.keyvalue import KeyValueStore
from chuk_sessions.stores.wrapper import StoreWrapper
from chuk_sessions.testing import Clock, StoreContract
from chuk_sessions.testing.contract.base import has
from tests.support import custom_provider
from tests.support.implementations import CLUSTER_SKEW, on_a_cluster

if TYPE_CHECKING:
    from collections.abc import Callable

    from chuk_sessions.provider import Factory
    from chuk_sessions.stores import SessionStore
    from chuk_sessions.testing.contract.base import MakeUnreadable

PATIENT = "socket_timeout=60"


class TestStores(StoreContract):
    """All of them, in the time of their storage."""

    @pytest.fixture
    def redis_url(self, redis_url: str) -> str:
        """A call through 1,200 aliases asks as often: on a busy machine that takes longer than the default."""
        return f"{redis_url}?{PATIENT}"

    @pytest.fixture
    def sentinel_url(self, sentinel_url: str) -> str:
        return f"{sentinel_url}?{PATIENT}"

    @pytest.fixture
    def cluster_url(self, cluster_url: str) -> str:
        return f"{cluster_url}?{PATIENT}"

    @pytest.fixture(autouse=True)
    def two_masters_need_not_agree(self, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
        """On a virtual machine the clocks of two processes differ by some milliseconds."""
        if on_a_cluster(request):
            monkeypatch.setattr(type(self), "clock_skew", CLUSTER_SKEW)

    @pytest.fixture
    def open_store(self, open_sessions: Callable[[str], SessionStore]) -> Callable[[str], SessionStore]:
        return open_sessions

    @pytest.fixture
    def make_unreadable(
        self, store_factory: Factory, open_sessions: Callable[[str], SessionStore]
    ) -> MakeUnreadable | None:
        """By the provider API, which reaches the key of a session but in memory."""
        if has(open_sessions("box"), InProcess):
            return None

        async def spoil(sandbox_id: str, session_id: str) -> None:
            async with store_factory() as provider:
                await provider.setex(session_key(quote_part(sandbox_id), session_id), 3600, "no record")

        return spoil

    @pytest.fixture(autouse=True)
    def no_create_is_under_way(self, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
        """Redis gives a create that takes two steps a minute; what ended unseen before that may yet be created."""
        if request.node.originalname == "test_what_ended_unseen_makes_room":
            monkeypatch.setattr("chuk_sessions.providers.redis.index.UNDER_WAY", 10_000)


class TestStoresWithAClock(StoreContract):
    """Those whose time can be moved."""

    @pytest.fixture
    def clock(self) -> Clock:
        return Clock()

    @pytest.fixture(params=["memory", "memory-no-gil", "wrapped", "custom"])
    def open_store(self, request: pytest.FixtureRequest, clock: Clock) -> Callable[[str], SessionStore]:
        if request.param == "custom":
            factory = custom_provider.factory()
            return lambda sandbox_id: KeyValueStore(factory, sandbox_id, wall_clock=clock)
        if request.param == "memory-no-gil":
            request.getfixturevalue("no_gil")
        open_memory = memory.factory(memory.MemoryStore(clock=clock, wall_clock=clock)).session_store
        if request.param != "wrapped":
            return open_memory
        return lambda sandbox_id: StoreWrapper(open_memory(sandbox_id))
