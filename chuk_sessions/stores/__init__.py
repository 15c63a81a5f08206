"""What the author of a store needs: the contract, wrappers, and the encoding of metadata.

``SessionStore`` states the promises of every store; ``chuk_sessions.testing.StoreContract`` checks them.
``SessionManager(session_factory=...)`` takes a factory with ``session_store(sandbox_id)``. ``StoreWrapper`` and
``stack`` put behaviour around any store. ``encode_document`` and ``decode_document`` turn metadata into one JSON text
and back, ``encode_fields`` and ``decode_fields`` into a text per top-level key.
"""

from __future__ import annotations

from chuk_sessions.codec import (
    Metadata,
    decode_document,
    decode_fields,
    encode_document,
    encode_fields,
    merge_document,
)
from chuk_sessions.models import SessionRecord
from chuk_sessions.stores.contract import (
    INT64,
    LAST_DEADLINE,
    CompleteStore,
    DeadlineError,
    DeletingMany,
    Existing,
    InProcess,
    Openable,
    Renewable,
    SessionStore,
    SessionStoreFactory,
    Tell,
    TellsEndings,
    UserIndexed,
    UserPaged,
    Walkable,
    can,
    cannot_count,
    counted,
    not_supported,
    postponed,
    taken,
)
from chuk_sessions.stores.wrapper import StackedFactory, StoreWrapper, complete, open_store, stack

__all__ = [
    "INT64",
    "LAST_DEADLINE",
    "CompleteStore",
    "DeadlineError",
    "DeletingMany",
    "Existing",
    "InProcess",
    "Metadata",
    "Openable",
    "Renewable",
    "SessionRecord",
    "SessionStore",
    "SessionStoreFactory",
    "StackedFactory",
    "StoreWrapper",
    "Tell",
    "TellsEndings",
    "UserIndexed",
    "UserPaged",
    "Walkable",
    "can",
    "cannot_count",
    "complete",
    "counted",
    "decode_document",
    "decode_fields",
    "encode_document",
    "encode_fields",
    "merge_document",
    "not_supported",
    "open_store",
    "postponed",
    "stack",
    "taken",
]
