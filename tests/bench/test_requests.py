"""The applications whose requests are compared work, and the tables say what was measured."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from benchmarks.compare import page as compare_page
from benchmarks.compare.sides import OURS, all_environments, environments
from benchmarks.measure.scale import QUICK
from benchmarks.web import applications, goals, page
from benchmarks.web.driven import added, blocks
from benchmarks.web.run import play
from benchmarks.web.sides import BARE, COUNTS, LIBRARIES, OURS_IN_FLASK, PAGES, Duel, Library, duels
from tests.bench.samples import compare_results
from tests.support.servers import Server


def drive(library: str, path: str, url: str | None = None, clients: int = 2) -> list[Mapping[str, float]]:
    """The figures of two blocks of four requests."""

    async def two() -> list[Mapping[str, float]]:
        found = blocks(getattr(applications, library)(url), path, clients, 4)
        return [await anext(found), await anext(found)]

    return asyncio.run(two())


@pytest.mark.parametrize("path", ["/read", "/change"])
@pytest.mark.parametrize("library", ["chuk", "starlette", "litestar"])
def test_every_application_keeps_its_sessions(library: str, path: str) -> None:
    """In memory; it is checked that they were filled."""
    assert [sorted(block) for block in drive(library, path)] == [["ns", "p99"]] * 2


@pytest.mark.parametrize("path", PAGES)
def test_what_the_middleware_adds(path: str) -> None:
    """Both sides answer each page."""
    assert len(added(page=path, loop="asyncio", count=5, least=2, most=2, seconds=0.0)["ns"]) == 2


def test_on_redis(redis_server: Server) -> None:
    """Others leave their connections open at the end of the process."""
    assert min(block["ns"] for block in drive("chuk", "/change", redis_server.url)) > 0


def test_without_sessions() -> None:
    """A page that needs one is an error, and no figure."""
    assert min(block["ns"] for block in drive("bare", "/nothing", clients=1)) > 0
    with pytest.raises(AssertionError, match="session"):
        drive("bare", "/read")


def on_one_page(*names: str, no_redis: bool = True) -> list[Duel]:
    """Of these libraries, on one page with one client."""
    return [duel for duel in duels(no_redis) if duel.library.name in names and (duel.page, duel.clients) == ("read", 1)]


def test_they_take_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each round has a block of each process; one that fails is left out, and the others go on."""
    monkeypatch.setitem(COUNTS, "memory", 4)
    broken = Library("broken", "bare", stores=("memory",))
    chosen = [*on_one_page(OURS), Duel(broken, "memory", "read", 1), *on_one_page("Starlette's, in the cookie")]
    here = {duel.library.requirements: sys.executable for duel in chosen}
    ours, failed, theirs = play(chosen, here, {}, replace(QUICK, launches=2, least_blocks=3, most_blocks=3), "free")
    assert "session" in failed["error"]
    for found in (ours, theirs):
        assert [len(process) for process in found["ns"]] == [len(process) for process in found["p99"]] == [3, 3]
        assert found["versions"]["starlette"]


def test_who_is_compared_on_what() -> None:
    """Who has no store of a kind is not asked; without a server nobody is asked for it."""
    found = duels()
    assert {(duel.library.name, duel.page) for duel in found if duel.library.name == BARE} == {(BARE, "nothing")}
    assert {duel.page for duel in found} == set(PAGES)
    assert {duel.store for duel in duels(no_redis=True)} == {"memory"}
    assert all(callable(getattr(applications, library.function)) for library in LIBRARIES)
    assert {library.requirements for library in LIBRARIES if library.requirements} <= set(all_environments())
    assert len(set(all_environments().values())) == len(all_environments()) >= len(environments())


def test_a_library_that_is_not_installed_is_shown_as_that() -> None:
    (entry,) = play(on_one_page("starsessions"), {}, {}, QUICK, "free")
    assert entry["error"] == "not installed"
    (table,) = page.tables([entry], {})
    assert "not installed" in table


def entry(side: str, page_name: str, ns: float, **more: Any) -> dict[str, Any]:
    common = {"store": "memory", "clients": 1, "versions": {"starlette": "9.9"}}
    return {"side": side, "page": page_name, "ns": [[ns]], "p99": [[2 * ns]], **common, **more}


def launches(side: str, page_name: str, ns: list[list[float]], **more: Any) -> dict[str, Any]:
    """The same, of several launches."""
    return entry(side, page_name, 1.0, **more) | {"ns": ns}


def test_the_tables() -> None:
    """Requests a second, beside ours, and what ours costs."""
    results = compare_results()
    results["web"] = [
        entry(OURS, "nothing", 12_000.0),
        entry(BARE, "nothing", 10_000.0),
        entry(OURS, "read", 20_000.0),
        entry("starsessions", "read", 40_000.0),
    ]
    results["web_added"] = {"nothing": [[2_000.0]], "read": [[9_000.0, 10_000.0, 11_000.0]]}
    text = compare_page.text(results)
    assert "| starsessions" in text
    assert "25,000/s (0.50x), p99 80 µs" in text
    assert "no cookie: 2 µs; read-only: 10 µs." in text
    assert "starlette 9.9" in text
    assert "Requests with" not in compare_page.in_short(results)


def test_the_interval_of_a_ratio() -> None:
    """Is that of the pairs of blocks that took turns, not of all blocks: here both sides became slower together."""
    ours, theirs = [[10.0, 20.0], [30.0, 40.0]], [[20.0, 40.0], [60.0, 80.0]]
    entries = [launches(OURS, "read", ours), launches("starsessions", "read", theirs)]
    (table,) = page.tables(entries, {})
    assert "(0.50x, 0.50 to 0.50)" in table


def test_the_speed_to_reach() -> None:
    """A goal that is reached, one that is missed, and one that the scatter hides."""
    results: dict[str, Any] = {"quick": False, "web": [], "web_turns": "blocks"}
    assert goals.speed(results) == []
    theirs = {"read": [[30.0], [30.0]], "change": [[14.0], [14.0]]}
    for name, ns in theirs.items():
        results["web"] += [
            launches(OURS, name, [[10.0], [10.0]], store="redis"),
            launches("starsessions", name, ns, store="redis"),
        ]
    results["web"] += [
        launches(OURS_IN_FLASK, "change", [[10.0], [10.0]], store="redis"),
        launches("Flask-Session", "change", [[11.0], [12.6]], store="redis"),
    ]
    (table,) = goals.speed(results)
    assert [(row[0], row[1], row[5]) for row in table.rows] == [
        ("read-only", "starsessions", "ok"),
        ("one change", "starsessions", "short"),
        ("one change", "Flask-Session", "inconclusive"),
    ]
    del results["web_turns"]
    assert goals.speed(results) == []
