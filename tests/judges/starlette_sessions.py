"""A plugin for Starlette's own tests of its session middleware: they find ours where they import theirs from.

It is loaded by its path into their suite, so nothing of `tests` can be imported here: theirs has that name too.
"""

from __future__ import annotations

from typing import Any

import pytest
from starlette.middleware import sessions

from chuk_sessions import SessionManager
from chuk_sessions.providers import memory
from chuk_sessions.web import SessionMiddleware

TWO_WEEKS = 14 * 24 * 3600
# The tests that are not for us, each with its reason.
NOT_OURS = {
    "trio": "the package is for asyncio",
    "test_session_tracks_modification": "of their class of sessions alone, without a middleware",
}


class StandIn(SessionMiddleware):
    """Ours, with the defaults of theirs; a secret is not needed, as the cookie has an id only."""

    def __init__(self, app: Any, secret_key: str, *, max_age: int | None = TWO_WEEKS, **options: Any) -> None:
        manager = SessionManager("judged", memory.factory(memory.MemoryStore()), strict=True, opaque_ids=True)
        super().__init__(app, manager, max_age=max_age, **{"https_only": False, **options})


def pytest_configure() -> None:
    sessions.SessionMiddleware = StandIn  # type: ignore[assignment, misc]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        for name, reason in NOT_OURS.items():
            if name in item.name:
                item.add_marker(pytest.mark.skip(reason=reason))


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Fail a run in which nothing was judged, or an exception is there for nothing."""
    passed = len(terminalreporter.stats.get("passed", ()))
    skipped = {str(report.longrepr) for report in terminalreporter.stats.get("skipped", ())}
    unused = [reason for reason in NOT_OURS.values() if not any(reason in text for text in skipped)]
    assert passed >= 10, f"only {passed} of their tests ran"
    assert not unused, f"no test is left out because: {unused}"
