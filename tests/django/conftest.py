"""One project for all tests of a process, with its sessions on every store that has what a web session needs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import pytest

pytest.importorskip("django", reason="Django is not installed")

from tests.django import project

if TYPE_CHECKING:
    from django.test import Client

ON_STORES = [pytest.param("memory"), pytest.param("redis", marks=pytest.mark.redis)]

Setting = dict[str, Any]


@pytest.fixture(scope="session")
def django_project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Django, set up once in this process."""
    project.configure(str(tmp_path_factory.mktemp("django") / "users.sqlite3"))
    project.fill()
    from django.db import connections
    from django.test.utils import setup_test_environment

    setup_test_environment()
    yield
    connections.close_all()


@pytest.fixture
def override(django_project: None) -> Iterator[Callable[..., None]]:
    """Changes settings until the end of the test."""
    from django.test import override_settings

    begun: list[Any] = []

    def change(**settings: Any) -> None:
        begun.append(override_settings(**settings))
        begun[-1].enable()

    yield change
    for each in reversed(begun):
        each.disable()


@pytest.fixture(params=ON_STORES)
def setting(request: pytest.FixtureRequest, override: Callable[..., None]) -> Setting:
    """`CHUK_SESSIONS` on memory and on Redis, as it is set for the test."""
    url = "memory://" if request.param == "memory" else request.getfixturevalue("redis_url")
    found = {"URL": url, "SANDBOX": "shop"}
    override(CHUK_SESSIONS=found)
    return found


@pytest.fixture
def client(setting: Setting) -> Client:
    """A browser."""
    from django.test import Client

    return Client()
