"""The middleware for ``chuk_sessions.django``, in the place of Django's own.

It differs from Django's in three points:

* While the storage fails the answer is 503, and the cookie stays. Django's own would answer 500.
* In an asynchronous server it awaits the store, without a thread.
* A cookie whose session has died is left alone unless the view has ended the session. The late answer to a request must
  not delete the cookie that a login at the same time has just set.
"""

from __future__ import annotations

import time
from typing import Any

from django.conf import settings
from django.contrib.sessions.backends.base import UpdateError
from django.contrib.sessions.exceptions import SessionInterrupted
from django.contrib.sessions.middleware import SessionMiddleware as DjangoMiddleware
from django.core.exceptions import ImproperlyConfigured
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.utils.cache import patch_vary_headers
from django.utils.http import http_date

from chuk_sessions.django.session import SessionStore
from chuk_sessions.django.settings import home
from chuk_sessions.exceptions import StorageError
from chuk_sessions.web.outage import TEXT, Outage

__all__ = ["SessionMiddleware"]

RETRY_AFTER = 2  # seconds
SERVER_ERROR, UNAVAILABLE = 500, 503

outages = Outage("503", RETRY_AFTER)


class SessionMiddleware(DjangoMiddleware):
    """Opens ``request.session`` for each request, saves it, and answers 503 while the storage fails.

    Raises ImproperlyConfigured, when the server starts, for another ``SESSION_ENGINE`` and for a ``CHUK_SESSIONS`` that
    cannot be used.
    """

    def __init__(self, get_response: Any) -> None:
        super().__init__(get_response)
        if not (isinstance(self.SessionStore, type) and issubclass(self.SessionStore, SessionStore)):
            raise ImproperlyConfigured(
                f"chuk_sessions.django.SessionMiddleware needs SESSION_ENGINE = 'chuk_sessions.django',"
                f" which is {settings.SESSION_ENGINE!r}"
            )
        home()

    async def __acall__(self, request: HttpRequest) -> HttpResponseBase:
        """Handle one request in an asynchronous server."""
        self.process_request(request)
        response: HttpResponseBase = await self.get_response(request)
        return await self._finish(request, response)

    async def _finish(self, request: HttpRequest, response: HttpResponseBase) -> HttpResponseBase:
        session: Any = getattr(request, "session", None)
        try:
            if _is_to_save(session, response):
                await session._data()
                if not session.is_empty():
                    await session.asave()
        except UpdateError:
            raise _interrupted() from None
        except StorageError as error:
            response = _unavailable(error, response)
        return _with_cookie(request, response, session)

    def process_response(self, request: HttpRequest, response: HttpResponseBase) -> HttpResponseBase:
        """Save the session, and give the client its key.

        It is read first, if the view has not done so: a session that is not found is empty then, and is not saved.
        """
        session: Any = getattr(request, "session", None)
        try:
            if _is_to_save(session, response):
                session.keys()
                if not session.is_empty():
                    session.save()
        except UpdateError:
            raise _interrupted() from None
        except StorageError as error:
            response = _unavailable(error, response)
        return _with_cookie(request, response, session)

    def process_exception(self, request: HttpRequest, exception: Exception) -> HttpResponse | None:
        """Answer 503 for a view in which the storage has failed."""
        return _unavailable(exception) if isinstance(exception, StorageError) else None


def _is_to_save(session: Any, response: HttpResponseBase) -> bool:
    return (
        session is not None
        and response.status_code < SERVER_ERROR
        and (session.modified or settings.SESSION_SAVE_EVERY_REQUEST)
        and not session.is_empty()
    )


def _interrupted() -> SessionInterrupted:
    return SessionInterrupted(
        "The request's session was deleted before the request completed."
        " The user may have logged out in a concurrent request, for example."
    )


def _with_cookie(request: HttpRequest, response: HttpResponseBase, session: Any) -> HttpResponseBase:
    """Add the headers about the session to a response; answer 503 if it is an error that an outage has caused."""
    if session is None:
        return response
    outage = getattr(session, "outage", None)
    if outage is not None and response.status_code == SERVER_ERROR:
        response = _unavailable(outage, response)
    if session.is_empty():
        is_told = getattr(session, "ended", True) and settings.SESSION_COOKIE_NAME in request.COOKIES
        if is_told:
            _delete_cookie(response)
    else:
        is_told = _is_to_save(session, response) or getattr(session, "renewed", False)
        if is_told:
            _set_cookie(response, session)
    if is_told or session.accessed:
        patch_vary_headers(response, ("Cookie",))
    return response


def _set_cookie(response: HttpResponseBase, session: Any) -> None:
    age = None if session.get_expire_at_browser_close() else session.get_expiry_age()
    response.set_cookie(
        settings.SESSION_COOKIE_NAME,
        session.session_key,
        max_age=age,
        expires=None if age is None else http_date(time.time() + age),
        domain=settings.SESSION_COOKIE_DOMAIN,
        path=settings.SESSION_COOKIE_PATH,
        secure=settings.SESSION_COOKIE_SECURE or False,
        httponly=settings.SESSION_COOKIE_HTTPONLY or False,
        samesite=settings.SESSION_COOKIE_SAMESITE,
    )


def _delete_cookie(response: HttpResponseBase) -> None:
    response.delete_cookie(
        settings.SESSION_COOKIE_NAME,
        path=settings.SESSION_COOKIE_PATH,
        domain=settings.SESSION_COOKIE_DOMAIN,
        samesite=settings.SESSION_COOKIE_SAMESITE,
    )


def _unavailable(error: Exception, instead_of: HttpResponseBase | None = None) -> HttpResponse:
    """Make the answer for an outage, which is logged here, at most once in some seconds.

    The server closes it in the place of the other response, and with it the files and iterators of that one.
    """
    outages.log(error)
    headers = {"Retry-After": str(RETRY_AFTER), "Cache-Control": "no-store"}
    response = HttpResponse(TEXT, "text/plain; charset=utf-8", UNAVAILABLE, headers=headers)
    if instead_of is not None:
        response._resource_closers += instead_of._resource_closers
    response._has_been_logged = True  # else Django would mail each of them to the administrators
    return response
