"""The names of 0.6 that came back: enumerations, ``get_session``, ``SESSION_DEFAULT_TTL``, methods of models."""

from __future__ import annotations

import dataclasses
import json
from typing import TYPE_CHECKING, Any

import pydantic
import pytest

from chuk_sessions import ProviderError, ProviderType, SessionMetadata, SessionStatus, get_session
from chuk_sessions.providers import memory
from tests.support.helpers import eventually

if TYPE_CHECKING:
    from tests.support.servers import Server

CREATED = "2026-01-31T12:00:00.000000Z"
FIELDS: dict[str, Any] = {
    "session_id": "id",
    "sandbox_id": "box",
    "user_id": None,
    "created_at": CREATED,
    "expires_at": None,
    "status": "active",
    "last_accessed": CREATED,
    "custom_metadata": {"a": [1]},
}
WRONG_FIELDS: dict[str, dict[str, Any]] = {
    "session_id": {"session_id": 1},
    "sandbox_id": {"sandbox_id": None},
    "user_id": {"user_id": 5},
    "expires_at": {"expires_at": 5.0},
    "status": {"status": None},
    "custom_metadata": {"custom_metadata": [("a", 1)]},
}


def test_enumerations() -> None:
    """The published values, equal to their text and printed as it."""
    assert [status.value for status in SessionStatus] == ["active", "expired", "invalidated", "terminated"]
    assert [provider.value for provider in ProviderType] == ["memory", "redis"]
    for member in (*SessionStatus, *ProviderType):
        assert member == member.value == str(member) == f"{member}"
        assert json.dumps(member) == f'"{member.value}"'


