"""A near cache of sessions whose metadata is sealed.

It keeps opened values: they are opened once for each reply that is kept, and an answer takes no longer than without
keys. The process has the keys, so that whoever can read its memory can read the values in any case.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from chuk_sessions.exceptions import EncryptionError
from chuk_sessions.providers.redis.near import NearSessionStore
from chuk_sessions.providers.redis.sealed.store import Sealing
from chuk_sessions.providers.redis.snapshot import Snapshot
from chuk_sessions.redis_client.replies import as_dict

if TYPE_CHECKING:
    from chuk_sessions.encryption import Keyring
    from chuk_sessions.redis_client.client import Client

__all__ = ["NearSealedStore"]


class NearSealedStore(NearSessionStore, Sealing):
    """The sessions of one sandbox, sealed on the server, some of them kept in this process."""

    def __init__(self, client: Client, sandbox_id: str, bound: float, keyring: Keyring) -> None:
        super().__init__(client, sandbox_id, bound)
        self._seal_with(keyring)
        self._opens_by = self._keyring = keyring

    def _again(self) -> NearSessionStore:
        return NearSealedStore(self._client, self._sandbox_id, self._bound, self._keyring)

    def _snapshot(self, reply: dict[bytes, bytes], key: str) -> Snapshot:
        try:
            return Snapshot(as_dict(self._seals.opened(reply, key), "HGETALL"), self._opens_by)
        except EncryptionError as exc:
            raise ValueError("not kept: the call that reads it from the server raises the error") from exc
