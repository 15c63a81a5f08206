"""The alert rules of examples/observability: each fires in a real Prometheus when that happens which it is for.

Prometheus scrapes the application of that folder, whose sessions are on a real server behind a proxy, or on a master
behind Sentinels. Windows of minutes become seconds.
"""

from __future__ import annotations

import asyncio
import re
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from chuk_sessions.instrumentation.families import FAMILIES, PREFIX
from tests.support.helpers import eventually
from tests.support.pages import REPOSITORY, page
from tests.support.prometheus_server import RULES, WINDOW, Prometheus, read_metrics, shop
from tests.support.proxy import Proxy
from tests.support.sentinel_servers import SentinelServers
from tests.support.servers import RedisServer, free_port

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager
    from pathlib import Path

FOLDER = REPOSITORY / "examples" / "observability"
ALERTS = re.findall(r"- alert: (\w+)", RULES)
ENDS = ("_bucket", "_sum", "_count", "")
SAMPLES = {PREFIX + family.name + end for family in FAMILIES for end in (ENDS if family.kind == "histogram" else ("",))}
LOGIN, PASSWORD = "login", "pw"
CROWD = {"visitors": 1200, "pause": 0.5, "max_guests": 10}  # more than the alert for queues allows
OPERATIONS = "chuk_sessions_operations_total"
PATIENCE = 30  # seconds


def metrics_in(text: str) -> set[str]:
    return set(re.findall(r"chuk_sessions_\w+", re.sub(r"chuk_sessions\.\w+", "", text)))


