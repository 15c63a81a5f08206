"""The clock that goes on while the machine is suspended."""

from __future__ import annotations

import time

import pytest

from chuk_sessions.elapsed import choose_clock, elapsed


def test_it_goes_on() -> None:
    """At the pace of the other clocks."""
    begin, elsewhere = elapsed(), time.monotonic()
    while time.monotonic() < elsewhere + 0.02:
        pass
    assert 0.02 <= elapsed() - begin < 5


@pytest.mark.skipif(not hasattr(time, "CLOCK_BOOTTIME"), reason="this system has no CLOCK_BOOTTIME")
def test_it_counts_a_suspension() -> None:
    """By the clock of the system that does."""
    before = time.clock_gettime(time.CLOCK_BOOTTIME)
    assert before <= elapsed() <= time.clock_gettime(time.CLOCK_BOOTTIME)


def test_a_system_without_such_a_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Has the usual one."""
    monkeypatch.setattr("sys.platform", "win32")
    monkeypatch.delattr(time, "CLOCK_BOOTTIME", raising=False)
    assert choose_clock() is time.monotonic


def test_a_system_that_has_another_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a Mac the clock of that name counts it."""
    asked: list[int] = []

    def count(clock: int) -> float:
        asked.append(clock)
        return 1.0

    monkeypatch.setattr("sys.platform", "darwin")
    monkeypatch.delattr(time, "CLOCK_BOOTTIME", raising=False)
    monkeypatch.setattr(time, "clock_gettime", count)
    assert choose_clock()() == 1.0
    assert asked == [time.CLOCK_MONOTONIC] * 2


def test_a_kernel_that_does_not_know_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Though Python was built with it."""

    def refuse(clock: int) -> float:
        raise OSError(22, "Invalid argument")

    monkeypatch.setattr(time, "CLOCK_BOOTTIME", 7, raising=False)
    monkeypatch.setattr(time, "clock_gettime", refuse)
    assert choose_clock() is time.monotonic
