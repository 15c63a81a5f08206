"""A real Prometheus, which scrapes and evaluates many times a second, and the application of examples/observability."""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
import sys
import urllib.request
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from tests.support.helpers import eventually
from tests.support.pages import REPOSITORY
from tests.support.servers import free_port

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Mapping
    from pathlib import Path

__all__ = ["RULES", "WINDOW", "Prometheus", "read_metrics", "shop"]

RULES = (REPOSITORY / "examples" / "observability" / "alerts.yml").read_text()
WINDOW = "4s"  # in the place of minutes
START_SECONDS = 60.0  # of a Python that imports much; only one that has failed takes so long


class Prometheus:
    """Scrapes an application for each job, and evaluates our alert rules, whose windows of minutes become seconds."""

    def __init__(self, folder: Path, jobs: Mapping[str, int]) -> None:
        self._folder = folder
        self._port = free_port()
        rules = re.sub(r"\[\d+m\]", f"[{WINDOW}]", RULES)
        (folder / "alerts.yml").write_text(re.sub(r"for: \w+", "for: 0s", rules))
        targets = {job: [{"targets": [f"127.0.0.1:{port}"]}] for job, port in jobs.items()}
        settings = {
            "global": {"scrape_interval": "500ms", "scrape_timeout": "500ms", "evaluation_interval": "200ms"},
            "rule_files": ["alerts.yml"],
            "scrape_configs": [{"job_name": job, "static_configs": each} for job, each in targets.items()],
        }
        (folder / "prometheus.yml").write_text(json.dumps(settings))  # which is YAML too

    @contextmanager
    def running(self) -> Iterator[None]:
        """Run it; what it logs is in `prometheus.log` of the folder."""
        options = {
            "config.file": self._folder / "prometheus.yml",
            "storage.tsdb.path": self._folder / "data",
            "web.listen-address": f"127.0.0.1:{self._port}",
            "log.level": "warn",
        }
        command = ["prometheus", *(f"--{name}={value}" for name, value in options.items())]
        with (
            (self._folder / "prometheus.log").open("wb") as log,
            subprocess.Popen(command, stdout=log, stderr=log) as process,
        ):
            try:
                yield
            finally:
                process.kill()

    async def alerts(self) -> list[dict[str, Any]]:
        """Those that fire now, with their labels and annotations; none while it does not answer yet."""
        found = (await self._ask("alerts") or {}).get("alerts", ())
        return [alert for alert in found if alert["state"] == "firing"]

    async def series(self, query: str) -> list[dict[str, Any]]:
        """What it answers to a query: labels and a value each. An error of the query fails the test."""
        return list((await self._ask(f"query?query={quote(query)}") or {}).get("result", ()))

    async def value(self, query: str) -> float:
        """The sum over all series; 0 if there are none yet."""
        return sum(float(each["value"][1]) for each in await self.series(query))

    async def last_evaluation(self) -> str:
        """When it last looked whether a rule fires; nothing if it did not yet."""
        found = (await self._ask("rules") or {}).get("groups", ())
        return str(found[0]["lastEvaluation"]) if found else ""

    async def _ask(self, path: str) -> Any:
        """None while it does not answer yet, or is not ready."""
        try:
            return await asyncio.to_thread(self._read, path)
        except OSError as error:
            if getattr(error, "code", 503) == 503:
                return None
            raise

    def _read(self, path: str) -> Any:
        with urllib.request.urlopen(f"http://127.0.0.1:{self._port}/api/v1/{path}", timeout=5) as answer:
            return json.load(answer)["data"]


@asynccontextmanager
async def shop(folder: Path, url: str, port: int, **options: float) -> AsyncIterator[None]:
    """`python -m examples.observability` in a process of its own, which no fault may end; in use once this begins.

    Its first calls take longer than others, as they connect: a Prometheus that begins later does not see these.
    """
    known: dict[str, object] = {
        "redis": url,
        "port": port,
        **{name.replace("_", "-"): value for name, value in options.items()},
    }
    command = [sys.executable, "-m", "examples.observability"]
    command += [part for name, value in known.items() for part in (f"--{name}", str(value))]
    path = folder / f"shop-{port}.log"
    with path.open("wb") as log:
        process = await asyncio.create_subprocess_exec(*command, cwd=REPOSITORY, stdout=log, stderr=log)
        try:
            await eventually(lambda: asyncio.to_thread(_is_in_use, port), START_SECONDS)
            yield
            assert process.returncode is None, path.read_text()
            assert "Traceback" not in path.read_text()
        finally:
            with suppress(ProcessLookupError):
                process.kill()
            await process.wait()


def read_metrics(port: int) -> str:
    """What an application shows to Prometheus. Blocks."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
        page: bytes = answer.read()
        return page.decode()


def _is_in_use(port: int) -> bool:
    """Whether visitors have logged in, and have left again."""
    try:
        return re.search(r'operation="delete",outcome="found"} \d\d', read_metrics(port)) is not None
    except OSError:
        return False
