"""The Sentinel and Cluster deployments that other tests build on: they work as real ones, and end without a trace."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from tests.support.cluster_servers import BUS_OFFSET, ClusterNode, ClusterServers, slot_of
from tests.support.helpers import is_gone, wait_until
from tests.support.sentinel_servers import MASTER_NAME, SentinelServers
from tests.support.servers import PORTS, ExternalServer, RedisServer, ReplyError, ServerError
from tests.support.tls_files import make_tls_files

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.redis

# Sentinel writes passwords of others into its settings as they are, so that one with a space would stop its restart.
PASSWORD = "p@ss:/#?%\\ä"
LOGIN = "p%40ss%3A%2F%23%3F%25%5C%C3%A4"


def replicas_of(group: SentinelServers) -> list[RedisServer]:
    return [server for server in group.servers if server is not group.master]


# -- Sentinel --------------------------------------------------------------------------------------------------


def test_a_sentinel_deployment_is_ready_once_it_is_started() -> None:
    with SentinelServers(replicas=2) as group:
        ports = ",".join(f"127.0.0.1:{sentinel.port}" for sentinel in group.sentinels)
        assert group.url == f"redis://{ports}/mymaster"
        assert group.url_for("al ice", "", 3) == f"redis://al%20ice:@{ports}/mymaster/3"
        master = group.master
        assert {sentinel.master_port() for sentinel in group.sentinels} == {master.port}
        assert master.info("replication")["connected_slaves"] == "2"
        assert len(group.sentinels[2].about("REPLICAS")) == len(group.sentinels[0].about("SENTINELS")) == 2
        master.command("SET", "k", "v")
        wait_until(lambda: [replica.command("GET", "k") for replica in replicas_of(group)] == ["v", "v"])
        with pytest.raises(ReplyError, match="READONLY"):
            replicas_of(group)[0].command("SET", "k", "w")


def test_a_killed_master_is_replaced_and_comes_back_as_a_replica(sentinels: SentinelServers) -> None:
    old = sentinels.master
    old.commands(("SET", "k", "v"), ("WAIT", "1", "5000"))
    old.kill()
    new = sentinels.wait_for_promotion(old)
    assert new is not old
    assert new.command("GET", "k") == "v"
    assert new.command("SET", "k", "w") == "OK"
    sentinels.wait_until_synced()
    assert sentinels.master is new
    sentinels.revive()
    assert (sentinels.master, replicas_of(sentinels)) == (new, [old])
    assert old.command("GET", "k") == "w"


def test_a_silent_master_is_replaced_too(sentinels: SentinelServers) -> None:
    old = sentinels.master
    old.pause()
    new = sentinels.wait_for_promotion(old)
    assert (sentinels.master, old.running, new.running) == (new, False, True)
    sentinels.revive()
    assert old.command("ROLE", timeout=1)[:3] == ["slave", new.host, new.port]  # type: ignore[index]


def test_without_a_master_there_is_none_to_give(sentinels: SentinelServers) -> None:
    sentinels.master.kill()
    with pytest.raises(ServerError, match=r"no Sentinel names(.|\n)*SentinelServer 127.0.0.1:\d+>, running: True"):
        _ = sentinels.master


def test_a_failover_by_order_demotes_the_old_master(sentinels: SentinelServers) -> None:
    old = sentinels.master
    new = sentinels.failover()
    assert sentinels.master is new is not old
    with pytest.raises(ReplyError, match="READONLY"):
        old.command("SET", "k", "v")
    sentinels.wait_until_synced()
    assert sentinels.failover() is old


def test_two_sentinels_of_three_are_enough(sentinels: SentinelServers) -> None:
    old = sentinels.master
    sentinels.sentinels[0].kill()
    old.kill()
    assert sentinels.wait_for_promotion(old) is not old
    sentinels.revive()
    assert all(sentinel.running for sentinel in sentinels.sentinels)


def refused(url: str, *parts: str) -> str:
    with pytest.raises(ReplyError) as caught:
        ExternalServer(url).command(*parts)
    return str(caught.value).split()[0]


def test_sentinels_and_data_servers_ask_for_different_logins() -> None:
    with SentinelServers(users={"alice": PASSWORD}, sentinel_user="watcher", sentinel_password="w@tch") as group:
        assert group.url.startswith(f"redis://alice:{LOGIN}@127.0.0.1:")
        assert group.url.endswith("/mymaster?sentinel_username=watcher&sentinel_password=w%40tch")
        sentinel, master = group.sentinels[0], group.master
        ask = "SENTINEL", "MASTERS"
        assert ExternalServer(sentinel.url).command(*ask)
        assert refused(sentinel.url_for(), *ask) == "NOAUTH"
        assert refused(sentinel.url_for("alice", PASSWORD), *ask) == "WRONGPASS"
        assert ExternalServer(master.url).command("ACL", "WHOAMI") == "alice"
        assert refused(master.url_for(), "PING") == "NOAUTH"
        assert refused(master.url_for("watcher", "w@tch"), "PING") == "WRONGPASS"
        fail_over_and_back(group)


def test_passwords_alone() -> None:
    with SentinelServers(password=PASSWORD, sentinel_password="w@tch") as group:
        assert group.url.startswith(f"redis://:{LOGIN}@127.0.0.1:")
        assert group.url.endswith("/mymaster?sentinel_password=w%40tch")
        assert refused(group.master.url_for(), "PING") == "NOAUTH"
        assert refused(group.sentinels[0].url_for(), "PING") == "NOAUTH"
        fail_over_and_back(group)


def fail_over_and_back(group: SentinelServers) -> None:
    """All of them must know each other's logins for this, a restarted Sentinel too."""
    old = group.master
    group.sentinels[1].restart()
    new = group.failover()
    group.revive()
    assert (group.master, replicas_of(group)) == (new, [old])


