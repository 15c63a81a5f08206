"""The tables of the documentation say what the code says."""

from __future__ import annotations

import ast
import inspect
import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

import chuk_sessions
from chuk_sessions import ProviderError, SessionError, SessionManager, exceptions
from chuk_sessions.provider_factory import BUILT_IN
from chuk_sessions.providers import memory
from tests.support.pages import REPOSITORY, page

VARIABLE = re.compile(r"(?:SESSION|CHUK|REDIS)_[A-Z_]+")
ADAPTERS = {REPOSITORY / "chuk_sessions" / "web" / f"{name}.py" for name in ("flask", "pallets", "quart")}
DJANGO = set((REPOSITORY / "chuk_sessions" / "django").rglob("*.py"))
LOGGER = re.compile(r"\bgetLogger\(([^()]+)\)")
SETTINGS = page("docs/guide/configuration.md").table("Configuration")
ERRORS = page("docs/guide/errors.md").table("Errors")


def settings_in(paths: Iterable[Path]) -> set[str]:
    """Each string in these modules that is the name of a setting."""
    return {
        node.value
        for path in paths
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and VARIABLE.fullmatch(node.value)
    }


def test_configuration_table_lists_what_the_code_reads() -> None:
    """And nothing else. The adapters of Django, Flask and Quart go by the settings of Django, Flask and Quart."""
    others = ADAPTERS | DJANGO
    assert {row[0] for row in SETTINGS} == settings_in(set((REPOSITORY / "chuk_sessions").rglob("*.py")) - others)


@pytest.mark.parametrize("name", ["flask", "quart"])
def test_the_page_of_a_framework_lists_its_settings_that_are_read(name: str) -> None:
    """Those of the cookie by the ends of their names."""
    cells = " ".join(row[0] for row in page(f"docs/guide/{name}.md").table("The configuration"))
    names = [f"SESSION_COOKIE{name}" if name.startswith("_") else name for name in re.findall(r"\b[A-Z_]{5,}\b", cells)]
    assert {name for name in names if VARIABLE.fullmatch(name)} == settings_in(ADAPTERS)


def test_the_page_of_django_lists_the_keys_of_its_setting() -> None:
    settings = pytest.importorskip(
        "chuk_sessions.django.settings", reason="Django is not installed", exc_type=ImportError
    )
    assert [row[0] for row in page("docs/guide/django.md").table("The settings")] == list(settings.KEYS)


def test_the_table_of_logs_lists_every_logger() -> None:
    """By the name that each module of the package asks `logging` for."""
    names = set()
    for path in (REPOSITORY / "chuk_sessions").rglob("*.py"):
        module = path.relative_to(REPOSITORY).with_suffix("").parts
        known = {"__name__": ".".join(module), "__package__": ".".join(module[:-1])}
        names |= {eval(name, known) for name in LOGGER.findall(path.read_text())}
    assert {row[0] for row in page("docs/operate/observability.md").table("Logs")} == names


def test_defaults_in_the_configuration_table(monkeypatch: pytest.MonkeyPatch) -> None:
    from chuk_sessions.providers import redis

    defaults = {row[0]: row[2] for row in SETTINGS}
    assert defaults["REDIS_URL"] == redis.DEFAULT_URL
    assert type(SessionManager(sandbox_id="shop").session_factory) is memory.MemoryFactory
    assert defaults["SESSION_PROVIDER"] == "memory"
    assert os.environ["CHUK_SANDBOX_ID"] == "shop"
    monkeypatch.delenv("CHUK_SANDBOX_ID")
    assert re.fullmatch("sandbox-[0-9a-f]{8}", SessionManager().sandbox_id)
    monkeypatch.delenv("CHUK_SANDBOX_ID")
    monkeypatch.setenv("CHUK_HOST_SANDBOX_ID", "host")
    assert SessionManager().sandbox_id == "host"


def test_deployment_examples_set_only_what_exists() -> None:
    variables = {
        name for block in page("docs/operate/production.md").blocks("yaml") for name in VARIABLE.findall(block.text)
    }
    assert variables
    assert variables <= {row[0] for row in SETTINGS}


def test_error_table_lists_every_exception() -> None:
    assert sorted(row[0] for row in ERRORS) == sorted(exceptions.__all__)
    kinds = [getattr(chuk_sessions, row[0]) for row in ERRORS]
    first = kinds.index(ProviderError)
    assert all(issubclass(kind, SessionError) for kind in kinds[:first])
    assert all(issubclass(kind, ProviderError) for kind in kinds[first:])


def test_method_table_is_the_interface() -> None:
    """Every public method of SessionManager with its parameters, their defaults, and whether it is awaited."""
    described = {}
    calls = [
        call
        for cell, _ in page("docs/guide/sessions.md").table("The calls")
        for call in re.split(r"`, `(?=await )", cell)
    ]
    for call in calls:
        match = re.fullmatch(r"(await )?(\w+)\((.*)\)", call)
        assert match, call
        described[match[2]] = (bool(match[1]), match[3])
    members = inspect.getmembers(SessionManager, inspect.isfunction)
    methods: dict[str, Any] = {name: method for name, method in members if not name.startswith("_")}
    methods["SessionManager"] = SessionManager.__init__
    assert described.keys() == methods.keys()
    for name, method in methods.items():
        parameters = [p.replace(annotation=p.empty) for p in inspect.signature(method).parameters.values()]
        signature = str(inspect.Signature(parameters[1:]))
        assert described[name] == (inspect.iscoroutinefunction(method), signature[1:-1]), name


def test_provider_names_in_the_table() -> None:
    names = re.findall(r"\w+", " ".join(page("docs/guide/storage.md").table("Storage")[0][1:3]))
    assert names == list(BUILT_IN)


def test_bench_markers_stand_alone() -> None:
    lines = page("docs/performance.md").text().splitlines()
    assert [line for line in lines if "<!-- bench" in line] == ["<!-- bench:begin -->", "<!-- bench:end -->"]


def test_the_changelog_has_this_version() -> None:
    assert f"\n## {chuk_sessions.__version__} " in (REPOSITORY / "CHANGELOG.md").read_text()
