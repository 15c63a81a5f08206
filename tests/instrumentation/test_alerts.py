"""The alert rules of examples/observability: each fires in a real Prometheus when that happens which it is for.

Prometheus scrapes this process, whose sessions are on a real server behind a proxy. Windows of minutes become seconds.
"""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import subprocess
import urllib.request
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from chuk_sessions import SessionManager
from chuk_sessions.instrumentation import SessionMetrics
from chuk_sessions.instrumentation.families import FAMILIES, PREFIX
from chuk_sessions.providers import memory, redis
from tests.support.helpers import eventually
from tests.support.pages import REPOSITORY, page
from tests.support.proxy import Proxy
from tests.support.servers import PORTS, RedisServer, _free_port

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

FOLDER = REPOSITORY / "examples" / "observability"
RULES = (FOLDER / "alerts.yml").read_text()
ALERTS = re.findall(r"- alert: (\w+)", RULES)
ENDS = ("_bucket", "_sum", "_count", "")
SAMPLES = {PREFIX + family.name + end for family in FAMILIES for end in (ENDS if family.kind == "histogram" else ("",))}
LOGIN, PASSWORD = "login", "pw"
CALLERS = 1200  # more than the alert for queues allows


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


def test_the_dashboard() -> None:
    """Every panel says what it shows; its queries use metrics that exist, and braces that close."""
    dashboard = json.loads((FOLDER / "dashboard.json").read_text())
    assert len(dashboard["panels"]) >= 10
    queries = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    assert metrics_in(" ".join(queries)) <= SAMPLES
    assert all(panel["description"] for panel in dashboard["panels"])
    assert all(query.count(begin) == query.count(end) for query in queries for begin, end in ("()", "{}", "[]"))
    places = {(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in dashboard["panels"]}
    assert len(places) == len(dashboard["panels"])


@needs("promtool")
def test_queries_of_the_dashboard_are_valid(tmp_path: Path) -> None:
    """Prometheus reads each of them as a rule; Grafana puts in the two variables."""
    dashboard = json.loads((FOLDER / "dashboard.json").read_text())
    queries = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    known = [query.replace("$__rate_interval", "1m").replace("$job", ".*") for query in queries]
    rules = [{"record": f"panel:{number}", "expr": query} for number, query in enumerate(known)]
    (tmp_path / "rules.yml").write_text(json.dumps({"groups": [{"name": "panels", "rules": rules}]}))
    subprocess.run(["promtool", "check", "rules", str(tmp_path / "rules.yml")], check=True, capture_output=True)


@needs("promtool")
def test_rules_are_valid() -> None:
    subprocess.run(["promtool", "check", "rules", str(FOLDER / "alerts.yml")], check=True, capture_output=True)


class Prometheus:
    """A real one, which scrapes one port and evaluates the rules, both many times a second."""

    def __init__(self, folder: Path, target: int) -> None:
        self._folder = folder
        self._port = _free_port(PORTS, 0)
        rules = re.sub(r"\[\d+m\]", "[4s]", RULES)
        (folder / "alerts.yml").write_text(re.sub(r"for: \w+", "for: 0s", rules))
        (folder / "prometheus.yml").write_text(
            "global: {scrape_interval: 200ms, scrape_timeout: 200ms, evaluation_interval: 200ms}\n"
            "rule_files: [alerts.yml]\n"
            f"scrape_configs: [{{job_name: shop, static_configs: [{{targets: ['127.0.0.1:{target}']}}]}}]\n"
        )

    @contextmanager
    def running(self) -> Iterator[None]:
        options = {
            "config.file": self._folder / "prometheus.yml",
            "storage.tsdb.path": self._folder / "data",
            "web.listen-address": f"127.0.0.1:{self._port}",
            "log.level": "error",
        }
        command = ["prometheus", *(f"--{name}={value}" for name, value in options.items())]
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
            try:
                yield
            finally:
                process.kill()

    async def alerts(self) -> set[str]:
        """The names of those that fire; none while it does not answer yet."""
        found = (await self._ask("alerts") or {}).get("alerts", ())
        return {alert["labels"]["alertname"] for alert in found if alert["state"] == "firing"}

    async def value(self, metric: str) -> float:
        """The sum of what it has scraped of a metric; 0 if that is nothing yet."""
        found = (await self._ask(f"query?query=sum({metric})") or {}).get("result", ())
        return float(found[0]["value"][1]) if found else 0.0

    async def last_evaluation(self) -> str:
        found = (await self._ask("rules") or {}).get("groups", ())
        return str(found[0]["lastEvaluation"]) if found else ""

    async def _ask(self, path: str) -> Any:
        """None while it does not answer yet."""
        url = f"http://127.0.0.1:{self._port}/api/v1/{path}"
        try:
            with await asyncio.to_thread(urllib.request.urlopen, url, timeout=5) as answer:
                return json.load(answer)["data"]
        except OSError:
            return None


class Shop:
    """An application with sessions on Redis and in memory, whose metrics are on a port."""

    def __init__(self, url: str) -> None:
        metrics, factory = SessionMetrics(), redis.factory(url)
        few = memory.factory(memory.MemoryStore(max_items=10))
        self.manager = SessionManager("shop", factory, metrics=metrics)
        self.in_memory = SessionManager("shop", few, metrics=metrics)
        self._sources = metrics, factory, few

    @contextmanager
    def serving(self) -> Iterator[int]:
        import prometheus_client

        from chuk_sessions.instrumentation.prometheus import SessionCollector

        registry = prometheus_client.CollectorRegistry()
        registry.register(SessionCollector(*self._sources))
        server, thread = prometheus_client.start_http_server(0, "127.0.0.1", registry)
        try:
            yield server.server_port
        finally:
            server.shutdown()
            server.server_close()
            thread.join()

    @asynccontextmanager
    async def in_use(self, callers: int = 5, pause: float = 0.02) -> AsyncIterator[None]:
        """Callers log in and validate, whatever comes of it."""
        tasks = [asyncio.create_task(self._use(pause)) for _ in range(callers)]
        yield
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _use(self, pause: float) -> None:
        while True:
            results = await self.manager.allocate_sessions([{"ttl_hours": 0.1}])
            await self.manager.validate_session(str(results[0]))
            await asyncio.sleep(pause)


@needs("prometheus")
@pytest.mark.slow
@pytest.mark.redis
async def test_each_alert_fires(tmp_path: Path) -> None:
    """None while all is well; then one fault after the other."""
    pytest.importorskip("prometheus_client", reason="the extra prometheus is not installed")
    with RedisServer("maxmemory-policy noeviction", users={LOGIN: PASSWORD}) as server:
        async with Proxy(server.host, server.port) as proxy:
            address = proxy.url.removeprefix("redis://")
            shop = Shop(f"redis://{LOGIN}:{PASSWORD}@{address}?socket_timeout=2&reconnect_grace=0.1")
            with shop.serving() as port:
                prometheus = Prometheus(tmp_path, port)
                with prometheus.running():
                    await _all_alerts(server, proxy, shop, prometheus)


async def _reaches(prometheus: Prometheus, metric: str, least: float) -> bool:
    return await prometheus.value(metric) >= least


async def _all_alerts(server: RedisServer, proxy: Proxy, shop: Shop, prometheus: Prometheus) -> None:
    fired: set[str] = set()

    async def fires(*names: str) -> None:
        async def have() -> bool:
            fired.update(now := await prometheus.alerts())
            return now.issuperset(names)

        await eventually(have, 30)

    async with shop.in_use():
        seen: set[str] = set()

        async def has_looked() -> bool:
            assert await prometheus.alerts() == set()
            if await prometheus.value("chuk_sessions_operations_total"):
                seen.add(await prometheus.last_evaluation())
            return len(seen) > 5

        await eventually(has_looked, 30)
        proxy.delay = 0.3
        await fires("SessionCallsSlow")
        proxy.delay = 0.0
        server.command("CONFIG", "SET", "maxmemory", "1")
        await fires("SessionServerFull", "SessionCallsFail")
        server.command("CONFIG", "SET", "maxmemory", "0")
        server.command("ACL", "SETUSER", LOGIN, "-evalsha")
        await fires("SessionServerRefuses")
        server.command("ACL", "SETUSER", LOGIN, "+evalsha")
        server.command("REPLICAOF", "127.0.0.1", "1")
        await fires("SessionServerReadOnly")
        server.command("REPLICAOF", "NO", "ONE")
        stats = shop.manager.session_factory.stats
        for number in range(int(stats()["reconnects"]) + 1, int(stats()["reconnects"]) + 13):
            proxy.cut()
            await eventually(lambda: stats()["reconnects"] >= number)  # noqa: B023 - of this round
        await fires("SessionConnectionsBreak")
        for number in (10, 30):  # an increase needs two scrapes
            await shop.in_memory.allocate_sessions([{}] * 20)
            await eventually(lambda: _reaches(prometheus, "chuk_sessions_memory_evicted_total", number))  # noqa: B023
        await fires("SessionMemoryEvicts")
    async with shop.in_use(CALLERS):
        server.pause()
        await fires("SessionCommandsQueue", "SessionCommandsTimeOut", "SessionOutcomesUnknown")
        server.resume()
    server.kill()
    await fires("SessionServerDown")
    assert fired == set(ALERTS)