def test_sentinels_over_tls(tmp_path: Path) -> None:
    tls = make_tls_files(tmp_path, ask_clients=True)
    with SentinelServers(tls=tls, sentinel_password="w@tch") as group:
        assert group.url.startswith("rediss://127.0.0.1:")
        assert f"?sentinel_password=w%40tch&{tls.query}" in group.url
        assert group.failover().command("SET", "k", "v") == "OK"
        group.wait_until_synced()
        for server in (group.master, group.sentinels[0]):
            assert server.url.startswith(f"rediss://{':w%40tch@' if server.password else ''}127.0.0.1:")
            with pytest.raises(OSError, match=r"reset|closed"):
                ExternalServer(f"redis://127.0.0.1:{server.port}").command("PING")


# -- Cluster ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("key", "hashed"), [("{user}.a", "user"), ("a{}{b}", "a{}{b}"), ("a{{b}}c", "{b"), ("a{b}{c}", "b"), ("a{b", "a{b")]
)
def test_slots_are_as_the_specification_and_the_server_count_them(
    cluster: ClusterServers, key: str, hashed: str
) -> None:
    assert slot_of("123456789") == 0x31C3
    assert slot_of(key) == slot_of(f"x{{{hashed}}}" if "{" not in hashed else key)
    assert slot_of(key) == cluster.nodes[0].command("CLUSTER", "KEYSLOT", key)


def test_both_ports_of_a_node_are_below_those_of_outgoing_connections() -> None:
    with pytest.raises(ServerError, match="ClusterNode"):
        RedisServer("port 0", "cluster-enabled  yes")
    assert all(port + BUS_OFFSET in PORTS for port in ClusterNode.ports)
    with ClusterNode("cluster-enabled yes") as node:
        assert node.port in ClusterNode.ports
        assert node.claim().slots == frozenset()


