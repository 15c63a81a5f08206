"""A process that dies between two steps, where a session and its user's index are in different slots of a cluster.

Whatever step was the last: a live session of a user is listed, one call ends them all, there are never more than the
limit, and a renewal leaves one session at the most.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from chuk_sessions.ids import renewed_id, user_tag
from chuk_sessions.providers.redis.store import RedisSessionStore
from chuk_sessions.redis_client.client import Client
from chuk_sessions.redis_client.slots import slot_of
from tests.support.helpers import eventually
from tests.support.meddler import AsksForDeployment

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from chuk_sessions.redis_client.client import Deployment
    from tests.support.cluster_servers import ClusterServers

USER, HOUR = "alice", 3600.0
HERE = "sess-1-" + 32 * "0" + user_tag("box", USER)  # in the slot of the index


class Crash(BaseException):
    """The process is gone; no handler of ordinary errors sees it."""


class Dying:
    """A deployment that takes so many commands and then no more."""

    def __init__(self, deployment: Deployment, commands: int) -> None:
        self._deployment = deployment
        self.left = commands

    def __getattr__(self, name: str) -> Any:
        return getattr(self._deployment, name)

    def call(self, *arguments: Any) -> Any:
        if self.left == 0:
            raise Crash
        self.left -= 1
        return self._deployment.call(*arguments)


class DyingClient(AsksForDeployment):
    """A process that dies before it sends one more command than it may."""

    def __init__(self, url: str, commands: int) -> None:
        super().__init__(url)
        self._commands = commands
        self._dying: Dying | None = None

    def deployment(self) -> Any:
        if self._dying is None:
            self._dying = Dying(super().deployment(), self._commands)
        return self._dying

    @property
    def has_died(self) -> bool:
        return self._dying is not None and self._dying.left == 0


Step = tuple["Callable[[RedisSessionStore], Awaitable[Any]]", int]
NEW_IDS = {session_id: renewed_id(session_id, 1767225600) for session_id in ("one", "two")}
# What is done, with a limit of how many sessions. There are sessions "one" and "two" before.
OPERATIONS: dict[str, Step] = {
    "create": (lambda store: store.create("three", USER, HOUR, {"a": 1}), 9),
    "create at the limit": (lambda store: store.create("three", USER, HOUR, {}, limit=2), 2),
    "create here at the limit": (lambda store: store.create(HERE, USER, HOUR, {}, limit=2), 2),
    "create what is there": (lambda store: store.create("one", USER, HOUR, {}), 2),
    "extend": (lambda store: store.extend("one", HOUR), 2),
    "end earlier": (lambda store: store.extend("one", 60, from_now=True), 2),
    "end later": (lambda store: store.extend("one", 2 * HOUR, from_now=True), 2),
    "delete": (lambda store: store.delete("one"), 2),
    "renew": (lambda store: store.renew("one", NEW_IDS["one"], 0), 2),
    "renew with a grace": (lambda store: store.renew("one", NEW_IDS["one"], 60), 2),
    "end all": (lambda store: store.delete_user(USER, frozenset()), 2),
    "end all but one": (lambda store: store.delete_user(USER, frozenset(["two"])), 2),
}


def living(cluster: ClusterServers) -> list[dict[str, str]]:
    """The records of all sessions of the user, from the servers themselves."""
    found = []
    for node in cluster.nodes:
        keys = node.command("KEYS", "session:*")
        assert isinstance(keys, list)
        for key in keys:
            fields = node.command("HGETALL", str(key))
            assert isinstance(fields, list)
            record = dict(zip(map(str, fields[::2]), map(str, fields[1::2]), strict=True))
            if record.get("user") == USER:
                found.append({**record, "key": str(key)})
    return found


async def crash_after(url: str, commands: int, operation: Callable[[RedisSessionStore], Awaitable[Any]]) -> bool:
    """Whether the operation needed more commands than that."""
    client = DyingClient(url, commands)
    try:
        await operation(RedisSessionStore(client, "box"))
    except Crash:  # what was sent before is carried out all the same
        await eventually(lambda: not client.stats()["in_flight"] + client.stats()["waiting"])
        return True
    return False


@pytest.mark.redis
@pytest.mark.parametrize("name", OPERATIONS)
async def test_a_crash_before_each_step(name: str, calm_cluster: ClusterServers, cluster_url: str) -> None:
    """From the first command to the end of the operation, each time on a fresh start."""
    operation, most = OPERATIONS[name]
    steps = 0
    while True:
        for node in calm_cluster.nodes:
            node.flush()
        store = RedisSessionStore(Client(cluster_url), "box")
        for session_id in ("one", "two"):
            await store.create(session_id, USER, HOUR, {})
        crashed = await crash_after(cluster_url, steps, operation)

        alive = living(calm_cluster)
        assert len(alive) <= most
        listed = await store.list_user(USER)
        assert len(listed) == len(alive)
        assert len({record["inc"] for record in alive if "inc" in record}) == sum("inc" in record for record in alive)
        await store.delete_user(USER, frozenset())
        assert living(calm_cluster) == []
        assert await store.list_user(USER) == []
        await store.create("after", USER, HOUR, {}, limit=1)
        assert [session_id for session_id, _ in await store.list_user(USER)] == ["after"]
        if not crashed:
            break
        steps += 1
    assert steps >= 1


@pytest.mark.redis
@pytest.mark.parametrize("limit", [0, 2])
@pytest.mark.parametrize("grace", [0, 3000])
@pytest.mark.parametrize("anonymous", ["anonymous", "sess-1-" + 38 * "0"])
async def test_a_crash_before_each_step_of_a_login(
    anonymous: str, grace: float, limit: int, calm_cluster: ClusterServers, cluster_url: str
) -> None:
    """A known id opens one session at the most; what is left is not listed, counts against no limit and ends soon."""
    steps, outcomes = 0, set()
    new_id = f"sess-2-{32 * '0'}{user_tag('box', USER)}"
    options: dict[str, Any] = {"user_id": USER, "metadata": {"role": "admin"}, "limit": limit}
    while True:
        for node in calm_cluster.nodes:
            node.flush()
        store = RedisSessionStore(Client(cluster_url), "box")
        for session_id in ("one", "two"):
            await store.create(session_id, USER, HOUR, {})
        await store.create(anonymous, None, HOUR, {"cart": ["book"]})
        login = lambda store: store.renew(anonymous, new_id, grace, **options)  # noqa: E731
        crashed = await crash_after(cluster_url, steps, login)

        listed = {session_id for session_id, _ in await store.list_user(USER)}
        left = [record for record in living(calm_cluster) if unlisted(record, listed)]
        assert len(left) <= 1
        for record in left:
            node = calm_cluster.owner_of(slot_of(record["key"]))
            assert 0 < int(str(node.command("PTTL", record["key"]))) <= 60_000
        assert len(listed) <= (limit or 3)
        opened = await store.read(anonymous)
        after = await store.read(new_id)
        if opened is not None:
            assert opened.metadata["cart"] == ["book"]
            outcomes.add("as it was" if opened.user_id is None else "an alias")
            assert opened.user_id is None or opened.current_id == new_id
        if not crashed:
            assert after is not None
            assert after.metadata == {"cart": ["book"], "role": "admin"}
            assert new_id in listed
            assert len(listed) == (limit or 3)
        # Whoever logs in again gets a session of his own, and the user no more than the limit.
        again = await store.renew(anonymous, renewed_id(new_id, 1767225600), grace, **options)
        assert (again is None) == (opened is None)
        assert len(await store.list_user(USER)) <= (limit or 3)
        await store.delete_user(USER, frozenset())
        assert await store.list_user(USER) == []
        if not crashed:
            break
        steps += 1
    assert steps >= 4
    assert "as it was" in outcomes
    assert ("an alias" in outcomes) == (grace > 0)


def unlisted(record: dict[str, str], listed: set[str]) -> bool:
    return record["key"].rpartition(":")[2] not in listed
