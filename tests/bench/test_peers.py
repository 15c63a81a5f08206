"""The speed to reach: what is compared runs block by block in turns."""

from __future__ import annotations

import json
import platform
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from benchmarks.adapters import adapter
from benchmarks.bench import peers
from benchmarks.bench.floors import FLOORS
from benchmarks.bench.goals import GOALS, Speed
from benchmarks.bench.peers import MATCHES, Match, groups, play
from benchmarks.bench.players import MORE, Launch, Player, launched
from benchmarks.bench.speed_table import speed
from benchmarks.measure.processes import WorkerFailed
from benchmarks.measure.scale import QUICK
from benchmarks.measure.told import SideFailed
from benchmarks.workloads.case import opened
from benchmarks.workloads.registry import WORKLOADS
from chuk_sessions.redis_client.node import Node
from chuk_sessions.redis_client.tracking_node import TrackingNode
from tests.bench.samples import bench_results

if TYPE_CHECKING:
    from collections.abc import Iterator

OPENED = {"versions": {}, "python": platform.python_version()}
SIDES = {"ours": "chuk", "floor": "plain_dict"}


class Scripted:
    """A worker that writes down the blocks it was asked for, and ends before block number ``ends``."""

    def __init__(self, name: str, asked: list[tuple[str, str]], ends: int = 1_000) -> None:
        self.name, self.asked, self.ends = name, asked, ends
        self.answers: list[dict[str, Any]] = [OPENED]

    def give(self, seconds: float) -> None:
        """It needs no time."""

    def tell(self, line: str) -> None:
        word, *rest = json.loads(line)
        if word == "block":
            self.asked.append((self.name, rest[0]))
        self.answers.append({"ns": float(len(self.asked))})

    def reply(self) -> dict[str, Any]:
        if len(self.asked) >= self.ends:
            raise SideFailed("it has ended")
        return self.answers.pop(0)


@pytest.mark.parametrize("match", MATCHES, ids=lambda match: match.name)
def test_all_is_played_once_and_what_a_goal_compares_together(match: Match) -> None:
    """A group is what takes turns: both sides of every goal are in one."""
    found = groups(match)
    played = [(side, name) for side, names in match.workloads.items() for name in names]
    assert sorted(member for group in found for member in group) == sorted(played)
    for goal in (*GOALS, *[goal for floor in FLOORS for goal in floor.compared]):
        if isinstance(goal, Speed) and goal.match == match.name:
            compared = {(goal.of, goal.workload), (goal.side, goal.beside or goal.workload)}
            assert any(compared <= set(group) for group in found), goal.work


@pytest.mark.parametrize("match", MATCHES, ids=lambda match: match.name)
def test_what_is_open_at_the_same_time_has_keys_of_its_own(match: Match) -> None:
    """Workloads on values use the same keys: of each store, a process has one of them open at a time."""
    for group in groups(match):
        stores = [(side, WORKLOADS[name].kind) for side, name in group if WORKLOADS[name].layer == "provider"]
        assert len(set(stores)) == len(stores)


def test_a_quick_side_runs_more_blocks_beside_a_slow_one() -> None:
    """At scale only; its figure is the median of them, and the slow side has one block in a round."""
    asked: list[tuple[str, str]] = []
    name = "memory.get-of-100k"

    class Slow(Scripted):
        def tell(self, line: str) -> None:
            super().tell(line)
            if self.answers[-1] != OPENED and json.loads(line)[0] == "block":
                self.answers[-1] = {"ns": 100.0}

    workers = {"ours": Scripted("ours", asked), "0.2": Slow("0.2", asked), "tuples": Scripted("tuples", asked)}
    launch = Launch(workers)  # type: ignore[arg-type]
    members = [(side, name) for side in workers]
    blocks = launch.in_turns(members, replace(QUICK, least_blocks=3, most_blocks=1), 1)
    assert [side for side, _ in asked] == ["ours", "0.2", "tuples", *["ours", "tuples"] * MORE]
    assert blocks == {("ours", name): [7.0], ("0.2", name): [100.0], ("tuples", name): [8.0]}


def test_blocks_take_turns() -> None:
    """One of each in a round, and every other round goes backwards."""
    asked: list[tuple[str, str]] = []
    launch = Launch({name: Scripted(name, asked) for name in ("ours", "floor")})  # type: ignore[misc]
    members = [("ours", "memory.get"), ("floor", "memory.get")]
    blocks = launch.in_turns(members, replace(QUICK, least_blocks=3, most_blocks=3))
    backwards = members[::-1]
    assert asked == [*backwards, *members, *backwards]
    assert blocks == {("ours", "memory.get"): [2.0, 3.0, 6.0], ("floor", "memory.get"): [1.0, 4.0, 5.0]}


