"""Finds out whether another site caused a request: ``CrossOriginGuard``, which needs no token.

The rules are those of Go's ``http.CrossOriginProtection`` (https://pkg.go.dev/net/http#CrossOriginProtection). Browsers
send ``Sec-Fetch-Site`` with each request to a trustworthy origin, and pages cannot change it. If it is missing,
``Origin`` is compared with ``Host``. A request with neither header comes from no browser of this decade, and has no
cookie that another site could use.
"""

from __future__ import annotations

from collections.abc import Iterable
from urllib.parse import urlsplit

from chuk_sessions.web.asgi import ASGIApp, Receive, Scope, Send, header, refuse_socket, respond

__all__ = ["CrossOriginGuard", "Origins", "Paths"]

SAFE_METHODS = frozenset(("GET", "HEAD", "OPTIONS", "TRACE"))
SAME_SITE = (b"same-origin", b"none")
DEFAULT_PORTS = {"http": ":80", "ws": ":80", "https": ":443", "wss": ":443"}
FORBIDDEN = 403
TEXT = "Forbidden: this request comes from another origin"


class Origins:
    """Tells requests of our own pages, and of trusted origins, from requests of other sites.

    ``trusted`` are origins as browsers write them: ``"https://app.example.com"``, with the port only if it is not the
    usual one. Raises ValueError for another text.
    """

    def __init__(self, trusted: Iterable[str] = ()) -> None:
        if isinstance(trusted, str):
            raise TypeError("trusted_origins must be a list of origins, not one str")
        self._trusted = frozenset(_check_origin(origin) for origin in trusted)

    def allow(self, scope: Scope) -> bool:
        """Tell whether a request that may change something is let through."""
        site, origin = header(scope, b"sec-fetch-site"), header(scope, b"origin")
        if origin is not None and origin.decode("latin-1").lower() in self._trusted:
            return True
        if site is not None:
            return site in SAME_SITE
        return origin is None or _is_host(origin, scope)

    def allow_socket(self, scope: Scope) -> bool:
        """Tell whether the handshake of a WebSocket is let through.

        Only ``Origin`` decides: all browsers send it with a handshake, and not all send ``Sec-Fetch-Site``.
        """
        origin = header(scope, b"origin")
        if origin is None or origin.decode("latin-1").lower() in self._trusted:
            return True
        return _is_host(origin, scope)


def _check_origin(origin: str) -> str:
    parts = urlsplit(origin)
    if parts.scheme not in ("http", "https") or not parts.netloc or f"{parts.scheme}://{parts.netloc}" != origin:
        raise ValueError(f"an origin is a scheme and a host, such as https://app.example.com, got {origin!r}")
    if not origin.isascii() or "@" in origin or origin.endswith((":", DEFAULT_PORTS[parts.scheme])):
        raise ValueError(f"no browser sends {origin!r}: leave out a usual port and a user; a host is ASCII (xn--...)")
    return origin.lower()


def _is_host(origin: bytes, scope: Scope) -> bool:
    """Tell whether the host of an Origin is the host of the request, without the port if it is the usual one."""
    scheme, _, host = origin.decode("latin-1").lower().partition("://")
    asked = (header(scope, b"host") or b"").decode("latin-1").lower()
    usual = DEFAULT_PORTS.get(scheme, "")
    return bool(host) and host.removesuffix(usual) == asked.removesuffix(usual)


class CrossOriginGuard:
    """ASGI middleware that answers 403 to requests by which another site acts in the name of a user (CSRF).

    GET, HEAD and OPTIONS pass, so they must change nothing. Any other method passes if the browser says that the
    request comes from our own pages or from the user (``Sec-Fetch-Site: same-origin`` or ``none``). If the browser does
    not say it, the request passes if the host of ``Origin`` is the host of the request, or if there is no ``Origin``.
    So programs pass, which send neither header. The handshake of a WebSocket passes if its ``Origin`` does.

    ``trusted_origins`` pass too: ``["https://app.example.com"]``. ``exclude`` are paths that are not checked, such as
    the callbacks of a payment service; a ``/`` at the end stands for all paths below. Behind a proxy that changes
    ``Host``, name your own origin as trusted.

    Raises ValueError for a text that is no origin.
    """

    def __init__(self, app: ASGIApp, *, trusted_origins: Iterable[str] = (), exclude: Iterable[str] = ()) -> None:
        self.app = app
        self._origins = Origins(trusted_origins)
        self._exclude = Paths(exclude)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        kind = scope["type"]
        if kind == "http":
            if scope["method"] in SAFE_METHODS or self._exclude.has(scope) or self._origins.allow(scope):
                await self.app(scope, receive, send)
            else:
                await respond(send, FORBIDDEN, TEXT)
        elif kind == "websocket" and not self._exclude.has(scope) and not self._origins.allow_socket(scope):
            await refuse_socket(scope, receive, send, FORBIDDEN, TEXT)
        else:
            await self.app(scope, receive, send)


class Paths:
    """Paths to leave out, by a request's path within its application. A path that ends in ``/`` stands for all below.

    ``part`` is in each path that is left out: most requests are told by that alone.

    Raises TypeError for a str, and ValueError for a path that does not begin with a slash.
    """

    __slots__ = ("_below", "_exact", "part")

    def __init__(self, paths: Iterable[str]) -> None:
        if isinstance(paths, str):
            raise TypeError("exclude must be a list of paths, not one str")
        given = frozenset(paths)
        for path in given:
            if not path.startswith("/"):
                raise ValueError(f"a path to exclude must begin with /, got {path!r}")
        self._below = tuple(path for path in given if path.endswith("/"))
        self._exact = given.difference(self._below)
        self.part = next(iter(given)) if len(given) == 1 else ""

    def has(self, scope: Scope) -> bool:
        """Tell whether this request is left out."""
        path: str = scope["path"]
        if (root := scope.get("root_path")) and path.startswith(f"{root}/"):
            path = path[len(root) :]
        return path.startswith(self._below) or path in self._exact
