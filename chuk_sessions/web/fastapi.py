"""For FastAPI: the session, its user and its typed form as dependencies, which the OpenAPI document has too.

@app.get("/cart")
async def cart(session: SessionDep, user: UserDep) -> list[str]: ...
"""

# Annotations are not postponed here: older FastAPI cannot resolve the names in those of callable objects and classes.
try:
    from fastapi import Depends, HTTPException
    from fastapi.openapi.models import APIKey, APIKeyIn
    from fastapi.requests import HTTPConnection
    from fastapi.security.base import SecurityBase
    from pydantic import TypeAdapter
except ImportError as exc:
    raise ImportError(
        f"chuk_sessions.web.fastapi needs FastAPI, and {exc.name} cannot be imported:"
        " pip install 'chuk-sessions[fastapi]'"
    ) from exc

from typing import Annotated, Any, get_type_hints

from chuk_sessions.web.cookies import Cookie
from chuk_sessions.web.session import Session
from chuk_sessions.web.starlette import session_of
from chuk_sessions.web.transports import Bearer, Header, Transport

__all__ = ["RequireUser", "SessionDep", "TypedSession", "UserDep", "get_session", "require_user"]

MISSING = object()
CHANGEABLE = (list, dict, set)


def get_session(connection: HTTPConnection) -> Session:
    """Return the session of this request or WebSocket; a dependency. Raises RuntimeError if no middleware made one."""
    return session_of(connection)


class RequireUser(SecurityBase):
    """A dependency that gives the id of the user who is logged in, and answers 401 to a visitor.

    ``transport`` is the transport of the middleware. With it the OpenAPI document describes, under the name
    ``session``, how requests are authenticated.
    """

    def __init__(self, transport: Transport | None = None) -> None:
        transport = Cookie() if transport is None else transport
        if isinstance(transport, Cookie):
            self.model = APIKey.model_validate({"in": APIKeyIn.cookie, "name": transport.wire_name})
        else:
            name = transport.name if isinstance(transport, Header) and not isinstance(transport, Bearer) else None
            self.model = APIKey.model_validate({"in": APIKeyIn.header, "name": name or "Authorization"})
        self.scheme_name = "session"

    def __call__(self, connection: HTTPConnection) -> str:
        """Return the user id. Raises HTTPException with status 401 if no user is logged in."""
        user_id = session_of(connection).user_id
        if user_id is None:
            raise HTTPException(401, "not logged in")
        return user_id


require_user = RequireUser()

SessionDep = Annotated[Session, Depends(get_session)]
UserDep = Annotated[str, Depends(require_user)]


class TypedSession:
    """A session whose keys are attributes with types: a base class for your own classes.

        class Shop(TypedSession):
            cart: list[str] | None = None
            theme: Literal["light", "dark"] = "light"

        async def add(shop: Annotated[Shop, Depends()]) -> None:
            shop.cart = [*(shop.cart or []), "book"]

    When an attribute is set, pydantic checks the value and the session gets it. A missing attribute has its default, or
    raises AttributeError. A value that JSON holds in another form, such as a ``datetime`` or a model, is made anew each
    time: set the attribute again after changing the value. A value that does not fit, stored by an earlier version
    of the class, counts as missing.
    ``session`` is the session itself. A default that can be changed is a TypeError, because its changes would be lost.
    """

    session: Session
    _fields: dict[str, tuple[TypeAdapter[Any], Any]]

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        hints = get_type_hints(cls, include_extras=True)
        cls._fields = {}
        for name in (each for each in hints if each not in ("session", "_fields")):
            default = cls.__dict__.get(name, MISSING)
            if isinstance(default, CHANGEABLE):
                raise TypeError(f"the default of {cls.__name__}.{name} can be changed, which would be lost: use None")
            cls._fields[name] = TypeAdapter(hints[name]), default
            if name in cls.__dict__:
                delattr(cls, name)

    def __init__(self, connection: HTTPConnection) -> None:
        object.__setattr__(self, "session", session_of(connection))

    def __getattr__(self, name: str) -> Any:
        try:
            adapter, default = self._fields[name]
        except KeyError:
            raise AttributeError(f"{type(self).__name__} has no field {name!r}") from None
        if name in self.session:
            try:
                found = adapter.validate_python(self.session[name])
            except ValueError:
                pass
            else:
                stored = self.session[name]
                return stored if type(stored) is type(found) and stored == found else found
        if default is MISSING:
            raise AttributeError(f"{name!r} is not in the session")
        return default

    def __setattr__(self, name: str, value: Any) -> None:
        if name not in self._fields:
            raise AttributeError(f"{type(self).__name__} has no field {name!r}")
        adapter, _ = self._fields[name]
        self.session[name] = adapter.dump_python(adapter.validate_python(value), mode="json")

    def __delattr__(self, name: str) -> None:
        self.session.pop(name, None)