def test_a_cluster_is_ready_once_it_is_started() -> None:
    with ClusterServers() as group:
        first = group.nodes[:3]
        assert group.url == "redis://" + ",".join(f"127.0.0.1:{node.port}" for node in first)
        assert len(group.masters) == 3
        assert len(group.nodes) == 6
        assert {node.cluster_info()["cluster_state"] for node in group.nodes} == {"ok"}
        assert sorted(len(master.claim().slots) for master in group.masters) == [5461, 5461, 5462]
        assert {master.info("replication")["connected_slaves"] for master in group.masters} == {"1"}


def test_a_key_is_moved_for_all_but_its_owner(cluster: ClusterServers) -> None:
    assert cluster.command("k", "SET", "k", "v") == "OK"
    owner = cluster.owner_of(slot_of("k"))
    assert owner.command("GET", "k") == "v"
    for node in cluster.nodes:
        if node is not owner:
            with pytest.raises(ReplyError, match=f"MOVED {slot_of('k')} 127.0.0.1:{owner.port}"):
                node.command("GET", "k")


def test_a_slot_on_its_way_answers_ask_and_tryagain(cluster: ClusterServers) -> None:
    slot, one, two = slot_of("{t}1"), "{t}1", "{t}2"
    source, target = cluster.owner_of(slot), cluster.another_master(slot)
    source.command("MSET", one, "1", two, "2")
    cluster.migrate_begin(slot, target)
    ask = f"ASK {slot} 127.0.0.1:{target.port}"
    assert source.command("MGET", one, two) == ["1", "2"]
    with pytest.raises(ReplyError, match=ask):
        source.command("GET", "{t}new")

    assert cluster.migrate_keys(slot, target, count=1) == 1
    with pytest.raises(ReplyError, match=f"TRYAGAIN|{ask}"):  # ASK by Redis 6.2
        source.command("MGET", one, two)
    with pytest.raises(ReplyError, match="TRYAGAIN"):
        target.commands(("ASKING",), ("MGET", one, two))
    with pytest.raises(ReplyError, match=f"MOVED {slot} 127.0.0.1:{source.port}"):
        target.command("GET", one)

    assert cluster.migrate_keys(slot, target) == 1
    assert target.commands(("ASKING",), ("MGET", one, two)) == ["OK", ["1", "2"]]
    cluster.migrate_end(slot, target)
    assert cluster.owner_of(slot) is target
    assert target.command("MGET", one, two) == ["1", "2"]
    with pytest.raises(ReplyError, match="MOVED"):
        source.command("GET", one)


def test_a_slot_moves_with_all_its_keys_there_and_back(cluster: ClusterServers) -> None:
    slot = slot_of("{m}")
    source, target = cluster.owner_of(slot), cluster.another_master(slot)
    for number in range(250):
        source.command("SET", f"{{m}}{number}", "v")
    for there in (target, source):
        assert cluster.migrate(slot, there) == 250
        assert there.command("CLUSTER", "COUNTKEYSINSLOT", str(slot)) == 250
        cluster.wait_until_ok()
    assert source.command("DBSIZE") == 250
    assert target.command("DBSIZE") == 0


def test_a_killed_master_of_the_cluster_is_replaced(cluster: ClusterServers) -> None:
    slot = slot_of("k")
    old = cluster.owner_of(slot)
    old.commands(("SET", "k", "v"), ("WAIT", "1", "5000"))
    old.kill()
    with pytest.raises(ServerError, match=rf"no running node owns slot {slot}(.|\n)*{old.port}>, running: False"):
        cluster.owner_of(slot)
    for master in cluster.masters:
        assert master.cluster_info()["cluster_state"] == "ok"

    new = cluster.wait_for_promotion(old)
    assert new.command("GET", "k") == "v"
    cluster.wait_until_ok()
    assert (len(cluster.masters), cluster.owner_of(slot)) == (3, new)
    cluster.revive()
    assert cluster.owner_of(slot) is new
    assert old.claim().flags == {"myself", "slave"}
    with pytest.raises(ReplyError, match="MOVED"):
        old.command("GET", "k")


