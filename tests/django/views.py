"""The views of the project, and its URLs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.contrib import admin, messages
from django.contrib.auth import authenticate, login, logout, update_session_auth_hash
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.urls import path

from chuk_sessions.django import end_sessions
from tests.django import project

SECONDS = 20  # until a request that waits for another is an error


def needs_session(get_response: Callable[[HttpRequest], HttpResponse]) -> Callable[[HttpRequest], HttpResponse]:
    """A middleware that looks at the session of the requests that ask for it, outside of any view."""

    def middleware(request: HttpRequest) -> HttpResponse:
        if "X-Needs-Session" in request.headers:
            request.session.get("a")
        return get_response(request)

    return middleware


def nothing(request: HttpRequest) -> HttpResponse:
    return HttpResponse("x")


def read(request: HttpRequest) -> HttpResponse:
    return JsonResponse({"data": dict(request.session.items()), "key": request.session.session_key})


def put(request: HttpRequest, name: str, value: str) -> HttpResponse:
    request.session[name] = value
    return HttpResponse("x")


def put_together(request: HttpRequest, name: str) -> HttpResponse:
    """All of them have read the session before one of them goes on."""
    request.session.get("a")
    project.meeting.everybody.wait(SECONDS)
    request.session[name] = 1
    return HttpResponse("x")


def put_slowly(request: HttpRequest, name: str) -> HttpResponse:
    request.session.get("a")
    project.meeting.begun.set()
    assert project.meeting.go_on.wait(SECONDS)
    request.session[name] = 1
    return HttpResponse("x")


def add(request: HttpRequest, name: str) -> HttpResponse:
    request.session["names"] = [*request.session.get("names", []), name]
    return JsonResponse({"names": request.session["names"]})


def drop(request: HttpRequest, name: str) -> HttpResponse:
    del request.session[name]
    return HttpResponse("x")


def expire(request: HttpRequest, seconds: str) -> HttpResponse:
    request.session.set_expiry(int(seconds))
    return HttpResponse("x")


def log_in(request: HttpRequest, name: str) -> HttpResponse:
    login(request, authenticate(request, username=name, password=project.PASSWORD))
    return HttpResponse("x")


def log_in_and_fail(request: HttpRequest, name: str) -> HttpResponse:
    log_in(request, name)
    return HttpResponse("x", status=500)


def new_key(request: HttpRequest) -> HttpResponse:
    request.session.cycle_key()
    project.meeting.act()
    return HttpResponse("x")


def log_out(request: HttpRequest) -> HttpResponse:
    logout(request)
    return HttpResponse("x")


def log_out_elsewhere(request: HttpRequest) -> HttpResponse:
    return JsonResponse({"ended": end_sessions(request.user, keep=request.session)})


def new_password(request: HttpRequest) -> HttpResponse:
    request.user.set_password(request.GET["password"])
    request.user.save()
    update_session_auth_hash(request, request.user)
    return HttpResponse("x")


def who(request: HttpRequest) -> HttpResponse:
    return HttpResponse(request.user.get_username() or "nobody")


def leave(request: HttpRequest) -> HttpResponse:
    messages.info(request, "saved")
    messages.info(request, "twice")
    return HttpResponse("x")


def left(request: HttpRequest) -> HttpResponse:
    return JsonResponse([str(each) for each in messages.get_messages(request)], safe=False)


def stumble(request: HttpRequest) -> HttpResponse:
    request.session["half"] = 1
    raise RuntimeError("bug")


async def aread(request: HttpRequest) -> HttpResponse:
    session: Any = request.session
    return JsonResponse({"data": dict(await session.aitems()), "key": session.session_key})


async def aput(request: HttpRequest, name: str, value: str) -> HttpResponse:
    session: Any = request.session
    await session.aset(name, value)
    return HttpResponse("x")


async def aput_in_place(request: HttpRequest, name: str, value: str) -> HttpResponse:
    """As code does that was not written for an asynchronous server."""
    request.session[name] = value
    return HttpResponse("x")


async def aadd(request: HttpRequest, name: str) -> HttpResponse:
    session: Any = request.session
    await session.aset("names", [*await session.aget("names", []), name])
    return JsonResponse({"names": await session.aget("names")})


async def alog_out(request: HttpRequest) -> HttpResponse:
    session: Any = request.session
    await session.aflush()
    return HttpResponse("x")


urlpatterns = [
    path("nothing", nothing),
    path("read", read),
    path("put/<name>/<value>", put),
    path("put-together/<name>", put_together),
    path("put-slowly/<name>", put_slowly),
    path("add/<name>", add),
    path("drop/<name>", drop),
    path("expire/<seconds>", expire),
    path("login/<name>", log_in),
    path("login-and-fail/<name>", log_in_and_fail),
    path("new-key", new_key),
    path("logout", log_out),
    path("logout-elsewhere", log_out_elsewhere),
    path("password", new_password),
    path("who", who),
    path("leave", leave),
    path("left", left),
    path("stumble", stumble),
    path("async/read", aread),
    path("async/put/<name>/<value>", aput),
    path("async/put-in-place/<name>/<value>", aput_in_place),
    path("async/add/<name>", aadd),
    path("async/logout", alog_out),
    path("admin/", admin.site.urls),
]
