"""The data of a session: the record that stores keep, and the public ``SessionMetadata``."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import asdict, dataclass, field, fields
from datetime import UTC, datetime
from time import gmtime, strftime, time
from typing import Any

from chuk_sessions.enums import SessionStatus
from chuk_sessions.model_methods import ModelMethods

__all__ = ["ACTIVE", "SessionMetadata", "SessionRecord", "begin_and_end", "iso_timestamp"]

ACTIVE = SessionStatus.ACTIVE.value
MICROSECONDS = 1_000_000
HOUR = 3_600.0  # seconds
MOST_HOURS = 8_192  # eleven months
MOST_TEXTS = 4_096
RENEW_TEXTS = 8 * MOST_TEXTS  # after so many new times all texts are forgotten, and the next times are remembered
MOST_PAIRS, RENEW_PAIRS = MOST_TEXTS // 2, RENEW_TEXTS // 2  # of a begin and an end
_texts: dict[float, str] = {}
_new_texts = 0  # about how many texts were made since all were forgotten: threads may share it
_pairs: dict[float, tuple[float, tuple[str, str]]] = {}  # the end and both texts, by the begin
_new_pairs = 0  # as of the texts
_hours: dict[float, str] = {}
_seconds: list[str] = []  # minute and second of an hour, as text; made together with the text of the first hour
_thousands: list[str] = []  # three digits, made with them: a format of six digits takes longer than two of these


@dataclass(slots=True)
class SessionRecord:
    """The copy of a session that stores hand out, with times in seconds since the epoch."""

    user_id: str | None
    created: float
    expires: float
    accessed: float
    metadata: dict[str, Any]
    status: str = ACTIVE
    idle: float = 0.0  # seconds from a touch to the end of the session, 0 if only ``expires`` ends it
    idle_expires: float | None = None  # when the session ends unless it is touched before
    current_id: str | None = None  # the id of the session, if it was read under an alias

    def info(self, session_id: str, sandbox_id: str) -> dict[str, Any]:
        """Make the info dict of the session, which was read under ``session_id``."""
        created, accessed = self.created, self.accessed
        created_at, expires_at = begin_and_end(created, self.expires)
        info = {
            "session_id": self.current_id or session_id,
            "sandbox_id": sandbox_id,
            "user_id": self.user_id,
            "created_at": created_at,
            "expires_at": expires_at,
            "status": self.status,
            "last_accessed": created_at if accessed == created else _texts.get(accessed) or _text_of(accessed),
            "custom_metadata": self.metadata,
        }
        if self.idle_expires is not None:
            info["idle_expires_at"] = iso_timestamp(self.idle_expires)
        return info


def iso_timestamp(unix_time: float) -> str:
    """Return the time as ISO-8601 in UTC with six decimals and ``Z``: ``2026-01-31T12:00:00.000000Z``.

    Some texts are remembered, for sessions that are asked for again and again. While there are many other times, most
    of these are not remembered: that would take as long as to make their texts. Then the text of the hour is, so that a
    new time takes as long wherever it lies.
    """
    return _texts.get(unix_time) or _text_of(unix_time)


def begin_and_end(begin: float, end: float) -> tuple[str, str]:
    """Return two times as ``iso_timestamp`` does. If whole hours lie between, they differ in the hour alone.

    Both are remembered together, so that there is one look for the two.
    """
    global _new_pairs
    known = _pairs.get(begin)
    if known is not None and known[0] == end:
        return known[1]
    hour, end_hour = begin // HOUR, end // HOUR  # in floats: integers of over 30 bits take longer
    in_hour = begin - hour * HOUR
    second = int(in_hour)
    microseconds = int((in_hour - second) * MICROSECONDS + 0.5)
    try:
        text = f"{_seconds[second]}{_thousands[microseconds // 1000]}{_thousands[microseconds % 1000]}Z"
        begin_text = _hours[hour] + text
        end_text = _hours[end_hour] + text if end - end_hour * HOUR == in_hour else _text_of(end)
    except LookupError:  # an hour that is not known yet, or what is rounded up to the next second
        return _text_of(begin), _text_of(end)
    both = begin_text, end_text
    _new_pairs += 1
    if _new_pairs <= MOST_PAIRS:
        _pairs[begin] = end, both
    elif _new_pairs >= RENEW_PAIRS:
        _pairs.clear()
        _new_pairs = 0
    return both


def _text_of(unix_time: float) -> str:
    global _new_texts
    hour = unix_time // HOUR
    in_hour = unix_time - hour * HOUR
    second = int(in_hour)
    microseconds = int((in_hour - second) * MICROSECONDS + 0.5)
    if microseconds == MICROSECONDS or second == HOUR:  # rounded up to the next second
        return _text_of(float(round(unix_time)))
    try:
        begin = _hours[hour]
    except KeyError:
        begin = _begin_of(hour)
    text = f"{begin}{_seconds[second]}{_thousands[microseconds // 1000]}{_thousands[microseconds % 1000]}Z"
    _new_texts += 1
    if _new_texts <= MOST_TEXTS:
        _texts[unix_time] = text
    elif _new_texts >= RENEW_TEXTS:
        _texts.clear()
        _new_texts = 0
    return text


def _begin_of(hour: float) -> str:
    """Make the text of an hour since the epoch, and remember it."""
    global _seconds, _thousands
    if not _seconds:  # each is set whole: of two threads, or after an interruption, none makes it longer than it is
        _thousands = [f"{number:03d}" for number in range(1000)]  # first: another thread looks at the seconds
        _seconds = [f"{second // 60:02d}:{second % 60:02d}." for second in range(3_600)]
    if len(_hours) >= MOST_HOURS:
        _hours.clear()
    _hours[hour] = begin = strftime("%Y-%m-%dT%H:", gmtime(hour * HOUR))
    return begin


def _now() -> str:
    return iso_timestamp(time())


@dataclass(slots=True)
class SessionMetadata(ModelMethods):
    """Hold the data of a session as an object.

    The class is a dataclass, so that it can be a field of a pydantic model. Iteration and the ``model_*`` methods are
    for code written against 0.6, where the class was such a model itself. Times are ISO-8601 in UTC, as in
    ``get_session_info``.

    Args:
        session_id: The id.
        sandbox_id: The sandbox.
        user_id: The user of the session; None for a session of nobody.
        created_at: When the session was created; by default now.
        expires_at: When the session ends; None: never.
        status: A text that ``SessionStatus`` knows becomes its member, which equals the text. Another text is kept.
        last_accessed: When the session was last touched; by default ``created_at``.
        custom_metadata: The metadata.
    """

    session_id: str
    sandbox_id: str
    user_id: str | None = None
    created_at: str | None = None
    expires_at: str | None = None
    status: str = SessionStatus.ACTIVE
    last_accessed: str | None = None
    custom_metadata: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.created_at = self.created_at or _now()
        self.last_accessed = self.last_accessed or self.created_at
        with suppress(ValueError):
            self.status = SessionStatus(self.status)

    def is_expired(self) -> bool:
        """Tell whether ``expires_at`` has passed. A time without a zone is taken as UTC.

        Returns:
            True if it has passed; False if it has not, or if it is None.

        Raises:
            ValueError: ``expires_at`` is no ISO-8601 time.
        """
        if not self.expires_at:
            return False
        expires = datetime.fromisoformat(self.expires_at)
        return datetime.now(UTC) >= (expires if expires.tzinfo else expires.replace(tzinfo=UTC))

    def touch(self) -> None:
        """Set ``last_accessed`` of this object to now; storage is not touched."""
        self.last_accessed = _now()

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as a new dict.

        Returns:
            All fields by name, ``status`` as plain text.
        """
        return {**asdict(self), "status": str(self.status)}

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> SessionMetadata:
        """Make an object from the dict of ``to_dict`` or ``get_session_info``.

        Args:
            data: The fields by name; unknown keys are ignored.

        Returns:
            The object.

        Raises:
            TypeError: An id is missing.
        """
        known = {f.name for f in fields(cls)}
        return cls(**{key: value for key, value in data.items() if key in known})
