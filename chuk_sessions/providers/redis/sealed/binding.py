"""Gives a session with sealed values to a user: its slot tag changes, so that its values are sealed anew.

On a lone server a script does that in one step. The client first reads the sealed values and seals them for the new id.
The script makes the change only if they are still what was read; if not, the client begins again. In a cluster the copy
under the new id gets the values that were sealed anew, and the session is left only if it has not changed since.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from chuk_sessions.codec import SEALED
from chuk_sessions.exceptions import MetadataError, WrongTypeError
from chuk_sessions.providers.redis.binding import CHANGED, Binding
from chuk_sessions.providers.redis.lua import load
from chuk_sessions.providers.redis.patience import Patience
from chuk_sessions.providers.redis.record import METADATA
from chuk_sessions.providers.redis.scripts import MAX_LOOK, MAX_VICTIMS, UNREADABLE
from chuk_sessions.redis_client.client import Call, step
from chuk_sessions.redis_client.commands import Argument, Replay, Reply
from chuk_sessions.redis_client.replies import as_dict, unknown_shape
from chuk_sessions.redis_client.scripts import Script

if TYPE_CHECKING:
    from chuk_sessions.providers.redis.sealed.values import Seals

__all__ = ["BIND_SEALED", "SealedBinding"]

MOST_ARGUMENTS = 1_000_000  # of one command, as for ``record.MAX_FIELDS``

# Its arguments may be as large as the values that the server already holds.
BIND_SEALED = Script(load("bind_sealed", MAX_VICTIMS=MAX_VICTIMS, MAX_LOOK=MAX_LOOK), bounded=False)


@dataclass(frozen=True, slots=True)
class SealedBinding(Binding):
    """A ``Binding`` of a store that seals; ``fields`` are the metadata as it was before it is sealed.

    Its method raises EncryptionError if a value of the session cannot be opened; nothing was changed.
    """

    seals: Seals

    async def _rename(self, call: Call, key: str, new_key: str) -> Reply:
        patience, keys = Patience(self.client, call), (key, new_key, self._index())
        while True:
            try:
                reply = await step(call, b"HGETALL", key, replay=Replay.READ)
            except WrongTypeError:
                return UNREADABLE
            record = as_dict(reply, "HGETALL")
            if not all(isinstance(each, bytes) for each in (*record, *record.values())):
                raise unknown_shape("HGETALL")
            # The session of a user gets no other user, and keeps its values.
            seen = {} if b"user" in record else _sealed_in(record)
            values = (
                *_flat(seen),
                *_flat(self.seals.reseal(seen, key, new_key)),
                *self.seals.sealed(self.fields, new_key),
            )
            if len(values) > MOST_ARGUMENTS:
                raise MetadataError("the session has too many sealed values to be given to a user; nothing was changed")
            args: tuple[Argument, ...] = (*self._whose(new_key), len(seen), *values)
            reply = await self.users.with_room(call, BIND_SEALED, keys, args, self.user_id)
            if reply != CHANGED:
                return reply
            call = await patience.pause()

    def _copied(self, record: dict[bytes, bytes], key: str, new_key: str) -> list[Argument]:
        record = record | self.seals.reseal(_sealed_in(record), key, new_key)
        return self._merged(record, new_key, self.seals.sealed(self.fields, new_key))


def _sealed_in(record: dict[bytes, bytes]) -> dict[bytes, bytes]:
    """Return the fields of the record whose values are sealed."""
    return {name: value for name, value in record.items() if name.startswith(METADATA) and value.startswith(SEALED)}


def _flat(fields: dict[bytes, bytes]) -> list[bytes]:
    return [part for pair in fields.items() for part in pair]