def test_each_side_goes_first_if_a_launch_has_one_round_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """A block with a million keys takes as long as a launch may: its rounds cannot take turns, so launches do."""
    asked: list[tuple[str, str]] = []

    @contextmanager
    def scripted(players: dict[Any, Player]) -> Iterator[Launch]:
        yield Launch({side: Scripted(side, asked) for side in players})  # type: ignore[misc]

    monkeypatch.setattr(peers, "launched", scripted)
    match = Match("memory", "asyncio", {"ours": ["memory.get"], "floor": ["memory.get"]})
    play(match, replace(QUICK, launches=2, least_blocks=1, most_blocks=1), {}, "free", None)
    assert [side for side, _ in asked] in (["ours", "floor", "floor", "ours"], ["floor", "ours", "ours", "floor"])


def test_a_side_that_failed_is_not_launched_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """The lists of blocks are paired by their places: one that is missing would pair those of different launches."""
    asked: list[tuple[str, str]] = []
    ends = iter([1_000, 0, 1_000, 1_000])  # the floor of the second launch ends at once

    @contextmanager
    def scripted(players: dict[Any, Player]) -> Iterator[Launch]:
        sides = {side: Scripted(side, asked) for side in players}
        if "floor" in sides:
            sides["floor"].ends = next(ends)
        yield Launch(sides)  # type: ignore[arg-type]

    monkeypatch.setattr(peers, "launched", scripted)
    match = Match("memory", "asyncio", {"ours": ["memory.get"], "floor": ["memory.get"]})
    found = play(match, replace(QUICK, launches=4, least_blocks=1, most_blocks=1), {}, "free", None)
    assert found["floor"]["error"] == "it has ended"
    assert len(found["floor"]["workloads"]["memory.get"]) == 1


def test_a_side_that_fails_is_left_out_and_the_others_go_on() -> None:
    """Its blocks have no partners any more, so none of that group is kept."""
    asked: list[tuple[str, str]] = []
    launch = Launch({"ours": Scripted("ours", asked), "0.2": Scripted("0.2", asked, ends=3)})  # type: ignore[dict-item]
    members = [("ours", "memory.get"), ("0.2", "memory.get")]
    blocks = launch.in_turns(members, replace(QUICK, least_blocks=5, most_blocks=5))
    assert list(blocks) == [("ours", "memory.get")]
    assert len(blocks["ours", "memory.get"]) == 5
    assert str(launch.errors["0.2"]) == "it has ended"
    assert list(launch.in_turns(members, QUICK)) == [("ours", "memory.get")]


@pytest.mark.slow
def test_processes_run_blocks_until_they_are_closed() -> None:
    """Real ones: two workloads in one process, and one in another, at the same time."""
    with launched({side: Player(library, "asyncio", {}, "free") for side, library in SIDES.items()}) as launch:
        members = [("ours", "memory.get"), ("ours", "manager.memory.validate"), ("floor", "memory.get")]
        for _ in range(2):
            blocks = launch.in_turns(members, QUICK)
            assert {member: min(found) > 0 for member, found in blocks.items()} == dict.fromkeys(members, True)
    assert launch.errors == {}


@pytest.mark.redis
@pytest.mark.slow
def test_sides_on_one_server_have_keys_of_their_own(redis_url: str) -> None:
    """A side that ends removes its keys, while another still reads: here the floor of one side is our library too."""
    urls = {"redis": redis_url}
    players = {side: Player("chuk", "asyncio", urls, "free") for side in ("ours", "floor")}
    with launched(players) as launch:
        launch.in_turns([("ours", "redis.get"), ("floor", "redis.get")], QUICK)
        launch._open([("ours", "redis.get"), ("floor", "redis.get")])
        launch._ask("floor", "close")
        assert launch._ask("ours", "block", "redis.get")
    assert launch.errors == {}


@pytest.mark.redis
async def test_what_has_no_near_cache_shares_no_connection_with_what_has_one(redis_url: str) -> None:
    """They are open at the same time: else the server would track what is read without a near cache, too."""
    opener = adapter("chuk", {"redis": redis_url})
    async with (
        opened(WORKLOADS["near.server"], opener, "side0") as plain,
        opened(WORKLOADS["near.hit"], opener, "side1") as near,
    ):
        for case in (near, plain):
            await case.reset()
            await case.run()
        nodes = [type(case.store.session_factory._client.deployment()) for case in (plain, near)]
    assert nodes == [Node, TrackingNode]


@pytest.mark.slow
def test_this_version_may_not_fail_and_a_peer_may() -> None:
    """The words of the peer are in the results; those of this version end the run."""
    peer = Match("test", "asyncio", {"ours": ["memory.get"], "floor": ["manager.memory.validate"]})
    found = play(peer, QUICK, {}, "free", None)
    assert found["ours"]["workloads"]["memory.get"]
    assert "allocate_session" in found["floor"]["error"]
    with pytest.raises(WorkerFailed, match="nonsense"):
        play(Match("test", "nonsense", {"ours": ["memory.get"]}), QUICK, {}, "free", None)


def test_the_table_says_how_turns_were_taken() -> None:
    """Results from before blocks took turns are described as they were made."""
    results = bench_results()
    before = str(speed(results))
    after = str(speed(results | {"turns": "blocks"}))
    assert "that ran one after the other" in " ".join(before.split())
    assert "Their blocks take turns" in " ".join(after.split())
