"""``check``: each point of the production checklist, on servers that keep it and on servers that do not."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

import pytest

from chuk_sessions.cli import check as checklist
from chuk_sessions.cli import main as cli
from chuk_sessions.cli.check import Finding, Level, check
from chuk_sessions.exceptions import ProviderError
from chuk_sessions.redis_client.client import Client
from tests.support.helpers import eventually
from tests.support.pages import page
from tests.support.peer import peer
from tests.support.servers import RedisServer

if TYPE_CHECKING:
    from chuk_sessions.redis_client.master import Master
    from tests.support.cluster_servers import ClusterServers
    from tests.support.sentinel_servers import SentinelServers
    from tests.support.servers import Server

pytestmark = pytest.mark.redis
LISTPACKS = ("hash-max-ziplist-value 512",)
GOOD = ("appendonly yes", "maxmemory 200mb", "maxmemory-policy noeviction", *LISTPACKS)


async def findings_of(url: str) -> dict[str, Finding]:
    return {finding.name: finding for finding in await check(Client(url))}


async def server_at(url: str) -> Master:
    (server,) = await Client(url).masters()
    return server


def documented_rights() -> str:
    """Those that the documentation gives the application, as a line of redis.conf has them."""
    rules = re.search(r"user app on >password ([^`\n]+)\n", page("docs/operate/production.md").text())
    assert rules
    return rules[1]


@pytest.fixture(autouse=True)
def any_speed(monkeypatch: pytest.MonkeyPatch) -> None:
    """How fast the line is here is no matter of these tests."""
    monkeypatch.setattr(checklist, "SLOW", 1e9)


async def test_a_good_server() -> None:
    """All is well: one line each, and nothing to do; nothing is left behind."""
    with RedisServer(*GOOD, users={"app": "pass-word"}) as server:
        found = await findings_of(server.url_for("app", "pass-word"))
        assert [name for name, finding in found.items() if finding.level is not Level.OK] == []
        assert not any(finding.advice for finding in found.values())
        assert server.command("DBSIZE") == 0


BAD = {
    "maxmemory-policy": (("maxmemory-policy allkeys-lru",), Level.FAIL, "noeviction"),
    "memory": (("maxmemory 0",), Level.WARN, "set maxmemory"),
    "persistence": (("appendonly no",), Level.WARN, "appendonly yes"),
    "hash-max-listpack-value": (("hash-max-ziplist-value 64",), Level.WARN, "512"),
    "zset-max-listpack-value": (("zset-max-ziplist-value 63",), Level.WARN, "64"),
    "user": ((), Level.WARN, "a user with a password"),
}


@pytest.mark.parametrize("name", BAD)
async def test_what_to_do(name: str) -> None:
    """Each fault for itself: the finding names the value, and what to do."""
    settings, level, advice = BAD[name]
    with RedisServer(*GOOD, *settings) as server:
        found = await findings_of(server.url)
    finding = found.get(name) or found[name.replace("listpack", "ziplist")]
    assert finding.level is level
    assert advice in finding.advice
    others = {each.name for each in found.values() if each.level is not Level.OK} - {finding.name}
    assert others <= {"user"}


async def test_a_sentinel_taken_for_the_server(calm_sentinels: SentinelServers) -> None:
    """Only that is said, with the URL to use; the rest would fail for it."""
    (sentinel, *_) = calm_sentinels.sentinels
    found = await findings_of(f"redis://{sentinel.host}:{sentinel.port}")
    assert list(found) == ["version", "URL"]
    assert found["URL"].level is Level.FAIL
    assert found["URL"].advice.endswith(f"redis://HOST:26379/{calm_sentinels.url.rpartition('/')[2]}")


async def test_one_server_of_a_cluster_taken_for_all(calm_cluster: ClusterServers) -> None:
    url = f"redis://{calm_cluster.nodes[0].host}:{calm_cluster.nodes[0].port}"
    found = await findings_of(url)
    assert list(found) == ["version", "URL"]
    assert "?cluster=true" in found["URL"].advice
    assert "URL" not in await findings_of(f"{url}?cluster=true")


@pytest.mark.parametrize("name", ["redis_mode", "server_mode"])
async def test_the_mode_by_the_names_of_redis_and_of_valkey(name: str, redis_url: str) -> None:
    """Valkey 8 and newer call it otherwise; the server that runs here tells one of the two."""
    server = await server_at(redis_url)
    for mode, what in (("sentinel", "a Sentinel"), ("cluster", "one server of a cluster")):
        finding = checklist._misled(server, {name: mode})
        assert finding is not None
        assert finding.value == f"leads to {what}"
    assert checklist._misled(server, {name: "standalone"}) is None


async def test_persistence_without_a_sync() -> None:
    with RedisServer(*GOOD, "appendfsync no") as server:
        finding = (await findings_of(server.url))["persistence"]
    assert finding.level is Level.WARN
    assert "appendfsync everysec" in finding.advice


async def test_a_full_server() -> None:
    """Nearly full is a warning; full is a failure of the calls, in the server's words."""
    with RedisServer(*GOOD) as server:
        used = int(server.info("memory")["used_memory"])
        server.command("CONFIG", "SET", "maxmemory", str(int(used * 1.1)))
        assert (await findings_of(server.url))["memory"].level is Level.WARN
        server.command("CONFIG", "SET", "maxmemory", "1")
        found = await findings_of(server.url)
    assert found["commands"].level is Level.FAIL
    assert "OOM" in found["commands"].value


