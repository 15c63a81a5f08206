"""SessionMetadata, the dataclass that 0.2 had, and timestamps."""

from __future__ import annotations

import dataclasses
import time
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chuk_sessions import SessionManager, SessionMetadata, models
from chuk_sessions.models import begin_and_end, iso_timestamp

CREATED = "2026-01-31T12:00:00.000000Z"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "1970-01-01T00:00:00.000000Z"),
        (1769860800.25, "2026-01-31T12:00:00.250000Z"),
        (1769860799.9999999, "2026-01-31T12:00:00.000000Z"),
        (0.9999999, "1970-01-01T00:00:01.000000Z"),
        (7199.9999999, "1970-01-01T02:00:00.000000Z"),
        (-0.5, "1969-12-31T23:59:59.500000Z"),
        (-1e-300, "1970-01-01T00:00:00.000000Z"),
        (1769860799.000042, "2026-01-31T11:59:59.000042Z"),
    ],
)
def test_timestamps(seconds: float, text: str) -> None:
    """UTC, six decimals, rounded, never sixty seconds."""
    assert iso_timestamp(seconds) == text


@given(st.floats(0, 4e9))
def test_timestamps_can_be_read_back(seconds: float) -> None:
    assert datetime.fromisoformat(iso_timestamp(seconds)).timestamp() == pytest.approx(seconds, abs=1e-6)


@given(st.floats(0, 4e9), st.integers(0, 100_000))
def test_a_begin_and_an_end_are_as_two_times(begin: float, hours: int) -> None:
    """Whether whole hours lie between or not, which floats may round to."""
    for end in (begin + hours * 3600, begin + hours):
        models._texts.clear()
        models._pairs.clear()
        both = iso_timestamp(begin), models._text_of(end)
        assert begin_and_end(begin, end) == both
        assert begin_and_end(begin, end) == both  # remembered, or once more


@pytest.mark.parametrize("hours", [1, 24])
@pytest.mark.parametrize("begin", [7199.9999999, 7199.9999998, 7200.0, 1769860799.9999998])
def test_an_end_that_is_rounded_up_to_its_hour(begin: float, hours: int) -> None:
    """Its text has the next hour, as that of the begin has."""
    models._texts.clear()
    models._pairs.clear()
    end = begin + hours * 3600
    assert begin_and_end(begin, end) == (models._text_of(begin), models._text_of(end))


def test_an_end_after_a_begin_whose_year_has_five_digits() -> None:
    begin, end = 253_402_300_800.0, 253_402_311_600.0
    assert begin_and_end(begin, end) == ("10000-01-01T00:00:00.000000Z", "10000-01-01T03:00:00.000000Z")


def test_texts_that_are_remembered_have_a_bound_and_are_renewed() -> None:
    """Whatever times there were before, a time that is asked for again and again is remembered after some others."""
    for number in range(2 * models.RENEW_TEXTS):
        seconds = 2e9 + number / 8
        assert iso_timestamp(seconds).endswith("Z")
        assert iso_timestamp(1.5e9) == "2017-07-14T02:40:00.000000Z"
        assert len(models._texts) <= models.MOST_TEXTS
    iso_timestamp(1.5e9)  # once more: all may have been forgotten just now
    assert 1.5e9 in models._texts


def test_tables_that_were_made_halfway(monkeypatch: pytest.MonkeyPatch) -> None:
    """An interruption came between the two; what is rounded up is found by where they end."""
    monkeypatch.setattr(models, "_hours", {})
    monkeypatch.setattr(models, "_pairs", {})
    monkeypatch.setattr(models, "_texts", {})
    iso_timestamp(0.5)
    monkeypatch.setattr(models, "_seconds", [])
    monkeypatch.setattr(models, "_hours", {})
    begin = 1_700_000_000 - 2**-22
    both = "2023-11-14T22:13:20.000000Z", "2023-11-14T23:13:20.000000Z"
    assert [begin_and_end(begin, begin + 3600) for _ in range(2)] == [both, both]


def test_a_begin_that_gets_another_end() -> None:
    """As a session that is extended does."""
    begin = 1769860800.25
    for hours in (1, 2, 1, 1.5):
        end = begin + hours * 3600
        assert begin_and_end(begin, end) == (iso_timestamp(begin), iso_timestamp(end))


