"""Sessions on Redis whose metadata is sealed: ``RedisSessionStore`` with other values in the fields of metadata."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from chuk_sessions.codec import Metadata
from chuk_sessions.providers.redis.entries import target_of
from chuk_sessions.providers.redis.record import VERSION, Encode, encode_metadata, encode_patch, metadata_field
from chuk_sessions.providers.redis.scripts import UNREADABLE, UPDATE
from chuk_sessions.providers.redis.sealed.binding import SealedBinding
from chuk_sessions.providers.redis.sealed.values import Seals, remembered
from chuk_sessions.providers.redis.store import RedisSessionStore
from chuk_sessions.stores.contract import cannot_count

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from chuk_sessions.encryption import Keyring
    from chuk_sessions.providers.redis.binding import Binding
    from chuk_sessions.redis_client.client import Call, Client
    from chuk_sessions.redis_client.commands import Argument

__all__ = ["SealedStore", "Sealing"]

SEALED_FIELD = "is sealed and cannot be counted on: name it in plain_fields of the Keyring"


class Sealing(RedisSessionStore):
    """What a store does otherwise whose metadata is sealed; ``_seal_with`` comes right after its construction.

    Values are bound to the slot tag. So where an alias leads to a session with another tag, a change is sealed again.
    A value that cannot be opened is an EncryptionError, and the session does not count as absent.
    """

    _seals: Seals

    def _seal_with(self, keyring: Keyring) -> None:
        self._seals = Seals(keyring, self._sandbox)
        self._encode = self._seals.encode
        self._decode = self._seals.decode

    def encoder_of_one(self) -> Encode:
        """See ``RedisSessionStore``."""
        return remembered(self._seals.encode)

    async def update(
        self,
        session_id: str,
        metadata: Metadata,
        replace: bool,
        call: Call | None = None,
        *,
        remove: Collection[str] = (),
    ) -> bool:
        """See ``SessionStore``."""
        head: tuple[Argument, ...] = (VERSION, b"1" if replace else b"0")
        if remove and not replace:
            number, *parts = encode_patch(metadata, remove)
            head = (VERSION, b"2", number, *parts[: len(remove)])
            fields: list[Any] = parts[len(remove) :]
        else:
            fields = encode_metadata(metadata)
        call = call or self._client.begin()
        while True:
            key = self._key(session_id)
            reply = await UPDATE.step(call, (key,), (*head, *self._seals.sealed(fields, key)))
            if (target := target_of(reply)) is None:
                return self._found(reply)
            session_id = target

    async def increment(self, session_id: str, field: str, amount: int, call: Call | None = None) -> int | None:
        """See ``SessionStore``. Also raises MetadataError for a field that is not among the plain ones."""
        if not self._seals.is_plain(metadata_field(field)):
            raise cannot_count(field, SEALED_FIELD)
        return await super().increment(session_id, field, amount, call)

    def _binding(self, user_id: str, fields: Sequence[bytes], grace: float, limit: int) -> Binding:
        return SealedBinding(self._client, self._users, self._sandbox_id, user_id, fields, grace, limit, self._seals)

    def _fit(self, fields: Sequence[bytes], key: str) -> Sequence[bytes]:
        return self._seals.sealed(fields, key)

    def _unreadable(self, reply: Any) -> None:
        self._found(UNREADABLE)  # its sealed values have been opened


class SealedStore(Sealing):
    """The sessions of one sandbox on a server, their metadata sealed with the keys of ``keyring``."""

    def __init__(self, client: Client, sandbox_id: str, keyring: Keyring) -> None:
        super().__init__(client, sandbox_id)
        self._seal_with(keyring)
