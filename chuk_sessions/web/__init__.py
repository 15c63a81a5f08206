"""Sessions for web applications: one middleware for every ASGI framework, with its transports and a CSRF guard.

For example::

    from chuk_sessions import SessionManager
    from chuk_sessions.web import SessionMiddleware

    manager = SessionManager("shop", strict=True, opaque_ids=True)
    app = SessionMiddleware(app, manager)

Nothing here needs a framework. ``chuk_sessions.web.testing`` has functions for tests of applications.
"""

from __future__ import annotations

from chuk_sessions.web.cookies import Cookie
from chuk_sessions.web.mcp import McpHeader
from chuk_sessions.web.middleware import SessionMiddleware
from chuk_sessions.web.origin import CrossOriginGuard
from chuk_sessions.web.session import Flash, Session
from chuk_sessions.web.transports import Bearer, Header, Transport

__all__ = [
    "Bearer",
    "Cookie",
    "CrossOriginGuard",
    "Flash",
    "Header",
    "McpHeader",
    "Session",
    "SessionMiddleware",
    "Transport",
]
