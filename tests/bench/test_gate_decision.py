"""The gate's rule on synthetic timings: it never cries wolf, never sleeps, and says when it cannot tell."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

import pytest

from benchmarks.gate.decision import (
    MEMORY_CALM,
    REDIS_CALM,
    Calm,
    Launch,
    Verdict,
    check_calm,
    decide,
    exit_code,
    interval,
    is_clear,
    is_clearly_calm,
    median_ratio,
)
from benchmarks.gate.gate import looks
from benchmarks.gate.pairs import PAIRS
from benchmarks.gate.scenarios import FAMILIES, Family

LAUNCHES = 10
TRIALS = 150


def pairs_of(chooser: random.Random, block: Callable[[int], float], slower: float = 1.0) -> Launch:
    """A launch of AB/BA pairs. ``block`` gives the time of the n-th block of the launch, before a slowdown."""
    process = [chooser.gauss(1, 0.008) for _ in range(2)]  # as measured: fresh processes scatter by about 1 %
    found = []
    for number in range(PAIRS):
        first, second = block(2 * number), block(2 * number + 1)
        base, head = (first, second) if number % 2 == 0 else (second, first)
        found.append((base * process[0], head * process[1] * slower))
    return found


def quiet(chooser: random.Random, slower: float) -> Launch:
    """A calm machine."""
    return pairs_of(chooser, lambda _: chooser.gauss(1_000, 20), slower)


def drifting(chooser: random.Random, slower: float) -> Launch:
    """A machine that becomes 60 % slower, or faster, within a launch."""
    slope = chooser.choice((-1, 1)) * 0.3
    return pairs_of(chooser, lambda number: chooser.gauss(1_000, 20) * (1 + slope * (number / PAIRS - 1)), slower)


def with_outliers(chooser: random.Random, slower: float) -> Launch:
    """Every tenth block takes between twice and thirty times as long."""
    return pairs_of(
        chooser,
        lambda _: chooser.gauss(1_000, 20) * (chooser.uniform(2, 30) if chooser.random() < 0.1 else 1),
        slower,
    )


def bimodal_blocks(chooser: random.Random, slower: float) -> Launch:
    """A third of the blocks runs on a core that is 40 % slower."""
    return pairs_of(chooser, lambda _: chooser.gauss(1_000, 20) * (1.4 if chooser.random() < 0.33 else 1), slower)


def bimodal_launches(chooser: random.Random, slower: float) -> Launch:
    """Half of the launches run at a clock that is 30 % slower, both processes of them."""
    mode = chooser.choice((1.0, 1.3))
    return pairs_of(chooser, lambda _: chooser.gauss(1_000, 20) * mode, slower)


NOISES = [quiet, drifting, with_outliers, bimodal_blocks, bimodal_launches]


def launches(noise: Callable[[random.Random, float], Launch], seed: str, count: int, slower: float) -> list[Launch]:
    """Synthetic launches, the same for the same seed."""
    chooser = random.Random(seed)
    return [noise(chooser, slower) for _ in range(count)]


def verdict(noise: Callable[[random.Random, float], Launch], trial: int, slower: float) -> Verdict:
    """The final verdict of one run of the gate."""
    first = launches(noise, f"first {trial}", LAUNCHES, slower)
    if any(is_clear(first[:count], count / LAUNCHES) for count in looks(LAUNCHES)[:-1]):
        return Verdict.OK
    found = decide(first)
    if found is Verdict.AGAIN:
        found = decide(first, launches(noise, f"second {trial}", 2 * LAUNCHES, slower))
    return found


@pytest.mark.parametrize("noise", NOISES)
def test_the_same_code_never_fails(noise: Callable[[random.Random, float], Launch]) -> None:
    """Whatever the noise, no alarm in 150 runs."""
    assert {verdict(noise, trial, 1.0) for trial in range(TRIALS)} == {Verdict.OK}


@pytest.mark.slow
@pytest.mark.parametrize("noise", NOISES)
def test_ten_per_cent_is_always_found(noise: Callable[[random.Random, float], Launch]) -> None:
    """Whatever the noise, found in 30 of 30 runs."""
    assert {verdict(noise, trial, 1.10) for trial in range(30)} == {Verdict.SLOWER}


def test_three_per_cent_passes_and_faster_code_does() -> None:
    """The limit is at 6 %: less is for the instruction counts to find."""
    assert verdict(quiet, 0, 1.03) is Verdict.OK
    assert verdict(quiet, 0, 0.5) is Verdict.OK


def test_one_bad_measurement_alone_fails_nothing() -> None:
    """Over the limit once asks for more; the second measurement then decides."""
    bad, good = launches(quiet, "bad", LAUNCHES, 1.2), launches(quiet, "good", 2 * LAUNCHES, 1.0)
    assert decide(bad) is Verdict.AGAIN
    assert decide(bad, good) is Verdict.OK
    assert decide(bad, bad) is Verdict.SLOWER


def test_a_second_measurement_that_could_be_noise_is_inconclusive() -> None:
    """Launches that lie anywhere between half and twice: the median says slower, the interval says maybe."""
    wild: Sequence[Launch] = [[(1_000.0, 1_000.0 * ratio)] for ratio in (0.5, 0.6, 0.7, 0.9, 1.2, 1.5, 1.6, 1.8, 2.0)]
    assert median_ratio(wild) == pytest.approx(1.2)
    assert decide(wild, wild) is Verdict.INCONCLUSIVE


@pytest.mark.parametrize("calm", [MEMORY_CALM, REDIS_CALM])
def test_a_base_that_differs_from_itself_twice_is_inconclusive(calm: Calm) -> None:
    """Once asks for a retry; either direction counts."""
    good, slow, fast = (launches(quiet, "calm", LAUNCHES, slower) for slower in (1.0, 1.08, 0.92))
    for bad in (slow, fast):
        assert check_calm(bad, None, calm) is Verdict.AGAIN
        assert check_calm(bad, good, calm) is Verdict.OK
        assert check_calm(bad, bad, calm) is Verdict.INCONCLUSIVE
    assert check_calm(good, None, calm) is Verdict.OK


@pytest.mark.parametrize(("share", "clear", "calm"), [(0.25, 1.01, 0.0075), (0.5, 1.02, 0.015)])
def test_some_of_the_launches_are_enough_for_what_is_far_from_the_limit(
    share: float, clear: float, calm: float
) -> None:
    """The fewer they are, the further: of a scenario downwards from a bound, of the machine in either direction."""
    assert is_clear([[(1_000.0, 1_000.0 * (clear - 0.001))]], share)
    assert is_clear([[(1_000.0, 500.0)]], share)
    assert not is_clear([[(1_000.0, 1_000.0 * (clear + 0.001))]], share)
    for change, expected in ((calm - 0.001, True), (calm + 0.001, False)):
        for ratio in (1 + change, 1 - change):
            assert is_clearly_calm([[(1_000.0, 1_000.0 * ratio)]], share, MEMORY_CALM) is expected


def test_a_quarter_then_half_then_all() -> None:
    """Of the launches of each family; three at least, unless half of them are fewer."""
    assert [looks(family.launches) for family in FAMILIES] == [[3, 5, 10], [2, 4], [5, 10, 20]]
    assert [looks(count) for count in (1, 2, 3)] == [[1], [1, 2], [2, 3]]


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
@pytest.mark.parametrize("noise", NOISES)
def test_some_of_the_launches_never_acquit_what_is_slower(
    noise: Callable[[random.Random, float], Launch], family: Family
) -> None:
    """Whatever the noise and the family, none of 50 runs ends early that is 8 % slower, and most do that are honest."""
    for count in looks(family.launches)[:-1]:
        share = count / family.launches
        ends = {
            slower: [is_clear(launches(noise, f"some {trial}", count, slower), share) for trial in range(50)]
            for slower in (1.0, 1.08)
        }
        assert not any(ends[1.08])
        assert sum(ends[1.0]) > (45 if share == 0.5 else 35)


def test_redis_may_scatter_a_little_more() -> None:
    """3.5 % is too much for memory and not for Redis."""
    launches_of = [[(1_000.0, 1_035.0)]]
    assert check_calm(launches_of, None, MEMORY_CALM) is Verdict.AGAIN
    assert check_calm(launches_of, None, REDIS_CALM) is Verdict.OK


def test_only_slower_fails() -> None:
    """An inconclusive, a new and a good scenario end with 0."""
    assert exit_code([Verdict.OK, Verdict.INCONCLUSIVE, Verdict.NEW]) == 0
    assert exit_code([Verdict.OK, Verdict.SLOWER]) == 1
    assert exit_code([]) == 0


def test_the_interval_holds_the_median_and_repeats() -> None:
    """The same launches give the same interval; more launches a narrower one."""
    few, many = launches(quiet, "x", 5, 1.1), launches(quiet, "x", 40, 1.1)
    low, high = interval(few)
    assert low <= median_ratio(few) <= high
    assert interval(few) == (low, high)
    narrow = interval(many)
    assert narrow[1] - narrow[0] < high - low


def test_whole_launches_are_drawn_not_pairs() -> None:
    """Many pairs of two processes are two figures, not many: an interval over pairs would hide that."""
    apart: list[Launch] = [[(1_000.0, 900.0)] * 25, [(1_000.0, 1_100.0)] * 25]
    assert interval(apart) == (0.9, 1.1)
