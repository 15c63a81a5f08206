"""The errors of the package: two roots, as in 0.2 and 0.6, and a class below them for each kind of fault.

``ProviderError`` is a fault of the storage or of its configuration, ``SessionError`` a fault of a session call. No
message ever contains a password or a session id.
"""

from __future__ import annotations

__all__ = [
    "EncryptionError",
    "LoadingError",
    "MetadataError",
    "NoPermissionError",
    "NotSent",
    "NotSupportedError",
    "OutOfMemoryError",
    "OutcomeUnknown",
    "ProviderError",
    "ReadOnlyError",
    "ServerError",
    "SessionError",
    "SessionTakenError",
    "StorageError",
    "UnknownProvider",
    "WrongTypeError",
]


class SessionError(Exception):
    """A session operation could not be carried out. Its four subclasses name the cause.

    Nothing was stored, unless the subclass says otherwise.
    """


class MetadataError(SessionError):
    """``custom_metadata`` holds a value that cannot be stored, or a field that cannot be incremented."""


class StorageError(SessionError):
    """The storage failed; ``__cause__`` is the ProviderError. After ``OutcomeUnknown`` the call may have had effect."""


class NotSupportedError(SessionError):
    """The store lacks this operation: a custom provider with get, setex and delete alone cannot list, for instance."""


class SessionTakenError(SessionError):
    """A live session has this id and belongs to another user; it was not changed."""


class ProviderError(Exception):
    """The storage behind a provider failed, or could not be reached."""


class NotSent(ProviderError):
    """No server took the command: it had no effect, and it is safe to try again."""


class OutcomeUnknown(ProviderError):
    """The command was sent and its reply was lost: the server may or may not have carried it out."""


class ServerError(ProviderError):
    """The server answered with an error; the message is the server's own. Its subclasses are kinds to tell apart.

    Attributes:
        code: The kind of error by the server's own name, in capitals: ``"ERR"``, ``"MISCONF"``, ``"NOAUTH"``. It is the
            first word of the message. If a command in a script failed, it is that command's code, even if the position
            in the script precedes it in the message. Empty if the message has no code.
    """

    code: str = ""

    def __init__(self, *args: object, code: str = "") -> None:
        super().__init__(*args)
        self.code = code or self.code or _code_in(str(self))


class LoadingError(ServerError):
    """``LOADING``: the server has just started and is reading its data from disk."""

    code = "LOADING"


class NoPermissionError(ServerError):
    """``NOPERM``: the ACL user of the URL may not run this command, or not on this key."""

    code = "NOPERM"


class OutOfMemoryError(ServerError):
    """``OOM``: the server is at its ``maxmemory`` and takes no more writes."""

    code = "OOM"


class ReadOnlyError(ServerError):
    """``READONLY``: the server is a replica, which takes no writes."""

    code = "READONLY"


class WrongTypeError(ServerError):
    """``WRONGTYPE``: the key holds another kind of value."""

    code = "WRONGTYPE"


class EncryptionError(ProviderError):
    """A sealed value of a session cannot be opened, or a plain one is refused. The session does not count as absent.

    A key is missing in this process, or somebody has changed or moved the value on the server.
    """


class UnknownProvider(ProviderError, ModuleNotFoundError):
    """The provider that ``SESSION_PROVIDER`` names cannot be imported. Also a ``ModuleNotFoundError``, as in 0.2."""


def _code_in(message: str) -> str:
    """Return the first word if it is in capitals: by the convention of the protocol it names the kind of error.

    https://redis.io/docs/latest/develop/reference/protocol-spec/ ("Simple errors").
    """
    word = message.partition(" ")[0]
    return word if len(word) > 1 and word.isalnum() and word.isupper() else ""
