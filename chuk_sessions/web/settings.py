"""The settings of a ``SessionMiddleware``, in the form that its requests read."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TypeVar

from chuk_sessions.session_manager import SessionManager
from chuk_sessions.web.asgi import Scope
from chuk_sessions.web.origin import Origins, Paths
from chuk_sessions.web.outage import Outage
from chuk_sessions.web.session import Session
from chuk_sessions.web.transports import Transport

__all__ = ["ManagerSource", "Settings", "check_manager", "not_below"]

ManagerSource = SessionManager | Callable[[Scope], SessionManager | Awaitable[SessionManager | None] | None]

N = TypeVar("N", int, float)

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class Settings:
    """The arguments of a middleware, checked. ``SessionMiddleware`` describes them.

    ``manager`` is the manager of all requests, or None if ``source`` is a function that gives one.
    """

    source: ManagerSource
    transport: Transport
    scope_key: str
    exclude: Paths
    rolling: bool
    save_on_5xx: bool
    outage: Outage
    recheck: float
    max_bytes: int
    origins: Origins
    session_class: type[Session] = Session
    manager: SessionManager | None = field(init=False)
    _warned: bool = field(default=False, init=False)

    def __post_init__(self) -> None:
        self.manager = self.source if isinstance(self.source, SessionManager) else None

    def warn_of_http(self, scope: Scope) -> None:
        """Log once, if it is so, that a browser will not send a secure cookie back."""
        if self._warned or not getattr(self.transport, "secure", False) or scope.get("scheme") not in ("http", "ws"):
            return
        self._warned = True
        logger.warning(
            "the session cookie is Secure and this request came over plain HTTP: behind a proxy, let the server believe"
            " its X-Forwarded-Proto (uvicorn: --proxy-headers --forwarded-allow-ips; Flask: werkzeug's ProxyFix); in"
            " development without TLS, use a cookie that is not secure"
        )


def check_manager(manager: object) -> SessionManager:
    """Return the manager if it can serve browsers.

    Raises TypeError for an object that is no manager, and ValueError that says what to change. A manager that is not
    strict takes an outage for a logout. Ids that are not opaque tell a client the user and the time.
    """
    if not isinstance(manager, SessionManager):
        raise TypeError(f"manager must be a SessionManager or give one, got {type(manager).__name__}")
    if manager.strict and manager._opaque_ids:
        return manager
    missing = [name for name, there in (("strict", manager.strict), ("opaque_ids", manager._opaque_ids)) if not there]
    asked = ", ".join(f"{name}=True" for name in missing)
    raise ValueError(f"web sessions need a manager with {asked}: SessionManager({manager.sandbox_id!r}, {asked})")


def not_below(name: str, number: N, least: N) -> N:
    """Return a finite number of at least ``least``. Raises TypeError and ValueError, which name it, for another."""
    if isinstance(number, bool) or not isinstance(number, (int, float)):
        raise TypeError(f"{name} must be a number, got {type(number).__name__}")
    if not least <= number < float("inf"):
        raise ValueError(f"{name} must be at least {least}, got {number!r}")
    return number
