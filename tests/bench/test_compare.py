"""The comparison with other libraries: everybody gets a turn, failures are shown, and nobody is flattered."""

from __future__ import annotations

import asyncio
import json
import shutil
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from benchmarks.adapters import adapter
from benchmarks.adapters.library import CannotDo
from benchmarks.compare import run
from benchmarks.compare.__main__ import main
from benchmarks.compare.page import cell
from benchmarks.compare.run import TOOL_REQUESTS, per_second, play, redis_benchmark, short
from benchmarks.compare.sides import GROUPS, OURS, SIDES, TOOL, Contest, contests, environments
from benchmarks.measure.processes import ROOT, WorkerFailed
from benchmarks.measure.scale import QUICK, Scale
from benchmarks.measure.timing import run_block
from benchmarks.pages.publications import publication
from benchmarks.workloads.bodies import TTL
from benchmarks.workloads.case import Kind, Layer, opened
from benchmarks.workloads.registry import VALUE, WORKLOADS
from tests.support.servers import RedisServer, Server

CASHEWS = SIDES["cashews"]


def test_every_side_has_an_adapter_and_every_contest_a_workload() -> None:
    """One small file per library; the floors and the server's own tool included."""
    for side in SIDES.values():
        assert side.adapter == TOOL or (ROOT / "benchmarks" / "adapters" / f"{side.adapter}.py").exists()
        assert not side.workload or side.workload in WORKLOADS
    played = list(contests())
    assert {contest.workload for contest in played} <= set(WORKLOADS)
    assert {contest.side.name for contest in played} == set(SIDES)


def test_every_group_has_us_in_it_and_every_library_an_environment() -> None:
    """A table without this version would compare nothing; two versions of one library do not share a folder."""
    assert all(OURS in group.sides for group in GROUPS)
    named = environments()
    assert len(set(named.values())) == len(named)
    assert {side.requirements for side in SIDES.values() if side.requirements} == set(named)


@pytest.mark.parametrize(
    ("name", "layer", "kind", "words"),
    [
        ("aiocache", "provider", "redis", "memory only"),
        ("cashews_backend", "manager", "memory", "no sessions"),
        ("moka", "provider", "memory-clock", "no clock to move"),
        ("redis_py", "manager", "redis", "no sessions"),
        ("coredis", "provider", "memory", "a Redis client"),
        ("starsessions", "provider", "memory", "no lifetimes"),
    ],
)
def test_what_a_library_cannot_do_is_said_in_words(name: str, layer: Layer, kind: Kind, words: str) -> None:
    """And not run: the library need not even be installed."""
    with pytest.raises(CannotDo, match=words):
        adapter(name, {}).open(layer, kind)


class Workers:
    """In the place of worker processes."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, versions: Mapping[str, str] | None = None) -> None:
        self.asked: list[tuple[str, str, str | None]] = []
        self.versions = versions or {}
        monkeypatch.setattr(run, "ask_for_blocks", self.ask)

    def ask(self, scale: Scale, python: str | None, **question: Any) -> dict[str, Any]:
        name = question["workloads"][0]
        self.asked.append((question["library"], name, python))
        if question["library"] == "cashews":
            raise WorkerFailed("Traceback\n  more\nredis.exceptions.MaxConnectionsError: Too many connections\n")
        return {"versions": self.versions, "answer": {name: [100.0, 300.0, 200.0]}}


def test_sides_take_turns_in_their_own_environments(monkeypatch: pytest.MonkeyPatch) -> None:
    """A side that fails shows why, and is not tried again; the floor runs its own workload."""
    workers = Workers(monkeypatch)
    sides = [SIDES[OURS], CASHEWS, SIDES["bare async def (floor)"]]
    pythons = {CASHEWS.requirements: "/python-of-cashews"}
    twice = replace(QUICK, launches=2)
    found = play([Contest("memory.get", "asyncio", side) for side in sides], pythons, {}, twice, "free")
    assert workers.asked == [
        ("chuk", "memory.get", None),
        ("cashews", "memory.get", "/python-of-cashews"),
        ("bare", "floor.await", None),
        ("bare", "floor.await", None),
        ("chuk", "memory.get", None),
    ]
    assert found[1]["error"] == "MaxConnectionsError: Too many connections"
    assert [len(entry["processes"]) for entry in found] == [2, 0, 2]


def test_what_is_at_scale_has_fewer_launches(monkeypatch: pytest.MonkeyPatch) -> None:
    """A block of it is 100,000 calls, which take seconds in the place of some of the others."""
    workers = Workers(monkeypatch)
    contests = [Contest(name, "asyncio", SIDES[OURS]) for name in ("memory.get", "memory.get-of-100k")]
    found = play(contests, {}, {}, replace(QUICK, launches=3, slow_launches=2), "free")
    assert [len(entry["processes"]) for entry in found] == [3, 2]
    assert [name for _, name, _ in workers.asked].count("memory.get-of-100k") == 2


def test_what_is_not_installed_or_not_itself_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """A release that turns out to be this checkout must not be called the release."""
    old = SIDES["chuk-sessions 0.2"]
    Workers(monkeypatch, {"chuk-sessions": "0.7.0"})
    contest = [Contest("memory.get", "asyncio", old)]
    assert play(contest, {}, {}, QUICK, "free")[0]["error"] == "not installed"
    found = play(contest, {old.requirements: "/python"}, {}, QUICK, "free")
    assert found[0]["error"].startswith("the wrong environment")


@pytest.mark.parametrize(
    ("error", "shown"),
    [
        (
            "Traceback\nredis.exceptions.MaxConnectionsError: Too many connections",
            "MaxConnectionsError: Too many connections",
        ),
        ("x\nbenchmarks.adapters.library.CannotDo: memory only", "memory only"),
        ("not done within 300 s", "not done within 300 s"),
        ("it runs on Python 3.11.7: make it anew", "it runs on Python 3.11.7: make it anew"),
        ("builtins.TimeoutError", "TimeoutError"),
        ("", "failed"),
    ],
)
def test_an_error_is_one_line(error: str, shown: str) -> None:
    """Kind and message, without the module."""
    assert short(error) == shown


def test_the_tools_csv_is_read() -> None:
    """The first number after the words of the command is requests a second."""
    assert per_second('"test","rps"\n"GET bench:0","84033.61","0.3"\n', "GET") == 84033.61
    with pytest.raises(WorkerFailed, match="Could not connect"):
        per_second("Could not connect to Redis", "GET")


needs_tool = pytest.mark.skipif(shutil.which(TOOL) is None, reason=f"needs {TOOL}")


@needs_tool
@pytest.mark.parametrize("name", ["redis.get.5", "redis.set-over"])
@pytest.mark.parametrize("side", ["redis-benchmark (floor)", "redis-benchmark, pipeline of 16 (floor)"])
def test_the_tool_does_what_the_others_do(own_server: RedisServer, name: str, side: str) -> None:
    """It reads a key that is there, stores with a lifetime, and leaves nothing."""
    assert run._commands()["set-over"] == ["SET", run.TOOL_KEY, VALUE, "EX", str(TTL)]
    found = redis_benchmark(Contest(name, "asyncio", SIDES[side]), {"redis": own_server.url}, "free", quick=True)
    assert found["answer"][0] > 0
    stats = dict(line.split(":") for line in str(own_server.command("INFO", "stats")).splitlines()[1:])
    assert int(stats["keyspace_misses"]) == 0
    assert int(stats["keyspace_hits"]) >= (TOOL_REQUESTS[True] if "get" in name else 0)
    assert own_server.command("DBSIZE") == 0


def test_a_tool_that_hangs_is_a_side_that_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The others go on."""
    monkeypatch.setattr(run, "TOOL_SECONDS", 0.1)
    with pytest.raises(WorkerFailed, match="not done within"):
        run._run(sys.executable, "-c", "import time; time.sleep(600)")


