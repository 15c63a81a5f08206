"""The id of a session in a cookie.

https://www.rfc-editor.org/rfc/rfc6265, with the prefixes of its successor (``draft-ietf-httpbis-rfc6265bis``, 4.1.3): a
browser takes a ``__Host-`` cookie only over TLS and only from the host itself. So no other site of the same domain can
plant such a cookie.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Literal

from chuk_sessions.arguments import check_flag
from chuk_sessions.web.asgi import Headers, Scope
from chuk_sessions.web.transports import own_id

__all__ = ["Cookie"]

MOST_IDS = 2
OPAQUE_ID = rb"(sess-[0-9a-f]{38})"  # as managers for the web make it; see ``ids``
NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
UNSAFE = re.compile(r"[^\x21-\x7e]|[;,]")
HOST, SECURE = "__Host-", "__Secure-"
SAME_SITE = ("lax", "strict", "none")
LONG_AGO = "expires=Thu, 01 Jan 1970 00:00:00 GMT"


@dataclass(frozen=True)
class Cookie:
    """The id in a cookie that scripts cannot read, and that by default only TLS carries.

    Attributes:
        name: A secure cookie for the path ``/`` and without a domain is called ``__Host-{name}``. Another secure cookie
            is called ``__Secure-{name}``, and one that is not secure is called ``name``.
        secure: Whether the browser sends the cookie over TLS only. Most browsers count ``http://localhost`` as TLS.
        same_site: ``"lax"``, ``"strict"`` or ``"none"``: with which requests from other sites the cookie is sent.
        path: The cookie is sent for this path and the paths below.
        domain: The cookie is sent to this domain and the domains below; None: only to the host itself.
        max_age: For how long the browser keeps the cookie. ``"session"`` or None: until the browser ends.
            ``"lifetime"``: as long as the session lives. Otherwise seconds; with 0 or less the cookie expires at once,
            and finds no session.
        partitioned: Whether an embedded site gets a cookie for each site that embeds it (CHIPS).

    Raises ValueError for values that browsers would refuse.
    """

    name: str = "session"
    secure: bool = True
    same_site: Literal["lax", "strict", "none"] = "lax"
    path: str = "/"
    domain: str | None = None
    max_age: Literal["session", "lifetime"] | int | None = "session"
    partitioned: bool = False
    ambient: bool = field(default=True, init=False)
    wire_name: str = field(default="", init=False, compare=False)
    _pattern: re.Pattern[bytes] = field(init=False, repr=False, compare=False)
    _needle: bytes = field(init=False, repr=False, compare=False)
    _usual: re.Pattern[bytes] = field(init=False, repr=False, compare=False)
    _expires_at_once: bool = field(init=False, repr=False, compare=False)
    _flags: str = field(init=False, repr=False, compare=False)
    _same_sites: ClassVar[tuple[str | None, ...]] = SAME_SITE

    def __post_init__(self) -> None:
        self._check()
        name = self.name
        if self.secure and not name.startswith((HOST, SECURE)):
            name = f"{HOST if self.path == '/' and self.domain is None else SECURE}{name}"
        needle = re.escape(name.encode()) + rb"="
        # The form of the ids is checked later. A match here does not end in the middle of a value.
        pattern = re.compile(rb"(?:^|;)[ \t]*" + needle + rb'"?([0-9A-Za-z-]+)"?[ \t]*(?=;|\Z)')
        for key, value in (
            ("wire_name", name),
            ("_needle", name.encode() + b"="),
            ("_pattern", pattern),
            ("_usual", re.compile(needle + OPAQUE_ID + rb"(?:;|\Z)")),
            ("_expires_at_once", isinstance(self.max_age, int) and self.max_age <= 0),
            ("_flags", self._flags_text()),
        ):
            object.__setattr__(self, key, value)

    def _check(self) -> None:
        check_flag("secure", self.secure)
        check_flag("partitioned", self.partitioned)
        if not NAME.fullmatch(self.name):
            raise ValueError(f"{self.name!r} is no name of a cookie")
        if self.same_site not in self._same_sites:
            raise ValueError(f"same_site must be one of {', '.join(SAME_SITE)}, got {self.same_site!r}")
        if not self.path.startswith("/") or UNSAFE.search(self.path):
            raise ValueError(
                f"path must begin with / and be ASCII without white space, comma and semicolon, got {self.path!r}"
            )
        if self.domain is not None and (not self.domain or UNSAFE.search(self.domain)):
            raise ValueError(f"domain must be the name of a domain in ASCII (xn--...) or None, got {self.domain!r}")
        if self.max_age not in ("session", "lifetime", None) and type(self.max_age) is not int:
            raise ValueError(f"max_age must be 'session', 'lifetime', seconds or None, got {self.max_age!r}")
        if not self.secure:
            self._check_insecure()
        if self.name.startswith(HOST) and (self.domain is not None or self.path != "/"):
            raise ValueError("a __Host- cookie has no domain and the path /: browsers refuse it otherwise")

    def _check_insecure(self) -> None:
        if self.name.lower().startswith((HOST.lower(), SECURE.lower())):
            raise ValueError(f"a cookie called {self.name} must be secure: browsers refuse it otherwise")
        if self.partitioned or self.same_site == "none":
            raise ValueError("partitioned and same_site='none' need secure=True: browsers refuse the cookie otherwise")

    def _flags_text(self) -> str:
        flags = self._limits()
        if self.secure:
            flags += "; secure"
        if self.domain is not None:
            flags += f"; domain={self.domain}"
        return f"{flags}; partitioned" if self.partitioned else flags

    def _limits(self) -> str:
        """Return the flags that say who may read the cookie, and which requests carry it."""
        return f"; httponly; samesite={self.same_site}"

    def _kept_for(self, seconds: int) -> str:
        """Return the flags that make the browser keep the cookie."""
        return f"; Max-Age={seconds}"

    def ids(self, scope: Scope) -> Sequence[str]:
        """Return the ids in the cookies of our name, at most two: another path or domain may have set one too."""
        found: Sequence[str] = ()
        for name, value in scope["headers"]:
            if name == b"cookie" and (at := value.find(self._needle)) >= 0:
                found = [*found, *self._ids_in(value, at)] if found else self._ids_in(value, at)
        if not found or len(found) < MOST_IDS:
            return found
        return list(dict.fromkeys(found))[:MOST_IDS]

    def _ids_in(self, value: bytes, at: int) -> Sequence[str]:
        """Return the first two ids in one header, which has the name at that place; further ids are of no use."""
        if self._expires_at_once:
            return ()
        usual = self._usual.match(value, at)
        if usual is not None and (not at or value[at - 2 : at] == b"; "):
            end = usual.end()
            if end == len(value) or value.find(self._needle, end) < 0:
                return (usual[1].decode(),)
        several: dict[str, None] = {}
        for match in self._pattern.finditer(value):
            if (found := own_id(match[1])) is not None:
                several[found] = None
                if len(several) == MOST_IDS:
                    break
        return list(several)

    def issue(self, headers: Headers, session_id: str, seconds_left: float) -> None:
        """Add a Set-Cookie with the id."""
        age = max(1, int(seconds_left)) if self.max_age == "lifetime" else self.max_age  # 0 would delete it
        kept = self._kept_for(age) if isinstance(age, int) else ""
        text = f"{self.wire_name}={session_id}; path={self.path}{kept}{self._flags}"
        headers.append((b"set-cookie", text.encode("latin-1")))

    def clear(self, headers: Headers) -> None:
        """Add a Set-Cookie that ends the cookie. A browser identifies a cookie by name, path, domain and partition."""
        text = f"{self.wire_name}=; path={self.path}; Max-Age=0; {LONG_AGO}{self._flags}"
        headers.append((b"set-cookie", text.encode("latin-1")))