async def test_a_replica() -> None:
    """It has the sessions and takes no writes."""
    with RedisServer() as master, RedisServer(f"replicaof 127.0.0.1 {master.port}") as replica:
        found = await findings_of(replica.url)
    assert found["role"].level is Level.FAIL
    assert "master" in found["role"].advice
    assert found["commands"].level is Level.FAIL


@pytest.mark.parametrize("denied", ["evalsha", "hgetall", "unlink", "rename", "zadd", "zrangebyscore"])
async def test_a_user_that_lacks_a_command(denied: str) -> None:
    with RedisServer(f"user limited on >pass-word ~* +@all -{denied}") as server:
        finding = (await findings_of(server.url_for("limited", "pass-word")))["commands"]
    assert finding.level is Level.FAIL
    assert "ACL SETUSER" in finding.advice
    assert "pass-word" not in str(finding)


async def test_a_setting_in_an_unknown_shape() -> None:
    """The error names the command that was answered so."""

    def rule(data: bytes) -> bytes:
        commands = data.split(b"*")[1:]
        return b"".join(b"*1\r\n$1\r\nx\r\n" if b"CONFIG" in each else b"+PONG\r\n" for each in commands)

    async with peer(rule) as address:
        with pytest.raises(ProviderError, match="the reply to CONFIG GET"):
            await checklist._setting(await server_at(f"redis://{address}"), "maxmemory")


async def test_the_user_of_the_readme() -> None:
    """A user with rights for sessions alone has all that it needs."""
    with RedisServer(*GOOD, f"user app on >password {documented_rights()}") as server:
        found = await findings_of(server.url_for("app", "password"))
    assert found["commands"].level is Level.OK
    assert found["provider API"].level is Level.UNKNOWN
    assert not {Level.FAIL, Level.WARN} & {finding.level for finding in found.values()}


async def test_a_user_that_may_have_no_near_cache() -> None:
    """A line of its own, which is no failure, names the rights; each of the three is needed."""
    with RedisServer(*GOOD, f"user app on >password {documented_rights()}") as server:
        url = server.url_for("app", "password")
        for given in (
            (),
            ("+client|tracking", "+client|caching"),
            ("+hrandfield", "-client|caching"),
            ("-client|tracking", "+client|caching", "+hrandfield"),
        ):
            if given:
                server.command("ACL", "SETUSER", "app", *given)
            finding = (await findings_of(url))["near cache"]
            assert finding.level is Level.UNKNOWN
            assert "NOPERM" in finding.value
            assert "give the user +client|tracking +client|caching +hrandfield (ACL SETUSER)" in finding.advice
            if given and server.version.startswith("6"):  # cannot take a subcommand back
                break
        server.command("ACL", "SETUSER", "app", "+client|tracking", "+client|caching", "+hrandfield")
        assert (await findings_of(url))["near cache"].level is Level.OK


async def test_a_user_that_may_not_look_for_published_sessions(monkeypatch: pytest.MonkeyPatch) -> None:
    """With SESSION_LEGACY_READ, the documented rights are too few: the finding names those that are missing."""
    monkeypatch.setenv("SESSION_LEGACY_READ", "1")
    with RedisServer(*GOOD, f"user app on >password {documented_rights()}") as server:
        url = server.url_for("app", "password")
        finding = (await findings_of(url))["SESSION_LEGACY_READ"]
        assert finding.level is Level.FAIL
        assert finding.advice == "give the user +get ~ended:* (ACL SETUSER)"
        server.command("ACL", "SETUSER", "app", "+get", "~ended:*")
        assert (await findings_of(url))["SESSION_LEGACY_READ"].level is Level.OK