def test_begins_and_ends_that_are_remembered_have_a_bound_and_are_renewed() -> None:
    """As single texts."""
    again = 1.5e9, 1.5e9 + 3600
    for number in range(2 * models.RENEW_PAIRS):
        seconds = 2e9 + number / 8
        begin_and_end(seconds, seconds + 3600)
        assert begin_and_end(*again) == ("2017-07-14T02:40:00.000000Z", "2017-07-14T03:40:00.000000Z")
        assert len(models._pairs) <= models.MOST_PAIRS
    begin_and_end(*again)  # once more: all may have been forgotten just now
    assert 1.5e9 in models._pairs


def test_defaults() -> None:
    """Created and accessed now, active, without an end, with a dict of its own."""
    before = iso_timestamp(time.time())
    one, other = SessionMetadata("id", "box"), SessionMetadata("id", "box")
    assert one.created_at is not None
    assert before <= one.created_at <= iso_timestamp(time.time())
    assert one.last_accessed == one.created_at
    assert (one.user_id, one.expires_at, one.status, one.custom_metadata) == (None, None, "active", {})
    assert one.custom_metadata is not other.custom_metadata
    assert SessionMetadata("id", "box", created_at=CREATED).last_accessed == CREATED


def test_it_is_slotted() -> None:
    """A mistyped attribute is an error."""
    with pytest.raises(AttributeError):
        SessionMetadata("id", "box").expires = "never"  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("expires_at", "expired"),
    [
        (None, False),
        ("", False),
        ("2000-01-01T00:00:00Z", True),
        ("2000-01-01T00:00:00", True),
        ("2000-01-01T00:00:00+02:00", True),
        ("3000-01-01T00:00:00Z", False),
        ("3000-01-01T00:00:00", False),
    ],
)
def test_is_expired(expires_at: str | None, expired: bool) -> None:
    """A time without a zone is taken as UTC; without a time there is no end."""
    assert SessionMetadata("id", "box", expires_at=expires_at).is_expired() is expired


@pytest.mark.parametrize("zone", ["Asia/Tokyo", "America/New_York"])
def test_is_expired_wherever_the_machine_stands(zone: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A time without a zone is not local time."""
    monkeypatch.setenv("TZ", zone)
    time.tzset()
    try:
        for seconds, expired in ((-60, True), (60, False)):
            naive = datetime.fromtimestamp(time.time() + seconds, UTC).replace(tzinfo=None).isoformat()
            assert SessionMetadata("id", "box", expires_at=naive).is_expired() is expired
        offset = len(zone)  # a time that was not asked for before: timestamps are cached
        assert iso_timestamp(offset) == f"1970-01-01T00:00:{offset}.000000Z"
    finally:
        monkeypatch.undo()
        time.tzset()


def test_is_expired_with_nonsense() -> None:
    with pytest.raises(ValueError, match="soon"):
        SessionMetadata("id", "box", expires_at="soon").is_expired()


def test_touch() -> None:
    session = SessionMetadata("id", "box", created_at=CREATED)
    session.touch()
    assert session.last_accessed is not None
    assert session.last_accessed > CREATED
    assert session.created_at == CREATED


def test_dict_and_back() -> None:
    """The inverse of each other; the dict is a copy; unknown keys are ignored."""
    session = SessionMetadata("id", "box", "alice", CREATED, None, "active", CREATED, {"a": [1]})
    as_dict = session.to_dict()
    assert list(as_dict) == [field.name for field in dataclasses.fields(SessionMetadata)]
    assert SessionMetadata.from_dict({**as_dict, "new in 0.9": 1}) == session
    as_dict["custom_metadata"]["a"].append(2)
    assert session.custom_metadata == {"a": [1]}


def test_from_dict_without_an_id() -> None:
    with pytest.raises(TypeError, match="sandbox_id"):
        SessionMetadata.from_dict({"session_id": "id"})


async def test_info_makes_a_session_metadata() -> None:
    """The info dict of a manager has the same fields."""
    manager = SessionManager("box")
    info = await manager.get_session_info(await manager.allocate_session("id", "alice", 1, {"a": 1}))
    assert info is not None
    session = SessionMetadata.from_dict(info)
    assert session.to_dict() == info
    assert session.is_expired() is False


def test_equality_and_repr() -> None:
    one: dict[str, Any] = {"session_id": "id", "sandbox_id": "box", "created_at": CREATED}
    assert SessionMetadata(**one) == SessionMetadata(**one)
    assert SessionMetadata(**one) != SessionMetadata(**{**one, "user_id": "bob"})
    assert "session_id='id'" in repr(SessionMetadata(**one))
