"""The rights in docs/operate/production.md are enough for all that we send, and none of them is there without need."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from os import urandom
from typing import Any

import pytest

from chuk_sessions import SessionManager
from chuk_sessions.exceptions import NoPermissionError, ProviderError, SessionError
from chuk_sessions.ids import session_key
from chuk_sessions.providers import redis
from chuk_sessions.providers.redis.index import UserIndex
from chuk_sessions.providers.redis.legacy.store import LegacyReadingStore
from chuk_sessions.providers.redis.store import RedisSessionStore
from chuk_sessions.providers.redis.transfer.move import TAKE
from chuk_sessions.redis_client.client import Client
from chuk_sessions.redis_client.slots import slot_of
from tests.support import published
from tests.support.cluster_servers import ClusterServers
from tests.support.meddler import Meddler
from tests.support.pages import page
from tests.support.places import ClusterPlace
from tests.support.sentinel_servers import SentinelServers
from tests.support.servers import Server, login_part

pytestmark = pytest.mark.redis

PRODUCTION = page("docs/operate/production.md").text()


def rules(pattern: str) -> list[str]:
    """The rules that a pattern finds in docs/operate/production.md."""
    found = re.search(pattern, PRODUCTION)
    assert found is not None, pattern
    return found[1].split()


RULES = rules(r"\nuser app on >password (.+)\n")
SENTINEL_RULES = rules(r"Add `([^`]+)` with Sentinel")
CLUSTER_RULES = rules(r"with Sentinel,\s+`([^`]+)` with Cluster")
PROVIDER_RULES = rules(r"with Cluster, and `([^`]+)` and your own key patterns for the provider")
LEGACY_RULES = rules(r"`SESSION_LEGACY_READ` needs `([^`]+)` besides")
NEAR_RULES = rules(r"near cache\]\(near-cache.md\) needs `([^`]+)`")
RULES_AT_SENTINELS = rules(r"The login at the\s+Sentinels needs `([^`]+)`")
OPTIONAL = "+ping"


@contextmanager
def user(servers: Iterable[Server], rules: Iterable[str], name: str = "app") -> Iterator[None]:
    """There with these rights, and nothing else, until the end."""
    servers = list(servers)
    for server in servers:
        server.command("ACL", "SETUSER", name, "reset", "on", ">password", *rules)
    try:
        yield
    finally:
        for server in servers:
            server.command("ACL", "DELUSER", name)


def without(rules: list[str]) -> list[Any]:
    """For each rule the others, as parameters."""
    return [pytest.param([other for other in rules if other != rule], id=rule) for rule in rules if rule != OPTIONAL]


def is_refusal(error: BaseException | None) -> bool:
    """Whether the user was refused something: a command, or what a new connection begins with."""
    return isinstance(error, NoPermissionError) or (error is not None and is_refusal(error.__cause__))


async def use_everything(url: str, server: Server) -> None:
    """Every operation of sessions, in every way that sends other commands; raises the first refusal."""
    factory = redis.factory(url)
    manager = SessionManager("box", factory, strict=True)
    server.command("SCRIPT", "FLUSH")
    try:
        session_id = await manager.allocate_session(user_id="alice", custom_metadata={"a": 1, "b": 2})
        assert await manager.validate_session(session_id)
        assert await manager.open_session(session_id, owner="alice")
        assert await manager.update_session_metadata(session_id, {"c": 3})
        assert await manager.increment_session_metadata(session_id, "n", 2) == 2
        assert await manager.increment_session_metadata(session_id, "n") == 3
        assert await manager.update_session_metadata(session_id, {"a": 1}, remove=["b", "c"])
        assert await manager._store.update(session_id, {"a": 1}, replace=True)
        assert await manager.extend_session_ttl(session_id, 1)
        info = await manager.get_session_info(session_id)
        assert info is not None
        assert info["custom_metadata"] == {"a": 1}
        seldom = SessionManager("box", factory, strict=True, touch_interval=10)
        assert await seldom.validate_session(session_id)
        assert await seldom.validate_session(session_id)
        assert await seldom.open_session(session_id)
        assert await manager.delete_session(session_id)
        assert not await manager.validate_session(session_id)
        assert not await manager.update_session_metadata(session_id, {"c": 3})
        await use_the_lifecycle(url)
    except SessionError as exc:
        refusal = exc.__cause__ or exc
        raise refusal from refusal.__cause__


async def use_the_lifecycle(url: str) -> None:
    """All that needs the index of users, also for sessions that are in another slot than that."""
    factory, sandbox = redis.factory(url), urandom(4).hex()  # a refusal elsewhere may have left sessions
    manager = SessionManager(sandbox, factory, strict=True, max_sessions_per_user=2, idle_ttl_minutes=10)
    seldom = SessionManager(sandbox, factory, strict=True, touch_interval=60)
    for chosen in (None, "my-id", None, "my-other-id"):
        session_id = await manager.allocate_session(chosen, "alice", 1, {"b": 1})
        assert await manager.validate_session(session_id)
        assert await manager.increment_session_metadata(session_id, "b") == 2
        assert await manager.extend_session_ttl(session_id, 1)
        assert await manager.set_session_ttl(session_id, 0.5)
        new_id = await manager.renew_session(session_id, 60)
        assert new_id is not None
        assert await seldom.validate_session(session_id)
        assert await manager.open_session(session_id, owner="alice")
        assert await manager.get_session_info(session_id)
        assert await manager.allocate_session(session_id, "alice") == session_id
        nobodys = await manager.allocate_session(chosen and f"{chosen}-2")
        assert await manager.renew_session(nobodys, 1, user_id="bob", custom_metadata={"b": 2})
    assert await manager.delete_user_sessions("bob") == 2
    assert len(await manager.list_user_sessions("alice")) == 2
    assert await manager.count_sessions() == 2
    assert len([info async for info in manager.iter_sessions()]) == 2
    assert await manager.delete_session(session_id)  # by its alias
    await begin_and_die(url, sandbox)
    assert await manager.delete_user_sessions("alice") == 1


async def begin_and_die(url: str, sandbox: str) -> None:
    """What a process leaves that goes between the two steps of an allocation."""
    client = Client(url)
    await UserIndex(client, sandbox)._file(session_key(sandbox, "lost"), "alice", 60_000_000, 0, client.begin())


def url_of(server: Server, options: str = "client_name=shop") -> str:
    return f"{server.url_for('app', 'password', db=1)}?{options}"


@pytest.mark.parametrize("protocol", [2, 3])
async def test_the_rules_are_enough_for_sessions(redis_server: Server, protocol: int) -> None:
    with user([redis_server], RULES):
        await use_everything(url_of(redis_server, f"client_name=shop&protocol={protocol}"), redis_server)


@pytest.mark.parametrize("rules", without(RULES))
async def test_each_rule_is_needed(redis_server: Server, rules: list[str]) -> None:
    with user([redis_server], rules), pytest.raises(ProviderError) as caught:
        await use_everything(url_of(redis_server), redis_server)
    assert is_refusal(caught.value)


async def test_without_ping_the_refusal_is_the_answer(redis_server: Server) -> None:
    with user([redis_server], [rule for rule in RULES if rule != OPTIONAL]):
        await use_everything(url_of(redis_server), redis_server)


async def test_without_the_options_their_rules_are_not_needed(redis_server: Server) -> None:
    with user([redis_server], [rule for rule in RULES if rule not in ("+client|setname", "+select")]):
        await use_everything(redis_server.url_for("app", "password"), redis_server)


async def use_values(url: str) -> None:
    async with redis.factory(url)() as session:
        await session.setex("cache:k", 60, "v")
        assert await session.get("cache:k") == "v"
        assert await session.delete("cache:k")
        await session.setex("cache:k", 0, "v")


async def test_the_rules_are_enough_for_the_provider_api(redis_server: Server) -> None:
    with user([redis_server], [*RULES, *PROVIDER_RULES, "~cache:*"]):
        await use_values(url_of(redis_server))


@pytest.mark.parametrize("rules", without(PROVIDER_RULES))
async def test_each_rule_of_the_provider_api_is_needed(redis_server: Server, rules: list[str]) -> None:
    with user([redis_server], [*RULES, *rules, "~cache:*"]), pytest.raises(NoPermissionError):
        await use_values(url_of(redis_server))


# -- Near cache ------------------------------------------------------------------------------------------------


async def near_hits(url: str) -> float:
    """How many of some reads a near cache answers."""
    factory = redis.factory(url)
    manager = SessionManager("box", factory, touch_interval=60, near_cache=60, strict=True)
    session_id = await manager.allocate_session()
    for _ in range(10):
        assert await manager.get_session_info(session_id) is not None
    return factory.stats()["near_hits"]


async def test_the_rules_are_enough_for_a_near_cache(redis_server: Server) -> None:
    with user([redis_server], [*RULES, *NEAR_RULES]):
        assert await near_hits(url_of(redis_server, "client_name=near-enough")) >= 6
        await use_everything(url_of(redis_server, "client_name=near-enough"), redis_server)


@pytest.mark.parametrize("rules", without(NEAR_RULES))
async def test_each_rule_of_a_near_cache_is_needed(redis_server: Server, rules: list[str]) -> None:
    """Without it all goes on, and nothing is kept."""
    with user([redis_server], [*RULES, *rules]):
        assert (
            await near_hits(
                url_of(
                    redis_server, f"client_name=near-{'-'.join(rule.strip('+').rpartition('|')[2] for rule in rules)}"
                )
            )
            == 0
        )


# -- Sentinel --------------------------------------------------------------------------------------------------


async def use_through_sentinels(group: SentinelServers, rules: list[str], sentinel_rules: list[str]) -> None:
    login = "sentinel_username=watcher&sentinel_password=password"
    with user(group.servers, rules), user(group.sentinels, sentinel_rules, "watcher"):
        url = f"{group.url_for('app', 'password')}?{login}"
        await use_everything(url, group.servers[0])


async def test_the_rules_are_enough_through_sentinels(calm_sentinels: SentinelServers) -> None:
    await use_through_sentinels(calm_sentinels, [*RULES, *SENTINEL_RULES], RULES_AT_SENTINELS)


@pytest.mark.parametrize("rules", without(SENTINEL_RULES))
async def test_each_rule_is_needed_through_sentinels(calm_sentinels: SentinelServers, rules: list[str]) -> None:
    with pytest.raises(ProviderError, match="NOPERM"):
        await use_through_sentinels(calm_sentinels, [*RULES, *rules], RULES_AT_SENTINELS)


@pytest.mark.parametrize("rules", without(RULES_AT_SENTINELS))
async def test_each_rule_at_the_sentinels_is_needed(calm_sentinels: SentinelServers, rules: list[str]) -> None:
    with pytest.raises(ProviderError, match="NOPERM"):
        await use_through_sentinels(calm_sentinels, [*RULES, *SENTINEL_RULES], rules)


# -- Cluster ---------------------------------------------------------------------------------------------------


async def use_while_a_slot_moves(cluster: ClusterServers, rules: list[str]) -> None:
    slot = slot_of(session_key("box", "chosen"))
    target = cluster.another_master(slot)
    with user(cluster.nodes, rules):
        url = cluster.url.replace("redis://", f"redis://{login_part('app', 'password')}") + "?socket_timeout=0.5"
        await use_everything(url, cluster.nodes[0])
        manager = SessionManager("box", redis.factory(url), strict=True)
        cluster.migrate_begin(slot, target)
        try:
            assert await manager.allocate_session("chosen") == "chosen"  # where the slot is to go
            assert await manager.validate_session("chosen")
        except SessionError as exc:
            raise exc.__cause__ or exc from None
        finally:
            cluster.migrate_end(slot, target)


async def test_the_rules_are_enough_in_a_cluster(cluster: ClusterServers) -> None:
    await use_while_a_slot_moves(cluster, [*RULES, *CLUSTER_RULES])


@pytest.mark.parametrize("rules", without(CLUSTER_RULES))
async def test_each_rule_is_needed_in_a_cluster(cluster: ClusterServers, rules: list[str]) -> None:
    """Without ``asking``, a server that a slot moves to sends its commands back, until time is up."""
    with pytest.raises(ProviderError):
        await use_while_a_slot_moves(cluster, [*RULES, *rules])


async def use_legacy_read(url: str, place: Server) -> None:
    """Taking over, a change meanwhile included, and ending; raises the first refusal."""
    place.command("SCRIPT", "FLUSH")
    published.put(place, "id")
    text = str(place.command("GET", "session:id"))
    client = Meddler(url, TAKE, lambda: place.command("SETEX", "session:id", "100", text + " "))
    store = LegacyReadingStore(RedisSessionStore(client, "box"), client, "box")
    assert await store.touch("id", 0)
    assert await store.delete("id")
    place.command("SETEX", "session:id", "100", text)
    assert not await store.touch("id", 0)
    assert not published.is_there(place, "id")


async def test_legacy_read_in_a_cluster(calm_cluster: ClusterServers, cluster_url: str) -> None:
    place = ClusterPlace(calm_cluster)
    with user(calm_cluster.nodes, [*RULES, *CLUSTER_RULES, *LEGACY_RULES]):
        await use_legacy_read(calm_cluster.url_for("app", "password"), place)


@pytest.mark.parametrize("rules", without(LEGACY_RULES))
async def test_each_rule_of_legacy_read_is_needed(
    calm_cluster: ClusterServers, cluster_url: str, rules: list[str]
) -> None:
    place = ClusterPlace(calm_cluster)
    with user(calm_cluster.nodes, [*RULES, *CLUSTER_RULES, *rules]), pytest.raises(NoPermissionError):
        await use_legacy_read(calm_cluster.url_for("app", "password"), place)


@pytest.mark.parametrize("lacking", [rule for rule in LEGACY_RULES if rule != "~taken:*"])
async def test_a_right_that_legacy_read_lacks_is_told_and_is_no_logout(
    redis_server: Server, redis_url: str, lacking: str
) -> None:
    published.put(redis_server, "id")
    with user([redis_server], [*RULES, *(rule for rule in LEGACY_RULES if rule != lacking)]):
        client = Client(redis_server.url_for("app", "password"))
        store = LegacyReadingStore(RedisSessionStore(client, "box"), client, "box")
        with pytest.raises(NoPermissionError):
            await take_over_and_end(store)


async def take_over_and_end(store: LegacyReadingStore) -> None:
    assert await store.touch("id", 0)
    assert await store.delete("id")