async def test_a_server_that_tells_nothing() -> None:
    """Unknown is not wrong: what cannot be seen is said, with what it should be."""
    with RedisServer(*GOOD, "user limited on >pw ~* +@all -info -config -acl") as server:
        found = await findings_of(server.url_for("limited", "pw"))
    unknown = {name for name, finding in found.items() if finding.level is Level.UNKNOWN}
    assert unknown >= {"version", "role", "maxmemory-policy", "memory", "persistence"}
    assert len(unknown) == 7
    for kind in ("hash", "zset"):  # by its name of today; the advice has the one of Redis 6.2
        assert f"in Redis 6.2 it is {kind}-max-ziplist-value" in found[f"{kind}-max-listpack-value"].advice
    assert all(found[name].advice for name in unknown)
    assert found["commands"].level is Level.OK


async def test_a_server_that_has_evicted_keys() -> None:
    """It says how many, and how to find sessions by their user again; also when the policy is right by now."""
    with RedisServer(*GOOD, "maxmemory-policy allkeys-random") as server:
        server.command("CONFIG", "SET", "maxmemory", "3mb")
        server.command("EVAL", "for i = 1, 50 do redis.call('SET', i, string.rep('x', 100000)) end", "0")
        await eventually(lambda: server.info("stats")["evicted_keys"] != "0")
        server.command("CONFIG", "SET", "maxmemory", "200mb")
        evicted = server.info("stats")["evicted_keys"]
        found = (await findings_of(server.url))["maxmemory-policy"]
        assert (found.level, found.value) == (
            Level.FAIL,
            f"allkeys-random, {evicted} keys evicted since it was started",
        )
        assert "noeviction" in found.advice
        assert "python -m chuk_sessions reindex URL" in found.advice
        server.command("CONFIG", "SET", "maxmemory-policy", "noeviction")
        found = (await findings_of(server.url))["maxmemory-policy"]
        assert (found.level, found.value) == (Level.WARN, f"noeviction, {evicted} keys evicted since it was started")
        assert "python -m chuk_sessions reindex URL" in found.advice


async def test_settings_without_config() -> None:
    """INFO tells the policy where CONFIG is refused."""
    with RedisServer(*GOOD, "user limited on >pw ~* +@all -config -acl +acl|whoami") as server:
        found = await findings_of(server.url_for("limited", "pw"))
    assert found["maxmemory-policy"].value == "noeviction"
    assert found["persistence"].value == "appendonly yes, appendfsync not told"


async def test_the_third_version_of_the_protocol() -> None:
    """Where replies have other shapes."""
    with RedisServer(*GOOD) as server:
        found = await findings_of(f"{server.url}?protocol=3")
    assert [name for name, finding in found.items() if finding.level is not Level.OK] == ["user"]


INFO = {
    "old": ({"redis_version": "6.0.16"}, Level.FAIL),
    "just new enough": ({"redis_version": "6.2.0"}, Level.OK),
    "new": ({"redis_version": "10.1.0-rc1"}, Level.OK),
    "valkey": ({"redis_version": "7.2.4", "valkey_version": "8.0.1"}, Level.OK),
    "not told": ({}, Level.UNKNOWN),
}


@pytest.mark.parametrize("name", INFO)
def test_versions(name: str) -> None:
    info, level = INFO[name]
    assert checklist._version(info).level is level


async def test_a_disk_that_fails(redis_url: str) -> None:
    finding = await checklist._persistence(
        await server_at(redis_url), {"aof_enabled": "1", "aof_last_write_status": "err"}
    )
    assert finding.level is Level.FAIL
    assert "disk" in finding.advice


