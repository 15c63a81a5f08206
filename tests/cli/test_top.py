"""``top``: what it shows is what is there, counted by the server and by the application."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from chuk_sessions import SessionManager
from chuk_sessions.cli import main as cli
from chuk_sessions.cli import top
from chuk_sessions.instrumentation import SessionMetrics
from chuk_sessions.providers import redis
from chuk_sessions.redis_client.client import Client
from tests.support.helpers import eventually, wait_until

if TYPE_CHECKING:
    from tests.support.cluster_servers import ClusterServers
    from tests.support.servers import RedisServer, Server
    from tests.support.wire import Wire

RATES = {"commands": 1500.0, "scripts": 40.0, "growth": -2.5, "read": 30.0, "written": 4.0, "removed": 1.0}
VIEW = top.View(
    {"shop": 1234, "docs": 5},
    {"a:1": top.Server(2_500_000, 10_000_000, 1240, 0.25, {}), "b:1": top.Server(None, 0, None, 1.5, {})},
    {"a:1": {**RATES, "created_at_most": 3.0, "expired": 2.0, "evicted": 0.0}, "b:1": {"commands": 10.0}},
    {"created": 1.5, "ended": 0.0, "validated": 20.0},
)
TEXT = """\
server           ms   MB  of MB   keys  commands/s  scripts/s  growth/s
a:1            0.25  2.5   10.0  1,240     1,500.0       40.0      -2.5
b:1 (slowest)  1.50    ?      -      ?        10.0          ?         ?

counted by  created/s <=  read/s  written/s  removed/s  expired/s  evicted/s
a:1                  3.0    30.0        4.0        1.0        2.0        0.0
b:1                    ?       ?          ?          ?          ?          ?
all                    ?       ?          ?          ?          ?          ?

sandbox  sessions
shop        1,234
docs            5

