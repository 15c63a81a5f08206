"""Many sessions in one call, on every implementation; and a manager that is closed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from chuk_sessions import MetadataError, ProviderError, SessionManager, StorageError
from tests.support.failing_provider import failing_factory

if TYPE_CHECKING:
    from collections.abc import Callable


async def test_a_result_per_item_in_order(manager: SessionManager) -> None:
    """Whatever became of the others."""
    requests: list[dict[str, Any]] = [
        {"user_id": "alice", "custom_metadata": {"n": 0}},
        {"session_id": "a/b"},
        {"session_id": "chosen", "user_id": "bob", "ttl_hours": 2},
        {"ttl_hours": -1},
        {"custom_metadata": {"a": object()}},
        {},
    ]
    made = await manager.allocate_sessions(requests)
    assert [type(each) for each in made] == [str, ValueError, str, ValueError, MetadataError, str]
    assert made[2] == "chosen"
    info = await manager.get_session_info(str(made[0]))
    assert info is not None
    assert (info["user_id"], info["custom_metadata"]) == ("alice", {"n": 0})
    ids = [each for each in made if isinstance(each, str)]
    assert await manager.validate_sessions([ids[0], "unknown", ids[1], "", ids[2]]) == [True, False, True, False, True]
    assert await manager.delete_sessions(["unknown", ids[2], ids[0]]) == [False, True, True]
    assert await manager.validate_sessions(ids) == [False, True, False]


async def test_one_id_twice(manager: SessionManager) -> None:
    """It is made once and ended once."""
    assert await manager.allocate_sessions([{"session_id": "id"}] * 3) == ["id"] * 3
    assert await manager.validate_sessions(["id"] * 3) == [True] * 3
    assert sorted(map(bool, await manager.delete_sessions(["id"] * 3))) == [False, False, True]


@pytest.mark.parametrize("chosen", ["chosen", None])
async def test_several_ids_of_one_session(
    manager_factory: Callable[..., SessionManager], request: pytest.FixtureRequest, chosen: str | None
) -> None:
    """The first that stands in the list has ended it, whichever is an alias; so it is on every implementation."""
    if "custom" in request.node.callspec.id:
        pytest.skip("a custom provider cannot renew a session")
    manager = manager_factory()
    for order in ((0, 1, 2), (2, 1, 0), (1, 2, 0), (0, 2), (2, 0), (1, 0, 1), (2, 2, 0)):
        first = await manager.allocate_session(chosen, "alice")
        second = await manager.renew_session(first, 60)
        assert second is not None
        third = await manager.renew_session(second, 60)
        assert third is not None
        other = await manager.allocate_session(user_id="alice")
        ids = [(first, second, third)[number] for number in order]
        results = await manager.delete_sessions(["unknown", *ids, other, ids[0]])
        assert results == [False, True, *[False] * (len(ids) - 1), True, False], order
        assert await manager.validate_sessions([first, second, third]) == [False] * 3


async def test_an_alias_of_a_session_that_has_ended(
    manager_factory: Callable[..., SessionManager], request: pytest.FixtureRequest
) -> None:
    if "custom" in request.node.callspec.id:
        pytest.skip("a custom provider cannot renew a session")
    manager = manager_factory()
    first = await manager.allocate_session(user_id="alice")
    second = await manager.renew_session(first, 60)
    assert second is not None
    assert await manager.delete_session(second) is True
    assert await manager.delete_sessions([first, second]) == [False, False]


async def test_nothing(manager: SessionManager) -> None:
    assert await manager.allocate_sessions([]) == []
    assert await manager.validate_sessions(()) == []
    assert await manager.delete_sessions(iter(())) == []


async def test_hundreds(manager: SessionManager) -> None:
    """More than one script takes."""
    made = await manager.allocate_sessions([{"user_id": f"user-{n % 7}"} for n in range(300)])
    ids = [str(each) for each in made]
    assert len(set(ids)) == 300
    assert await manager.validate_sessions(ids) == [True] * 300
    assert await manager.delete_sessions(ids) == [True] * 300
    assert await manager.validate_sessions(ids) == [False] * 300


@pytest.mark.parametrize("strict", [False, True])
async def test_an_outage_is_an_exception_per_item(strict: bool) -> None:
    """Never an answer: a failing storage does not mean that sessions have ended."""
    manager = SessionManager("box", failing_factory(OSError("secret")), strict=strict)
    for results in (
        await manager.allocate_sessions([{}, {}]),
        await manager.validate_sessions(["one", "two"]),
        await manager.delete_sessions(["one", "two"]),
    ):
        assert [type(each) for each in results] == [StorageError] * 2
        for each in results:
            assert isinstance(each, StorageError)
            assert isinstance(each.__cause__, ProviderError)
            assert "secret" not in str(each)


async def test_closing(manager_factory: Callable[..., SessionManager]) -> None:
    """What is shared goes on: other managers of the storage notice nothing, and closing twice does no harm."""
    other = manager_factory()
    async with manager_factory() as manager:
        session_id = await manager.allocate_session(user_id="alice")
        manager.generate_artifact_key(session_id, "a")
    await manager.aclose()
    assert manager._prefixes == {}
    assert await other.validate_session(session_id) is True