class TestGetSession:
    """Opens what the environment names, with a lifetime for ``set`` that the environment may change."""

    async def test_memory(self) -> None:
        async with get_session() as session:
            await session.set("key", "value")
        async with get_session() as session:
            assert await session.get("key") == "value"
            assert await session.delete("key") is True
            assert await session.get("key") is None

    async def test_the_lifetime_on_memory(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("SESSION_DEFAULT_TTL", "0.05")
        async with get_session() as session:
            await session.set("key", "value")
            await session.setex("other", 3600, "value")

            async def is_gone() -> bool:
                return await session.get("key") is None

            await eventually(is_gone)
            assert await session.get("other") == "value"

    @pytest.mark.parametrize(("variable", "seconds"), [(None, 3600), ("", 3600), (" 90 ", 90), ("0.5", 0.5)])
    async def test_the_lifetime_on_redis(
        self,
        redis_server: Server,
        redis_url: str,
        monkeypatch: pytest.MonkeyPatch,
        variable: str | None,
        seconds: float,
    ) -> None:
        monkeypatch.setenv("SESSION_PROVIDER", "redis")
        monkeypatch.setenv("SESSION_REDIS_URL", redis_url)
        if variable is not None:
            monkeypatch.setenv("SESSION_DEFAULT_TTL", variable)
        async with get_session() as session:
            await session.set("key", "value")
        left = redis_server.command("PTTL", "key")
        assert isinstance(left, int)
        assert seconds * 1000 - 30_000 < left <= seconds * 1000

    @pytest.mark.parametrize("variable", ["abc", "0", "-5", "nan", "inf", "1e12"])
    @pytest.mark.parametrize("provider", ["memory", "redis"])
    def test_a_lifetime_that_is_none(self, monkeypatch: pytest.MonkeyPatch, provider: str, variable: str) -> None:
        """An error where the factory is made, which names the variable."""
        monkeypatch.setenv("SESSION_PROVIDER", provider)
        monkeypatch.setenv("SESSION_DEFAULT_TTL", variable)
        with pytest.raises(ProviderError, match="SESSION_DEFAULT_TTL must be a number of seconds over 0"):
            get_session()

    async def test_a_store_of_ones_own_keeps_its_lifetime(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("SESSION_DEFAULT_TTL", "0")
        async with memory.factory(memory.MemoryStore(default_ttl=60))() as session:
            await session.set("key", "value")
            assert await session.get("key") == "value"


class TestModelMethods:
    """``SessionMetadata`` for code that took it for a pydantic model."""

    def test_dump_and_validate(self) -> None:
        """Inverse of each other; the dump is plain, and a copy."""
        session = SessionMetadata.model_validate(FIELDS)
        dumped = session.model_dump()
        assert dumped == FIELDS == session.model_dump(mode="json") == session.to_dict()
        assert type(dumped["status"]) is str
        assert SessionMetadata.model_validate(dumped) == session
        assert SessionMetadata.model_validate(session) is session
        dumped["custom_metadata"]["a"].append(2)
        assert session.custom_metadata == {"a": [1]}

    def test_what_may_be_left_out(self) -> None:
        assert SessionMetadata.model_validate({"session_id": "id", "sandbox_id": "box", "new": 1}).status == "active"
        dumped = SessionMetadata.model_validate(FIELDS).model_dump(exclude_none=True)
        assert dumped == {name: value for name, value in FIELDS.items() if value is not None}

    def test_some_fields(self) -> None:
        """Those of a set of names, without those of another; an unknown name is none of the fields."""
        session = SessionMetadata(**FIELDS)
        assert session.model_dump(include={"session_id", "user_id", "new"}) == {"session_id": "id", "user_id": None}
        assert list(session.model_dump(exclude=["custom_metadata", "session_id"])) == list(FIELDS)[1:-1]
        assert session.model_dump(include=("status", "user_id"), exclude={"status"}, exclude_none=True) == {}
        assert session.model_dump(by_alias=True, include=None, exclude=None) == FIELDS

    @pytest.mark.parametrize("names", ["user_id", {"custom_metadata": {"a"}}])
    @pytest.mark.parametrize("option", ["include", "exclude"])
    def test_fields_within_fields(self, option: str, names: Any) -> None:
        """Are refused, rather than taken for something else."""
        with pytest.raises(TypeError, match="sets of field names"):
            SessionMetadata("id", "box").model_dump(**{option: names})

    @pytest.mark.parametrize("method", ["model_dump", "model_dump_json", "model_copy"])
    def test_an_unknown_option(self, method: str) -> None:
        """Better refused than left unheeded."""
        with pytest.raises(TypeError, match="exclude_unset"):
            getattr(SessionMetadata("id", "box"), method)(exclude_unset=True)

    def test_pairs(self) -> None:
        """In the order of the fields, with the values themselves; a session is true in a condition."""
        session = SessionMetadata(**FIELDS)
        assert dict(session) == FIELDS
        assert [name for name, _ in session] == list(FIELDS)
        assert dict(session)["custom_metadata"] is session.custom_metadata
        assert bool(session)

    def test_copies(self) -> None:
        """Of the object alone, or of its metadata too; with changes that are not checked."""
        session = SessionMetadata(**FIELDS)
        for deep in (False, True):
            copied = session.model_copy(deep=deep)
            assert copied == session
            assert copied is not session
            assert (copied.custom_metadata is session.custom_metadata) is not deep
        changed = session.model_copy(update={"user_id": "bob", "created_at": None})
        assert (changed.user_id, changed.created_at, session.user_id) == ("bob", None, None)
        with pytest.raises(AttributeError, match="colour"):
            session.model_copy(update={"colour": "red"})

    @pytest.mark.parametrize("metadata", [{"a": "\u2603\ud800"}, {"a": 2**80, "b": float("inf")}, {}])
    def test_json_and_back(self, metadata: dict[str, Any]) -> None:
        """Inverse of each other for whatever a stored session may hold; the text can be written anywhere."""
        session = SessionMetadata(**{**FIELDS, "custom_metadata": metadata})
        for text in (session.model_dump_json(), session.model_dump_json(indent=2)):
            assert SessionMetadata.model_validate_json(text) == session
            assert SessionMetadata.model_validate_json(text.encode("ascii")) == session

    def test_the_text(self) -> None:
        """As pydantic writes it: compact, or indented; with the options of a dump."""
        session = SessionMetadata(**FIELDS)
        assert session.model_dump_json(include={"session_id", "custom_metadata"}) == (
            '{"session_id":"id","custom_metadata":{"a":[1]}}'
        )
        assert session.model_dump_json(indent=2, include={"session_id"}) == '{\n  "session_id": "id"\n}'

    @pytest.mark.parametrize("text", ["", "nonsense", "[]", "{}", b"\xff", "[" * 100_000, '{"session_id": 5}'])
    def test_json_that_is_none(self, text: str | bytes) -> None:
        with pytest.raises(ValueError):  # noqa: PT011 - the words are those of json, or of model_validate
            SessionMetadata.model_validate_json(text)

    @pytest.mark.parametrize("name", WRONG_FIELDS)
    def test_wrong_fields(self, name: str) -> None:
        with pytest.raises(ValueError, match=f"^{name} must be a"):
            SessionMetadata.model_validate({**FIELDS, **WRONG_FIELDS[name]})

    @pytest.mark.parametrize("name", ["session_id", "sandbox_id"])
    def test_missing_fields(self, name: str) -> None:
        with pytest.raises(ValueError, match=f"^{name} must be a str"):
            SessionMetadata.model_validate({key: value for key, value in FIELDS.items() if key != name})

    @pytest.mark.parametrize("obj", [None, 5, [("session_id", "id")], "id"])
    def test_what_is_no_dict(self, obj: object) -> None:
        with pytest.raises(ValueError, match="made of a dict"):
            SessionMetadata.model_validate(obj)

    def test_the_status(self) -> None:
        """A known one is the member; one that a later version invented is kept as it is."""
        assert SessionMetadata("id", "box", status="expired").status is SessionStatus.EXPIRED
        assert SessionMetadata("id", "box").status is SessionStatus.ACTIVE
        assert SessionMetadata("id", "box", status="suspended").to_dict()["status"] == "suspended"


class Login(pydantic.BaseModel):
    """An application's own model with a session in it."""

    session: SessionMetadata
    others: list[SessionMetadata] = []


class TestFieldOfAPydanticModel:
    def test_from_an_object_and_from_a_dict(self) -> None:
        session = SessionMetadata(**FIELDS)
        for given in (session, FIELDS, {**FIELDS, "new": 1}):
            login = Login(session=given, others=[given])  # type: ignore[arg-type,list-item]
            assert login.session == session == login.others[0]
        filled = Login(session={"session_id": "id", "sandbox_id": "box"})  # type: ignore[arg-type]
        assert filled.session.created_at == filled.session.last_accessed is not None
        assert filled.session.status is SessionStatus.ACTIVE

    def test_dump_and_json(self) -> None:
        login = Login(session=SessionMetadata(**FIELDS))
        assert login.model_dump() == {"session": FIELDS, "others": []}
        assert Login.model_validate_json(login.model_dump_json()) == login
        properties = Login.model_json_schema()["$defs"]["SessionMetadata"]["properties"]
        assert list(properties) == [field.name for field in dataclasses.fields(SessionMetadata)]

    @pytest.mark.parametrize("name", ["session_id", "user_id", "custom_metadata"])
    def test_refusals(self, name: str) -> None:
        with pytest.raises(pydantic.ValidationError, match=name):
            Login(session={**FIELDS, name: 5})  # type: ignore[arg-type]
