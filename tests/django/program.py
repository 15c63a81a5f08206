"""The project for real servers, with sessions on Redis: `wsgi` and `asgi`. They are used before workers are forked."""

from __future__ import annotations

import os

from django.core.asgi import get_asgi_application
from django.core.wsgi import get_wsgi_application

from chuk_sessions.django import SessionStore
from tests.django import project

project.configure(":memory:", CHUK_SESSIONS={"URL": os.environ["CHUK_TEST_URL"], "SANDBOX": "shop"})
wsgi, asgi = get_wsgi_application(), get_asgi_application()
SessionStore().save()
