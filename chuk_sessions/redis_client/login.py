"""Asks the application's function for a login, and checks the answer."""

from __future__ import annotations

import asyncio
import math
from inspect import isawaitable
from typing import TypeGuard

from chuk_sessions.exceptions import ProviderError
from chuk_sessions.redis_client.config import Credentials, Login

__all__ = ["ask_for_login"]


async def ask_for_login(credentials: Credentials) -> Login:
    """Return the login that the function gives.

    Raises ProviderError if the function raises, or returns no login. The text of the application's own exception may be
    secret: it is only the cause.
    """
    try:
        answer = credentials()
        given: object = await answer if isawaitable(answer) else answer
    except asyncio.CancelledError as exc:
        task = asyncio.current_task()
        if task is None or task.cancelling():
            raise
        raise ProviderError("the credentials callable was cancelled, though nothing here did it") from exc
    except Exception as exc:
        raise ProviderError(f"the credentials callable raised {type(exc).__name__}") from exc
    match given:
        case str() as password:
            login = Login(None, password)
        case Login():
            login = given
        case (str() | None as user, str() as password):
            login = Login(user, password)
        case _:
            raise ProviderError(
                "the credentials callable must return a password or (user, password), as str, or a Login"
            )
    _check(login.user, login.password, login.renew_in)
    return login


def _check(user: object, password: object, renew_in: object) -> None:
    """Raise ProviderError for a part of a login that cannot be used. The message shows no part."""
    if not (isinstance(user, str | None) and isinstance(password, str)):
        raise ProviderError("the credentials callable returned a Login whose user or password is no str")
    if renew_in is not None and not (_is_number(renew_in) and math.isfinite(renew_in)):
        raise ProviderError("the credentials callable returned a Login whose renew_in is no number of seconds")
    try:
        f"{user}{password}".encode()
    except UnicodeEncodeError:
        raise ProviderError("the credentials callable returned what cannot be encoded as UTF-8") from None


def _is_number(value: object) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool)