async def test_a_slow_line(redis_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the measure of a line that is always slow."""
    monkeypatch.setattr(checklist, "SLOW", 0.0)
    finding = await checklist._latency(await server_at(redis_url), {})
    assert finding.level is Level.WARN
    assert "median" in finding.value


class TestCluster:
    """Every master is looked at: settings and users are each server's own."""

    async def test_what_is_the_same(self, calm_cluster: ClusterServers, cluster_url: str) -> None:
        """Is said once, and what is not with the server that it is of; nothing is left behind."""
        found = await check(Client(cluster_url))
        masters = {f"{node.host}:{node.port}" for node in calm_cluster.nodes}
        assert [each.servers for each in found if each.name in ("version", "role", "commands")] == [(), (), ()]
        latency = [each for each in found if each.name == "latency"]
        if len(latency) > 1:  # three times the same to a hundredth of a millisecond is one line, for all of them
            assert {server for each in latency for server in each.servers} == masters
        assert [each.value for each in found if each.name == "commands"] == ["every call works"]
        assert [node.command("KEYS", "*") for node in calm_cluster.nodes] == [[], [], []]

    async def test_one_that_differs(self, calm_cluster: ClusterServers, cluster_url: str) -> None:
        """It is named, whichever it is."""
        for node in calm_cluster.nodes:
            node.command("CONFIG", "SET", "maxmemory-policy", "allkeys-lru")
            try:
                found = [each for each in await check(Client(cluster_url)) if each.name == "maxmemory-policy"]
            finally:
                node.command("CONFIG", "SET", "maxmemory-policy", "noeviction")
            (failed,) = [each for each in found if each.level is Level.FAIL]
            assert failed.servers == (f"{node.host}:{node.port}",)
            assert len(found) == 2
            assert f"({node.host}:{node.port}): " in str(failed)

    async def test_permissions_of_one_server(self, calm_cluster: ClusterServers, cluster_url: str) -> None:
        """A user that lacks a command on one server only."""
        for node in calm_cluster.nodes:
            denied = "-hgetall" if node is calm_cluster.nodes[1] else "+hgetall"
            node.command("ACL", "SETUSER", "limited", "on", ">pw", "~*", "+@all", denied)
        try:
            found = await check(Client(calm_cluster.url_for("limited", "pw")))
        finally:
            for node in calm_cluster.nodes:
                node.command("ACL", "DELUSER", "limited")
        (failed,) = [each for each in found if each.name == "commands" and each.level is Level.FAIL]
        assert failed.servers == (f"127.0.0.1:{calm_cluster.nodes[1].port}",)

    async def test_the_rights_to_look_for_legacy_sessions(
        self, calm_cluster: ClusterServers, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """They are more than on a lone server; with those that the finding names all is well."""
        monkeypatch.setenv("SESSION_LEGACY_READ", "1")
        rights = [*documented_rights().split(), "+cluster|slots", "+cluster|nodes", "+asking"]
        for node in calm_cluster.nodes:
            node.command("ACL", "SETUSER", "limited", "on", ">pw", *rights)
        url = calm_cluster.url_for("limited", "pw")
        try:
            failed = (await findings_of(url))["SESSION_LEGACY_READ"]
            assert failed.level is Level.FAIL
            assert failed.advice == "give the user +get ~ended:* ~taken:* (ACL SETUSER)"
            for node in calm_cluster.nodes:
                node.command("ACL", "SETUSER", "limited", "+get", "~ended:*", "~taken:*")
            assert (await findings_of(url))["SESSION_LEGACY_READ"].level is Level.OK
        finally:
            for node in calm_cluster.nodes:
                node.command("ACL", "DELUSER", "limited")

    async def test_a_login_takes_more(self, calm_cluster: ClusterServers) -> None:
        """The session of a guest comes to the slot of its user by steps, and one of them needs HDEL."""
        for node in calm_cluster.nodes:
            node.command("ACL", "SETUSER", "limited", "on", ">pw", "~*", "+@all", "-hdel")
        try:
            found = await check(Client(calm_cluster.url_for("limited", "pw")))
        finally:
            for node in calm_cluster.nodes:
                node.command("ACL", "DELUSER", "limited")
        (failed,) = [each for each in found if each.name == "commands"]
        assert failed.level is Level.FAIL
        assert failed.value.startswith("log in failed: ")


class TestCommand:
    def test_lines_and_exit_code(
        self, redis_server: Server, redis_url: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """A line per finding; 1 if there is something to do."""
        assert cli.main(["check", redis_url]) == 1
        lines = capsys.readouterr().out.splitlines()
        assert len(lines) == 12
        assert {line.split()[0] for line in lines} <= {"ok", "warn", "fail", "unknown"}
        assert redis_server.command("DBSIZE") == 0

    def test_json(self, redis_url: str, capsys: pytest.CaptureFixture[str]) -> None:
        assert cli.main(["check", redis_url, "--json"]) == 1
        findings = json.loads(capsys.readouterr().out)
        assert len(findings) == 12
        assert list(findings[0]) == ["level", "name", "value", "advice", "servers"]

    def test_all_is_well(self, capsys: pytest.CaptureFixture[str]) -> None:
        """0 if there is nothing to do."""
        with RedisServer(*GOOD, users={"app": "pw"}) as server:
            assert cli.main(["check", server.url_for("app", "pw")]) == 0
        assert capsys.readouterr().out.count("ok ") == 12

    def test_no_server(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert cli.main(["check", "redis://127.0.0.1:1"]) == 2
        assert "cannot connect" in capsys.readouterr().err


def test_a_finding_is_one_line() -> None:
    assert str(Finding(Level.OK, "role", "master")) == "ok      role                    master"
    assert str(Finding(Level.WARN, "role", "replica", "do it")).endswith("replica: do it")