application: created 1.5/s  ended 0.0/s  validated 20.0/s"""


def test_as_text() -> None:
    assert top.as_text(VIEW) == TEXT
    assert VIEW.together == {"commands": 1510.0}
    assert top.as_text(top.View({}, {"a:1": top.Server()}, {"a:1": {}}, None)).count("\n") == 6


def test_a_counter_that_went_back() -> None:
    """The server or the application counts from 0 again, and a server that has just come has no rate yet."""

    def seen(at: float, so_far: dict[str, dict[str, int]], created: float) -> top.Look:
        servers = {name: top.Server(so_far=numbers) for name, numbers in so_far.items()}
        return top.Look(at, servers, {}, 0.0, {"created": created})

    before, now = seen(10, {"a": {"commands": 100}}, 50), seen(12, {"a": {"commands": 30}, "b": {"commands": 7}}, 60)
    view = top.compare(before, now)
    assert view.per_second == {"a": {"commands": 15.0}, "b": {"commands": 0.0}}
    assert view.application == {"created": 5.0}


def per_second(before: top.Server, now: top.Server) -> dict[str, float]:
    view = top.compare(top.Look(1, {"a": before}, {}, 0.0, None), top.Look(2, {"a": now}, {}, 0.0, None))
    return view.per_second["a"]


def test_statistics_that_were_reset() -> None:
    """All of them, also those that are past by now what they were before."""
    before = top.Server(so_far={"commands": 100, "exists": 3, "deadlines": 3}, run="x")
    now = top.Server(so_far={"commands": 40, "exists": 5, "deadlines": 5}, run="x")
    assert per_second(before, now) == {"commands": 40.0, "created_at_most": 5.0}


def test_another_server_at_the_same_address() -> None:
    """After a failover of a hosted server: what the new one counted before is nothing that happened just now."""
    before = top.Server(keys=10, so_far={"commands": 100, "expired": 5}, run="x")
    now = top.Server(keys=10, so_far={"commands": 1_000_000, "expired": 0}, run="y")
    assert per_second(before, now) == {"commands": 0.0, "expired": 0.0, "growth": 0.0}


def test_numbers_that_were_refused_before() -> None:
    """A right that came meanwhile: what was counted since the start of the server is no rate."""
    before = top.Server(so_far={"commands": 5_000}, run="x")
    assert per_second(top.Server(), before) == {"commands": 0}
    assert per_second(before, replace(before, so_far={"commands": 5_010, "read": 300})) == {"commands": 10.0, "read": 0}


@pytest.mark.redis
async def test_what_the_server_counts(own_server: RedisServer) -> None:
    """It cannot tell what a script was for: but what scripts do to keys it counts, and nobody else is there."""
    manager, client = SessionManager("shop", redis.factory(own_server.url), strict=True), Client(own_server.url)
    await manager.validate_session(await manager.allocate_session())  # the server knows the scripts from now on
    before = await top.look(client)
    created = [await manager.allocate_session() for _ in range(7)]
    created += [await manager.allocate_session(user_id="alice") for _ in range(3)]
    await manager.allocate_session(ttl_hours=0.1 / 3600)
    assert [await manager.validate_session(each) for each in [*created[:5], "nobody", "nothing"]].count(True) == 5
    assert [await manager.delete_session(each) for each in created[:2]] == [True, True]
    await eventually(lambda: own_server.info("stats")["expired_keys"] == "1")
    now = await top.look(client, None, before)
    view = top.compare(before, replace(now, at=before.at + 1))
    (found,) = view.per_second.values()
    assert 11 <= found["created_at_most"] <= 11 + 2  # an EXISTS for each session that is missing
    counted = {name: found[name] for name in ("read", "removed", "expired", "evicted", "growth")}
    # Alice's index is a key too. A deletion reads first.
    assert counted == {"read": 7 + 2, "removed": 2, "expired": 1, "evicted": 0, "growth": 11 - 2 - 1 + 1}
    assert found["written"] >= 11 + 5
    assert found["scripts"] >= 11 + 7 + 2
    assert view.together == found | {"created_at_most": found["created_at_most"]}
    (server,) = view.servers.values()
    assert server.keys == int(str(own_server.command("DBSIZE")))
    assert server.run == own_server.info("server")["run_id"]


@pytest.mark.redis
async def test_the_walk_is_not_in_the_rates(wire: Wire, redis_url: str) -> None:
    """It may take longer than the time between two looks, and comes before the counters are read."""
    await top.look(Client(redis_url))
    assert wire.commands.index("SCAN") < wire.commands.index("INFO")


def test_a_server_that_counts_no_commands() -> None:
    """Some services leave that out: what is not told is not shown as 0."""
    found = top.Server()
    top._read("used_memory:7\r\nexpired_keys:3\r\n", found)
    assert (found.memory, found.keys, found.so_far) == (7, None, {"expired": 3})
    assert top._of_server(found, found, 1) == {"expired": 0}


async def _allocate(url: str) -> None:
    for sandbox, number in (("shop", 3), ("a b", 1)):
        await SessionManager(sandbox, redis.factory(url), strict=True).allocate_sessions(
            [{"user_id": "alice"}] * number
        )


@pytest.mark.redis
def test_once(redis_url: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Sessions by sandbox, whatever else is there; memory and commands of the server."""
    asyncio.run(_allocate(redis_url))
    assert cli.main(["top", redis_url, "--once", "--json", "--interval", "0.1"]) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert found["sandboxes"] == {"shop": 3, "a b": 1}
    (server,) = found["servers"].values()
    assert server["memory"] > 0
    assert server["round_trip_ms"] > 0
    assert server["per_second"]["commands"] > 0
    assert server["keys"] == 6  # four sessions, and an index for each sandbox
    assert found["per_second"] == server["per_second"]
    assert found["application_per_second"] is None
    assert cli.main(["top", redis_url, "--once", "--interval", "0.1"]) == 0
    assert "shop" in capsys.readouterr().out


