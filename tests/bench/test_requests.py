"""The applications whose requests are compared work, and the tables say what was measured."""

from __future__ import annotations

from typing import Any

import pytest

from benchmarks.compare import page as compare_page
from benchmarks.compare.sides import OURS, all_environments, environments
from benchmarks.measure.scale import QUICK
from benchmarks.web import applications, page
from benchmarks.web.driven import added, requests
from benchmarks.web.run import play
from benchmarks.web.sides import BARE, LIBRARIES, PAGES, duels
from tests.bench.samples import compare_results
from tests.support.servers import Server


def drive(library: str, path: str, url: str | None = None, clients: int = 2) -> Any:
    options: dict[str, Any] = {"placement": "free", "count": 4, "least": 2, "most": 2, "seconds": 0.0}
    return requests(library=library, path=path, clients=clients, url=url, loop="asyncio", **options)


@pytest.mark.parametrize("path", ["/read", "/change"])
@pytest.mark.parametrize("library", ["chuk", "starlette", "litestar"])
def test_every_application_keeps_its_sessions(library: str, path: str) -> None:
    """In memory; it is checked that they were filled."""
    found = drive(library, path)
    assert {name: len(blocks) for name, blocks in found.items()} == {"ns": 2, "p99": 2}


@pytest.mark.parametrize("path", PAGES)
def test_what_the_middleware_adds(path: str) -> None:
    """Both sides answer each page."""
    assert len(added(page=path, loop="asyncio", count=5, least=2, most=2, seconds=0.0)["ns"]) == 2


def test_on_redis(redis_server: Server) -> None:
    """Others leave their connections open at the end of the process."""
    assert min(drive("chuk", "/change", redis_server.url)["ns"]) > 0


def test_without_sessions() -> None:
    """A page that needs one is an error, and no figure."""
    assert min(drive("bare", "/nothing", clients=1)["ns"]) > 0
    with pytest.raises(AssertionError, match="session"):
        drive("bare", "/read")


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
    chosen = [duel for duel in duels(no_redis=True) if duel.library.name == "starsessions"][:1]
    (entry,) = play(chosen, {}, {}, QUICK, "free")
    assert entry["error"] == "not installed"
    (table,) = page.tables([entry], {})
    assert "not installed" in table


def entry(side: str, page_name: str, ns: float, **more: Any) -> dict[str, Any]:
    common = {"store": "memory", "clients": 1, "versions": {"starlette": "9.9"}}
    return {"side": side, "page": page_name, "ns": [[ns]], "p99": [[2 * ns]], **common, **more}


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