def test_a_silent_master_of_the_cluster_is_replaced_too(cluster: ClusterServers) -> None:
    old = cluster.owner_of(0)
    old.pause()
    new = cluster.wait_for_promotion(old)
    cluster.revive()
    assert cluster.owner_of(0) is new


def test_with_full_coverage_no_slot_is_served_while_one_is_lost() -> None:
    with ClusterServers(replicas=0, full_coverage=True, node_timeout_ms=300) as group:
        lost, other = group.owner_of(0), group.owner_of(16383)
        lost.kill()
        group.wait(lambda: other.cluster_info()["cluster_state"] == "fail", "a cluster that is down")
        with pytest.raises(ReplyError, match="CLUSTERDOWN"):
            other.command("GET", "k")


@pytest.mark.parametrize("users", [{}, {"alice": PASSWORD}], ids=["password", "user"])
def test_a_cluster_that_asks_for_a_login(users: dict[str, str]) -> None:
    with ClusterServers(password="" if users else PASSWORD, users=users) as group:
        assert group.url.startswith(f"redis://{''.join(users)}:{LOGIN}@127.0.0.1:")
        assert refused(group.nodes[0].url_for(), "PING") == "NOAUTH"
        group.command("k", "SET", "k", "v")
        assert group.migrate(slot_of("k"), group.another_master(slot_of("k"))) == 1
        assert group.command("k", "GET", "k") == "v"


def test_a_cluster_over_tls(tmp_path: Path) -> None:
    tls, slot = make_tls_files(tmp_path, ask_clients=False), slot_of("k")
    with ClusterServers(tls=tls, password=PASSWORD) as group:
        hosts = ",".join(f"127.0.0.1:{node.port}" for node in group.nodes[:3])
        assert group.url == f"rediss://:{LOGIN}@{hosts}?{tls.query}"
        source, target = group.owner_of(slot), group.another_master(slot)
        source.command("SET", "k", "v")
        assert group.migrate(slot, target) == 1
        with pytest.raises(ReplyError, match=f"MOVED {slot} 127.0.0.1:{target.port}"):
            source.command("GET", "k")


# -- both ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [SentinelServers, ClusterServers])
def test_they_leave_nothing_behind(kind: type[SentinelServers | ClusterServers]) -> None:
    """Neither a process nor a folder, of one that was killed or paused neither."""
    group = kind().start()
    left = [(member.pid, member.folder) for member in group.members]
    with pytest.raises(ServerError, match="started already"):
        group.start()
    group.members[0].kill()
    group.members[1].pause()
    group.stop()
    assert all(is_gone(pid) and not folder.exists() for pid, folder in left)
    assert not group.members
    group.stop()


@pytest.mark.parametrize("kind", [SentinelServers, ClusterServers])
def test_a_start_that_fails_shows_the_log_and_leaves_nothing(kind: type[SentinelServers | ClusterServers]) -> None:
    group = kind("no-such-option yes")
    with pytest.raises(ServerError, match="no-such-option"):
        group.start()
    assert not group.members


def test_waiting_in_vain_says_for_what_and_shows_the_logs(sentinels: SentinelServers) -> None:
    started = time.monotonic()
    with pytest.raises(ServerError, match=r"not within 0.1 s: rain; last answer: no\n--- <RedisServer") as caught:
        sentinels.wait(lambda: False, "rain", seconds=0.1)
    assert time.monotonic() - started < 5
    assert all(repr(member) in str(caught.value) for member in sentinels.members)
    with pytest.raises(ServerError, match="last answer: ERR No such master"):
        sentinels.wait(
            lambda: sentinels.sentinels[0].command("SENTINEL", "MASTER", f"not-{MASTER_NAME}"), "x", seconds=0
        )
