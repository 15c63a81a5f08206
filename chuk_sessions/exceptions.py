"""The errors of the package. Two roots, as in the published package; the rest say more.

``ProviderError`` is a fault of the storage (or of how it was configured), ``SessionError`` a fault of a session
call. Neither message ever holds a password or a session id.
"""

from __future__ import annotations

__all__ = [
    "LoadingError",
    "NoPermissionError",
    "NotSent",
    "OutOfMemoryError",
    "OutcomeUnknown",
    "ProviderError",
    "ReadOnlyError",
    "ServerError",
    "SessionError",
    "UnknownProvider",
    "WrongTypeError",
]


class SessionError(Exception):
    """A session operation could not be carried out. If the storage is to blame, the cause is in ``__cause__``."""


class ProviderError(Exception):
    """The storage behind a provider failed, or could not be reached."""


class NotSent(ProviderError):
    """No server took the command: it had no effect, and it is safe to try again."""


class OutcomeUnknown(ProviderError):
    """The command was sent and its reply was lost: the server may or may not have carried it out."""


class ServerError(ProviderError):
    """The server answered with an error; the message is the server's own. The next five are the ones to tell apart."""


class LoadingError(ServerError):
    """``LOADING``: the server has just started and is reading its data from disk."""


class NoPermissionError(ServerError):
    """``NOPERM``: the ACL user of the URL may not run this command, or not on this key."""


class OutOfMemoryError(ServerError):
    """``OOM``: the server is at its ``maxmemory`` and takes no more writes."""


class ReadOnlyError(ServerError):
    """``READONLY``: the server is a replica, which takes no writes."""


class WrongTypeError(ServerError):
    """``WRONGTYPE``: the key holds another kind of value."""


class UnknownProvider(ProviderError, ImportError):
    """``SESSION_PROVIDER`` names no provider that can be imported. Also an ``ImportError``, as in 0.2."""
