"""A plugin for Flask's own tests: an application whose sessions they do not replace has ours.

It is loaded by its path into their suite, so nothing of `tests` can be imported here: theirs has that name too.
"""

from __future__ import annotations

from typing import Any

import pytest
from flask import Flask
from flask.sessions import SessionInterface

from chuk_sessions import SessionManager
from chuk_sessions.providers import memory
from chuk_sessions.web.flask import ChukSessions, cookie_of

OURS = "judged"
LEAST = 477
# The tests that are not for us, each with its reason.
NOT_OURS = {
    "test_missing_session": "of signing: sessions need no secret key",
    "test_session_secret_key_fallbacks": "of signing: their cookie is signed with keys that change",
    "test_session_transactions_no_null_sessions": "of signing: there is a session without a secret key",
    "test_session_using_session_settings": "deletes a cookie that the request lacks: ours may be a new login's by then",
    "test_bad_environ_raises_bad_request": "fails without us too, as werkzeug reads that environ by now",
}


class StandIn(SessionInterface):
    """Ours, for the configuration that an application has at each request: their tests change it late."""

    def _of(self, app: Flask) -> Any:
        if OURS not in app.extensions:
            lifetime = app.permanent_session_lifetime.total_seconds() / 3600
            manager = SessionManager(
                "judged", memory.factory(memory.MemoryStore()), lifetime, strict=True, opaque_ids=True
            )
            ChukSessions(app, manager, exclude=())
            app.extensions[OURS] = app.session_interface
            del app.session_interface  # so that this one is asked again
        ours = app.extensions[OURS]
        ours._settings.transport = cookie_of(app)
        return ours

    def make_null_session(self, app: Flask) -> Any:
        return self._of(app).make_null_session(app)

    def open_session(self, app: Flask, request: Any) -> Any:
        known = app.extensions.get(OURS)
        before = None if known is None else known._settings.transport
        session = self._of(app).open_session(app, request)
        if before is not None and before != cookie_of(app) and session is not None:
            # A browser keeps the flags of its cookie until it gets that again: at once, if they are others now.
            session._stored.issued = session._stored.session_id is not None
        return session

    def save_session(self, app: Flask, session: Any, response: Any) -> None:
        self._of(app).save_session(app, session, response)


def pytest_configure() -> None:
    Flask.session_interface = StandIn()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if reason := NOT_OURS.get(item.name):
            item.add_marker(pytest.mark.skip(reason=reason))


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Fail a run in which too little was judged, or an exception is there for nothing."""
    passed = len(terminalreporter.stats.get("passed", ()))
    skipped = {str(report.longrepr) for report in terminalreporter.stats.get("skipped", ())}
    unused = [reason for reason in NOT_OURS.values() if not any(reason in text for text in skipped)]
    assert passed >= LEAST, f"only {passed} of their tests ran"
    assert not unused, f"no test is left out because: {unused}"
