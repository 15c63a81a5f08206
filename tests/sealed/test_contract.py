"""A store that seals passes what every store passes; only counting is for fields that are not sealed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from chuk_sessions import MetadataError
from chuk_sessions.encryption import Keyring
from chuk_sessions.ids import quote_part, session_key
from chuk_sessions.providers.redis.sealed.store import SealedStore
from chuk_sessions.redis_client.client import Client
from chuk_sessions.testing.contract.binding import BindingTests
from chuk_sessions.testing.contract.concurrency import ConcurrencyTests
from chuk_sessions.testing.contract.counting import CountingTests
from chuk_sessions.testing.contract.metadata import MetadataTests
from chuk_sessions.testing.contract.opening import OpeningTests
from chuk_sessions.testing.contract.renewal import RenewalTests
from chuk_sessions.testing.contract.unreadable import UnreadableTests

if TYPE_CHECKING:
    from collections.abc import Callable

    from chuk_sessions.redis_client.client import Call
    from chuk_sessions.stores import SessionStore
    from chuk_sessions.testing.contract.base import MakeUnreadable
    from tests.support.servers import Server

pytest.importorskip("cryptography", reason="the extra `encryption` is not installed")


class ForTheContract(SealedStore):
    """A field that is not plain is refused whether the session exists or not, where the contract asks for None."""

    async def increment(self, session_id: str, field: str, amount: int, call: Call | None = None) -> int | None:
        try:
            return await super().increment(session_id, field, amount, call)
        except MetadataError:
            if await self.read(session_id, call) is None:
                return None
            raise


class TestSealedStore(
    BindingTests, ConcurrencyTests, CountingTests, MetadataTests, OpeningTests, RenewalTests, UnreadableTests
):
    """The parts of the contract that are about metadata, on one server; for a cluster see ``test_logins``."""

    @pytest.fixture
    def open_store(self, request: pytest.FixtureRequest, redis_url: str) -> Callable[[str], SessionStore]:
        name = request.node.originalname
        plain = "*" if hasattr(CountingTests, name) else "n"
        keys, client = Keyring({"k": Keyring.generate()}, write="k", plain_fields=plain), Client(redis_url)
        return lambda sandbox_id: ForTheContract(client, sandbox_id, keys)

    @pytest.fixture
    def make_unreadable(self, redis_server: Server) -> MakeUnreadable:
        """As a later version may write it."""

        async def spoil(sandbox_id: str, session_id: str) -> None:
            key = session_key(quote_part(sandbox_id), session_id)
            redis_server.command("DEL", key)
            redis_server.command("HSET", key, "v", "9", "m:a", "\x01of another form")

        return spoil
