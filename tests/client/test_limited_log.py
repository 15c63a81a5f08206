"""A log that does not run full."""

from __future__ import annotations

import logging

import pytest

from chuk_sessions.redis_client.limited_log import MAX_LINES, PERIOD, LimitedLog
from tests.support.helpers import Clock


def test_lines_beyond_the_limit_are_counted_and_the_next_one_says_so(caplog: pytest.LogCaptureFixture) -> None:
    clock = Clock()
    log = LimitedLog(logging.getLogger("limited"), clock)
    for number in range(MAX_LINES + 3):
        log.line(logging.WARNING, f"line {number}")
    assert caplog.messages == [f"line {number}" for number in range(MAX_LINES)]
    clock.move(PERIOD)
    log.line(logging.WARNING, "later")
    log.line(logging.WARNING, "last")
    assert caplog.messages[MAX_LINES:] == ["later (3 such lines were left out)", "last"]
