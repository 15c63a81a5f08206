"""Options, marker and fixtures that every test shares: without --redis, no test touches a server."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import hypothesis
import pytest

from tests.servers import ExternalServer, RedisServer, Server, ServerError, find_binary

if TYPE_CHECKING:
    from collections.abc import Iterator

# A deadline per example measures the machine, not the code; CI repeats the same examples on every run.
hypothesis.settings.register_profile("dev", deadline=None)
hypothesis.settings.register_profile("ci", deadline=None, derandomize=True)
hypothesis.settings.load_profile("ci" if os.environ.get("CI") else "dev")


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("redis")
    group.addoption("--redis", action="store_true", help="also run the tests that need a Redis server, on our own")
    group.addoption("--redis-url", metavar="URL", help="run them on this server; empties that database")


def wants_redis(config: pytest.Config) -> bool:
    return bool(config.getoption("--redis") or config.getoption("--redis-url"))


def make_server(config: pytest.Config) -> Server:
    url: str | None = config.getoption("--redis-url")
    return ExternalServer(url) if url else RedisServer()


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "redis: needs a Redis server; skipped without --redis or --redis-url")
    if wants_redis(config):
        try:
            make_server(config)
        except (ServerError, ValueError) as error:
            raise pytest.UsageError(str(error)) from error


def pytest_report_header(config: pytest.Config) -> str:
    if not wants_redis(config):
        return "redis: not used; pytest --redis runs those tests too"
    return f"redis: {'the given server' if config.getoption('--redis-url') else find_binary()}"


@pytest.hookimpl(tryfirst=True)  # before pytest applies -m, so that `-m redis` finds what is marked here
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    for item in items:
        if "redis_server" in getattr(item, "fixturenames", ()):
            item.add_marker("redis")
        if item.get_closest_marker("redis") and not wants_redis(config):
            item.add_marker(pytest.mark.skip(reason="needs a Redis server: pytest --redis"))


@pytest.fixture(scope="session")
def redis_server(request: pytest.FixtureRequest) -> Iterator[Server]:
    """The server of this run: the given one, else one of our own. A test that breaks it starts its own."""
    with make_server(request.config) as server:
        yield server


@pytest.fixture
def redis_url(redis_server: Server) -> str:
    """A URL whose database is empty when the test begins."""
    redis_server.flush()
    return redis_server.url
