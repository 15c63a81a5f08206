"""What the response to a request tells the client about its session."""

from __future__ import annotations

from chuk_sessions.web.asgi import Headers, Scope
from chuk_sessions.web.session import Session
from chuk_sessions.web.settings import Settings

__all__ = ["is_kept_for_a_time", "told"]


def told(settings: Settings, session: Session, scope: Scope) -> Headers:
    """Make the headers that the client needs for its session."""
    headers: Headers = []
    stored = session._known
    if stored is None:
        return headers
    if stored.issued and not stored.gone and stored.session_id is not None:
        session._transport(settings.transport).issue(headers, stored.session_id, stored.seconds_left())
        settings.warn_of_http(scope)
    elif stored.ended and stored.presented:
        settings.transport.clear(headers)
    return headers


def is_kept_for_a_time(settings: Settings, session: Session) -> bool:
    """Tell whether the client must get its id again so that it keeps it for longer."""
    return getattr(session._transport(settings.transport), "max_age", None) not in (None, "session")
