"""A login with Django, in one file: a cart, messages, "where am I logged in", log out everywhere else.

    pip install '.[django]'
    python examples/django_login.py migrate
    SESSION_PROVIDER=redis python examples/django_login.py runserver

Without ``SESSION_PROVIDER`` the sessions are in the memory of the process. The users are in ``django_login.sqlite3``,
or in the file that ``DATABASE`` names. Passwords are left out: anybody who names a user is that user.
"""

from __future__ import annotations

import os
import sys
from typing import Any

from django.conf import settings
from django.contrib import messages
from django.contrib.auth import get_user_model, login, logout
from django.contrib.auth.decorators import login_required
from django.core.management import execute_from_command_line
from django.core.wsgi import get_wsgi_application
from django.http import HttpRequest, HttpResponse
from django.middleware.csrf import get_token
from django.shortcuts import redirect
from django.urls import path
from django.utils.html import format_html, format_html_join
from django.views.decorators.http import require_POST

from chuk_sessions.django import end_sessions, sessions_of

settings.configure(
    ALLOWED_HOSTS=["localhost", "127.0.0.1"],
    CHUK_SESSIONS={"SANDBOX": "shop", "IDLE_MINUTES": 30, "MAX_PER_USER": 5},
    DATABASES={
        "default": {
            "ENGINE": "django.db.backends.sqlite3",
            "NAME": os.environ.get("DATABASE", "django_login.sqlite3"),
        }
    },
    DEBUG=True,
    INSTALLED_APPS=["django.contrib.auth", "django.contrib.contenttypes", "chuk_sessions.django"],
    LOGIN_URL="/",
    MESSAGE_STORAGE="django.contrib.messages.storage.session.SessionStorage",
    MIDDLEWARE=[
        "chuk_sessions.django.SessionMiddleware",
        "django.middleware.csrf.CsrfViewMiddleware",
        "django.contrib.auth.middleware.AuthenticationMiddleware",
        "django.contrib.messages.middleware.MessageMiddleware",
    ],
    ROOT_URLCONF=__name__,
    SECRET_KEY=os.environ.get("SECRET_KEY", "of this example: set one of your own"),
    SESSION_ENGINE="chuk_sessions.django",
)

FORM = '<form method="post" action="{}">{}<input name="{}"><button>{}</button></form>'


def form(request: HttpRequest, action: str, name: str, label: str) -> str:
    """Return a form of one field, with the token against forged requests."""
    token = format_html('<input type="hidden" name="csrfmiddlewaretoken" value="{}">', get_token(request))
    found: str = format_html(FORM, action, token, name, label)
    return found


def page(request: HttpRequest) -> HttpResponse:
    """Show the cart, the messages, and the browsers of the user."""
    user = request.user
    found = sessions_of(user) if user.is_authenticated else []
    rows: list[tuple[Any, ...]] = [
        (each.fingerprint, each.last_accessed, "this one" if each.session_key == request.session.session_key else "")
        for each in found
    ]
    return HttpResponse(
        format_html(
            "<p>{}</p><p>cart: {}</p><ul>{}</ul><table>{}</table>{}{}{}{}",
            user.get_username() or "nobody",
            ", ".join(request.session.get("cart", [])),
            format_html_join("", "<li>{}</li>", ((each,) for each in messages.get_messages(request))),
            format_html_join("", "<tr><td>{}</td><td>{}</td><td>{}</td></tr>", rows),
            form(request, "/cart", "item", "Add to the cart"),
            form(request, "/login", "user", "Log in"),
            form(request, "/logout", "really", "Log out"),
            form(request, "/logout/elsewhere", "really", "Log out everywhere else"),
        )
    )


@require_POST
def add(request: HttpRequest) -> HttpResponse:
    """Put something into the cart, which is stored under a key of its own."""
    request.session["cart"] = [*request.session.get("cart", []), request.POST["item"]]
    return redirect("/")


@require_POST
def log_in(request: HttpRequest) -> HttpResponse:
    """Give the session to a user, under a new key; the cart stays."""
    user, _ = get_user_model().objects.get_or_create(username=request.POST["user"])
    login(request, user)
    messages.info(request, f"Welcome, {user}")
    return redirect("/")


@require_POST
def log_out(request: HttpRequest) -> HttpResponse:
    """End the session."""
    logout(request)
    return redirect("/")


@require_POST
@login_required
def log_out_elsewhere(request: HttpRequest) -> HttpResponse:
    """End the sessions of this user in all other browsers."""
    ended = end_sessions(request.user, keep=request.session)
    messages.info(request, f"{ended} other sessions have ended")
    return redirect("/")


urlpatterns = [
    path("", page),
    path("cart", add),
    path("login", log_in),
    path("logout", log_out),
    path("logout/elsewhere", log_out_elsewhere),
]
application = get_wsgi_application()

if __name__ == "__main__":
    execute_from_command_line(sys.argv)
