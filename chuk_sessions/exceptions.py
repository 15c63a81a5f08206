"""The errors of the package. Two roots, as in the published package; the rest say more.

``ProviderError`` is a fault of the storage (or of how it was configured), ``SessionError`` a fault of a session
call. Neither message ever holds a password or a session id.
"""

from __future__ import annotations

__all__ = ["NotSent", "OutcomeUnknown", "ProviderError", "ServerError", "SessionError", "UnknownProvider"]


class SessionError(Exception):
    """A session operation could not be carried out. If the storage is to blame, the cause is in ``__cause__``."""


class ProviderError(Exception):
    """The storage behind a provider failed, or could not be reached."""


class NotSent(ProviderError):
    """The command never left this process: it had no effect, and it is safe to try again."""


class OutcomeUnknown(ProviderError):
    """The command was sent and its reply was lost: the server may or may not have carried it out."""


class ServerError(ProviderError):
    """The server answered with an error; the message is the server's own (``WRONGTYPE ...``, ``OOM ...``)."""


class UnknownProvider(ProviderError, ImportError):
    """``SESSION_PROVIDER`` names no provider that can be imported. Also an ``ImportError``, as in 0.2."""