def needs(program: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(
        shutil.which(program) is None, reason=f"{program} is not on the PATH (Debian: apt-get install prometheus)"
    )


def test_rules_use_metrics_that_exist() -> None:
    assert metrics_in(RULES) <= SAMPLES
    assert len(ALERTS) >= 10


def test_every_alert_says_what_to_do() -> None:
    """And the page lists them all."""
    assert RULES.count("action:") == RULES.count("summary:") == RULES.count("severity:") == len(ALERTS)
    assert [name for name, *_ in page("docs/operate/observability.md").table("Alerts")] == ALERTS


@needs("promtool")
def test_rules_are_valid() -> None:
    subprocess.run(["promtool", "check", "rules", str(FOLDER / "alerts.yml")], check=True, capture_output=True)


@needs("promtool")
def test_the_settings_of_the_example_are_valid() -> None:
    """They find the rules; and the application, where it is unless told otherwise."""
    settings = FOLDER / "prometheus.yml"
    done = subprocess.run(["promtool", "check", "config", str(settings)], check=True, capture_output=True, text=True)
    assert f"{len(ALERTS)} rules found" in done.stdout
    usage = [sys.executable, "-m", "examples.observability", "--help"]
    assert (
        "of the metrics (8000)"
        in subprocess.run(usage, cwd=REPOSITORY, check=True, capture_output=True, text=True).stdout
    )
    assert 'targets: ["localhost:8000"]' in settings.read_text()


@pytest.mark.redis
async def test_the_application_runs_by_itself(redis_url: str, tmp_path: Path) -> None:
    """Its visitors come and go, in memory and on Redis, and its metrics are where it says."""
    pytest.importorskip("prometheus_client", reason="the extra prometheus is not installed")
    port = free_port()
    async with shop(tmp_path, redis_url, port, visitors=5, pause=0.02):
        page_of_metrics = await asyncio.to_thread(read_metrics, port)
    for operation, outcome in (("create", "created"), ("touch", "found"), ("read", "found"), ("delete", "found")):
        assert re.search(rf'{OPERATIONS}{{operation="{operation}",outcome="{outcome}"}} [1-9]', page_of_metrics)
    assert re.search(r"chuk_sessions_redis_round_trip_seconds_count{.+} [1-9]", page_of_metrics)
    assert f"http://localhost:{port}/metrics" in (tmp_path / f"shop-{port}.log").read_text()


class Pager:
    """What an operator is told: the alerts that have fired so far, by application and name, and their last words."""

    def __init__(self, prometheus: Prometheus) -> None:
        self._prometheus = prometheus
        self.told: dict[tuple[str, str], dict[str, str]] = {}

    async def fires(self, job: str, *names: str) -> None:
        """Wait until each of them has fired for an application since this call."""
        seen: set[str] = set()

        async def have() -> bool:
            seen.update(await self.firing(job))
            return seen.issuperset(names)

        try:
            await eventually(have, PATIENCE)
        except AssertionError:
            raise AssertionError(f"{job}: {set(names) - seen} did not fire within {PATIENCE} s; {seen} did") from None

    async def firing(self, job: str) -> set[str]:
        """Those that fire now for an application."""
        alerts = await self._prometheus.alerts()
        self.told |= {(alert["labels"]["job"], alert["labels"]["alertname"]): alert["annotations"] for alert in alerts}
        return {alert["labels"]["alertname"] for alert in alerts if alert["labels"]["job"] == job}

    async def is_quiet(self, *jobs: str) -> None:
        """Wait until the applications are in use, and the rules were looked at a few times: then nothing may fire."""
        looks: set[str] = set()

        async def has_looked() -> bool:
            assert [await self.firing(job) for job in jobs] == [set()] * len(jobs)
            if all([await self._prometheus.value(f'{OPERATIONS}{{job="{job}", outcome="created"}}') for job in jobs]):
                looks.add(await self._prometheus.last_evaluation())
            return len(looks) > 5

        await eventually(has_looked, PATIENCE)

    async def stops(self, job: str, name: str) -> None:
        """Wait until it does not fire any more for an application."""

        async def is_over() -> bool:
            return name not in await self.firing(job)

        await eventually(is_over, PATIENCE)

    async def is_over(self, job: str) -> None:
        """Wait until nothing fires any more for an application, and its users log in again."""

        async def is_well() -> bool:
            rate = await self._prometheus.value(f'rate({OPERATIONS}{{job="{job}", outcome="created"}}[{WINDOW}])')
            return rate > 0 and not await self.firing(job)

        await eventually(is_well, PATIENCE)


def says_what_to_do(told: dict[tuple[str, str], dict[str, str]]) -> bool:
    """Whether each alert has told what happened, where, and the action of its rule."""
    actions = dict(zip(ALERTS, re.findall(r'action: "(.+)"', RULES), strict=True))
    return all(
        notes["action"] == actions[name] and notes["summary"] and "{{" not in notes["summary"]
        for (_, name), notes in told.items()
    )


@needs("prometheus")
@pytest.mark.redis
@pytest.mark.faults
async def test_each_alert_fires(tmp_path: Path) -> None:
    """None while all is well; then one fault after the other."""
    pytest.importorskip("prometheus_client", reason="the extra prometheus is not installed")
    ports = {"shop": free_port(), "crowd": free_port()}
    prometheus = Prometheus(tmp_path, ports)
    pager = Pager(prometheus)
    with RedisServer("maxmemory-policy noeviction", users={LOGIN: PASSWORD}) as server:
        async with Proxy(server.host, server.port) as proxy:
            url = (
                f"redis://{LOGIN}:{PASSWORD}@{proxy.url.removeprefix('redis://')}?socket_timeout=2&reconnect_grace=0.1"
            )
            async with shop(tmp_path, url, ports["shop"], visitors=5, pause=0.02):
                with prometheus.running():
                    await pager.is_quiet("shop")
                    await _faults_of_a_server(server, proxy, pager)
                    url = f"{server.url_for(LOGIN, PASSWORD)}?socket_timeout=4&reconnect_grace=0.1"
                    await _faults_of_a_crowd(server, pager, shop(tmp_path, url, ports["crowd"], **CROWD))
                    await pager.stops("shop", "SessionServerDown")  # the server is back
                    server.kill()
                    await pager.fires("shop", "SessionServerDown")
        assert f"{server.host}:{server.port}" in pager.told["crowd", "SessionCommandsQueue"]["summary"]
    assert {name for _, name in pager.told} == set(ALERTS)
    assert says_what_to_do(pager.told)


async def _faults_of_a_server(server: RedisServer, proxy: Proxy, pager: Pager) -> None:
    proxy.delay = 0.3
    await pager.fires("shop", "SessionCallsSlow")
    proxy.delay = 0.0
    server.command("CONFIG", "SET", "maxmemory", "1")
    await pager.fires("shop", "SessionServerFull", "SessionCallsFail")
    server.command("CONFIG", "SET", "maxmemory", "0")
    server.command("ACL", "SETUSER", LOGIN, "-evalsha")
    await pager.fires("shop", "SessionServerRefuses")
    server.command("ACL", "SETUSER", LOGIN, "+evalsha")
    server.command("REPLICAOF", "127.0.0.1", "1")
    await pager.fires("shop", "SessionServerReadOnly")
    server.command("REPLICAOF", "NO", "ONE")
    cutting = asyncio.create_task(_cut_again_and_again(proxy))
    await pager.fires("shop", "SessionConnectionsBreak")
    cutting.cancel()
    await asyncio.gather(cutting, return_exceptions=True)


async def _cut_again_and_again(proxy: Proxy) -> None:
    """Each time that a new connection is in use."""
    while True:
        accepted, size = proxy.accepted, len(proxy.requests)
        proxy.cut()
        await eventually(lambda: proxy.accepted > accepted and len(proxy.requests) > size + 1000)  # noqa: B023


async def _faults_of_a_crowd(server: RedisServer, pager: Pager, crowd: AbstractAsyncContextManager[None]) -> None:
    """Memory is too small for so many guests, and then the server stops: more users wait than may."""
    async with crowd:
        await pager.fires("crowd", "SessionMemoryEvicts")
        server.pause()
        await pager.fires("crowd", "SessionCommandsQueue", "SessionCommandsTimeOut", "SessionOutcomesUnknown")
        server.resume()


@needs("prometheus")
@pytest.mark.redis
@pytest.mark.faults
async def test_a_failover(tmp_path: Path) -> None:
    """The master is killed, and the Sentinels promote its replica; the old master comes back as the replica.

    The application that asks the Sentinels is well again by itself. That whose URL names the old master is not.
    """
    pytest.importorskip("prometheus_client", reason="the extra prometheus is not installed")
    options = "?socket_timeout=1&reconnect_grace=0.1"
    with SentinelServers() as group:
        ports = {"asking": free_port(), "pinned": free_port()}
        prometheus = Prometheus(tmp_path, ports)
        pager = Pager(prometheus)
        async with (
            shop(tmp_path, group.url + options, ports["asking"], visitors=5, pause=0.02),
            shop(tmp_path, group.master.url + options, ports["pinned"], visitors=5, pause=0.02),
        ):
            with prometheus.running():
                await pager.is_quiet("asking", "pinned")
                await _failover(group, pager)
    assert says_what_to_do(pager.told)


async def _failover(group: SentinelServers, pager: Pager) -> None:
    old = group.master
    old.kill()
    await pager.fires("asking", "SessionServerDown", "SessionCallsFail")
    assert "mymaster" in pager.told["asking", "SessionServerDown"]["summary"]
    new = await asyncio.to_thread(group.wait_for_promotion, old)
    old.restart(f"replicaof {new.host} {new.port}")  # as whoever repairs it does
    await pager.fires("pinned", "SessionServerReadOnly", "SessionCallsFail")
    assert "Sentinels" in pager.told["pinned", "SessionServerReadOnly"]["action"]
    await pager.is_over("asking")
    assert "SessionServerReadOnly" in await pager.firing("pinned")