def test_a_cell_is_a_time_and_its_multiple_of_ours() -> None:
    """Or what happened, never a blank for a failure."""
    ours = {"side": OURS, "processes": [[90.0, 100.0, 110.0], [110.0]]}
    theirs = {"side": "x", "processes": [[210.0]]}
    assert cell(theirs, ours) == "210 ns (2.0x)"
    assert cell(ours, ours) == "105 ns (±5%)"
    assert cell({"side": "x", "processes": [], "error": "memory only"}, ours) == "memory only"
    assert cell(None, ours) == "-"
    assert cell(theirs, None) == "210 ns"


async def test_floors_run_here() -> None:
    """A dict without lifetimes, and nothing at all."""
    async with opened(WORKLOADS["floor.await"], adapter("bare", {})) as case:
        assert await run_block(case) > 0
    async with opened(WORKLOADS["memory.get"], adapter("plain_dict", {})) as case:
        assert await run_block(case) > 0


@pytest.mark.parametrize("name", ["redis_py", "redis_py_default", "redis_py_pipeline"])
async def test_redis_py_runs_here(name: str, redis_server: Server) -> None:
    """Each of its forms does the work that it is timed for."""
    for workload in ("redis.get.50", "redis.set-over", "redis.delete"):
        async with opened(WORKLOADS[workload], adapter(name, {"redis": redis_server.url})) as case:
            assert await run_block(case) > 0


async def test_a_pipeline_that_fails_tells_all_its_callers(redis_server: Server) -> None:
    """None of them waits for ever."""
    async with adapter("redis_py_pipeline", {"redis": redis_server.url}).open("provider", "redis") as provider:
        results = await asyncio.gather(
            provider.setex("key:wrong", 0, "x"), provider.get("key:none"), return_exceptions=True
        )
    assert isinstance(results[0], Exception)


@pytest.mark.slow
def test_a_small_comparison_writes_json_and_page(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Without environments the others are shown as not installed, the floors and we as measured."""
    arguments = ["--quick", "--no-redis", "--only", "Values in memory", "--out", str(tmp_path)]
    assert main(arguments) == 0
    assert "launch 1 of 1, 1 of 44: memory.get on asyncio, this version" in capsys.readouterr().out
    results = json.loads((tmp_path / "compare.json").read_text())
    errors = {entry["side"]: entry.get("error") for entry in results["contests"] if entry["workload"] == "memory.get"}
    assert errors["cashews"] == "not installed"
    assert errors[OURS] is errors["dict without lifetimes (floor)"] is None
    page = publication("compare").page(results)
    assert (tmp_path / "COMPARE.md").read_text() == page
    assert "## Values in memory\n" in page
    assert "## Sessions in memory" not in page
