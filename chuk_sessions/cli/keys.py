"""The keys of sealed values for a command: ``--keys env:NAME`` names a variable, which keeps them out of ``ps``."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from chuk_sessions.codec import SEALED
from chuk_sessions.encryption import keyring_from_env, keyring_in, plain_fields_from_env
from chuk_sessions.environment import variable
from chuk_sessions.exceptions import ProviderError
from chuk_sessions.providers.redis.record import METADATA

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from chuk_sessions.encryption import Keyring

__all__ = ["KEYS_HELP", "PLAIN", "key_of", "keyring_for", "keyring_of_application", "name_of_key"]

KEYS_HELP = "env:NAME reads the keys from the variable NAME, as in SESSION_ENCRYPTION_KEYS: the first one seals"
PLAIN = "plain"

T = TypeVar("T")


def keyring_for(text: str, plain_fields: Iterable[str] = ()) -> Keyring:
    """Make the keyring of a ``--keys`` argument. Raises ValueError or ProviderError, with no part of a key in it.

    ``plain_fields`` are never sealed; if there are none, those of ``SESSION_ENCRYPTION_PLAIN_FIELDS``.
    """
    name = text.removeprefix("env:")
    if name == text or not name.isidentifier():  # perhaps the keys themselves
        raise ValueError("--keys must name a variable that has the keys, as in env:SESSION_ENCRYPTION_KEYS")
    keys = variable(name)
    if not keys:
        raise ValueError(f"the variable {name} is not set")
    return _made(lambda: keyring_in(keys, name, tuple(plain_fields) or plain_fields_from_env()))


def keyring_of_application() -> Keyring | None:
    """Make the keyring that an application with this environment has; None without one. Raises as ``keyring_for``."""
    return _made(keyring_from_env)


def _made(make: Callable[[], T]) -> T:
    try:
        return make()
    except ImportError as exc:
        raise ProviderError(str(exc)) from exc


def key_of(field: bytes, value: bytes) -> bytes | None:
    """Return the id of the key that has sealed a value of metadata, empty for a plain one; None for another field."""
    if not field.startswith(METADATA):
        return None
    return value[1:5] if value.startswith(SEALED) else b""


def name_of_key(found: bytes, names: Mapping[bytes, str]) -> str:
    """Return the name of a key id, or its digits if it is none of ``names``; ``PLAIN`` for an empty id."""
    return names.get(found, found.hex()) if found else PLAIN