@pytest.mark.redis
async def test_the_metrics_of_the_application(redis_url: str) -> None:
    """Created, ended and validated by what the application counts."""
    prometheus_client = pytest.importorskip("prometheus_client", reason="the extra prometheus is not installed")
    from chuk_sessions.instrumentation.prometheus import SessionCollector

    metrics = SessionMetrics(by_sandbox=True)
    registry = prometheus_client.CollectorRegistry()
    registry.register(SessionCollector(metrics))
    server, thread = prometheus_client.start_http_server(0, "127.0.0.1", registry)
    url, client = f"http://127.0.0.1:{server.server_port}/metrics", Client(redis_url)
    try:
        before = await top.look(client, url)
        assert before.application == {"created": 0, "ended": 0, "validated": 0}
        for sandbox in ("shop", "docs"):
            manager = SessionManager(sandbox, redis.factory(redis_url), metrics=metrics)
            session_id = await manager.allocate_session()
            await manager.validate_session(session_id)
            await manager.open_session(session_id)
            await manager.validate_session("unknown")
            await manager.delete_session(session_id)
        now = await top.look(client, url, before)
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
    assert now.application == {"created": 2, "ended": 2, "validated": 4}
    assert now.sandboxes is before.sandboxes  # counted a moment ago
    assert top.compare(before, now).application is not None


@pytest.mark.redis
async def test_a_cluster(cluster: ClusterServers) -> None:
    """Every master, and which of them is the slowest."""
    await _allocate(cluster.url)
    client = Client(cluster.url)
    view = top.compare(before := await top.look(client), await top.look(client, None, before))
    assert len(view.servers) == 3
    assert view.slowest in view.servers
    assert view.sandboxes == {"shop": 3, "a b": 1}
    assert view.together["growth"] == 0
    assert view.together["commands"] == pytest.approx(sum(each["commands"] for each in view.per_second.values()))


@pytest.mark.redis
@pytest.mark.skipif(sys.platform == "win32", reason="there are no pseudo-terminals")
def test_the_live_view(redis_url: str) -> None:
    """It draws until a signal ends it."""
    pytest.importorskip("rich", reason="the extra cli is not installed")
    try:
        ours, theirs = os.openpty()
    except OSError as error:  # a root folder without /dev/pts
        pytest.skip(f"no pseudo terminal can be had here: {error.strerror}")
    asyncio.run(_allocate(redis_url))
    command = [sys.executable, "-m", "chuk_sessions", "top", redis_url, "--interval", "0.1"]
    with subprocess.Popen(command, stdout=theirs, stderr=theirs, env=os.environ | {"TERM": "xterm"}) as process:
        os.close(theirs)
        drawn = b""
        while drawn.count(b"shop") < 2:
            drawn += os.read(ours, 4096)
        process.send_signal(signal.SIGTERM)
        try:
            while os.read(ours, 4096):
                pass
        except OSError:  # the other end is closed
            pass
    os.close(ours)
    assert process.returncode == 0


@pytest.mark.redis
@pytest.mark.skipif(sys.platform == "win32", reason="the exit code tells no signal")
def test_the_wait_for_the_second_look(redis_server: Server, redis_url: str) -> None:
    """A signal ends it at once."""
    url = f"{redis_url}?client_name=interrupted"
    command = [sys.executable, "-m", "chuk_sessions", "top", url, "--once", "--interval", "3600"]
    with subprocess.Popen(command) as process:
        try:
            wait_until(lambda: "name=interrupted" in str(redis_server.command("CLIENT", "LIST")))
            process.terminate()
            assert process.wait(30) == -signal.SIGTERM
        finally:
            process.kill()


@pytest.mark.redis
@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--json"], "--json goes with --once"),
        (["--once", "--metrics", "ftp://host/metrics"], "--metrics must be an http:// or https:// URL"),
        (["--once", "--metrics", "http://127.0.0.1:1/"], "the metrics could not be read: "),
    ],
    ids=["json", "scheme", "away"],
)
def test_refusals(options: list[str], words: str, redis_url: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["top", redis_url, *options]) == 2
    assert words in capsys.readouterr().err


@pytest.mark.redis
@pytest.mark.parametrize("url", ["http://reader:hunter2@127.0.0.1/", "http://127.0.0.1/a b?token=hunter2"])
def test_a_wrong_url_of_metrics(url: str, redis_url: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A login, which is not understood, and a space: one line, without any part of the URL."""
    assert cli.main(["top", redis_url, "--once", "--metrics", url]) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: the metrics could not be read: no HTTP server there, or a wrong URL (")
    assert said.count("\n") == 1
    assert "hunter2" not in said


@pytest.mark.parametrize("interval", ["0", "no", "nan", "1e9"])
def test_a_wrong_interval(interval: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli.main(["top", "redis://localhost", "--interval", interval])
    assert "must be a number of seconds" in capsys.readouterr().err
