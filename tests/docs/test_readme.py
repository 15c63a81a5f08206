"""The README keeps its word: its examples run and give what they say, and its tables say what the code says.

Every Python block is a test on each store that it is written for. It gets the names that it leaves open from
`SUPPLIED`, and its check calls every function that it defines.
"""

from __future__ import annotations

import ast
import asyncio
import inspect
import os
import re
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

import chuk_sessions
from chuk_sessions import ProviderError, SessionError, SessionManager, exceptions
from chuk_sessions.provider_factory import BUILT_IN
from chuk_sessions.providers import memory
from tests.support import page_checks
from tests.support.pages import PAGES, README, REPOSITORY, called_functions, is_promised, page

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.pages import Block

# Those of the README, and of other pages if they have a check.
CHECKED = [
    (where, block)
    for where in PAGES
    for block in where.blocks("python")
    if where is README or block.name in page_checks.CHECKS
]
BLOCKS = {block.name: block for _, block in CHECKED}
QUICK_START = "README.md#quick-start"
OWN_PROVIDER = "README.md#your-own-provider"
ON_ONE_STORE = {
    "README.md#memory": "memory",
    OWN_PROVIDER: "memory",
    "docs/operate/redis.md#redis": "redis",
    "docs/operate/redis.md#passwords-that-change": "redis",
}
PYTEST_EXAMPLE = "README.md#testing"
VARIABLE = re.compile(r"(?:SESSION|CHUK|REDIS)_[A-Z_]+")


def on_stores() -> Iterator[object]:
    for name in BLOCKS.keys() - {PYTEST_EXAMPLE}:
        for store in (ON_ONE_STORE[name],) if name in ON_ONE_STORE else ("memory", "redis"):
            marks = [pytest.mark.redis] if store == "redis" else []
            yield pytest.param(name, store, id=f"{name}-{store}", marks=marks)


@pytest.mark.parametrize(("name", "store"), sorted(on_stores(), key=str))
def test_example_runs(
    name: str,
    store: str,
    monkeypatch: pytest.MonkeyPatch,
    request: pytest.FixtureRequest,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """It runs as written, prints what the README says, and each function in it was called and did its work."""
    block = BLOCKS[name]
    monkeypatch.setenv("SESSION_PROVIDER", store)
    redis_url = request.getfixturevalue("redis_url") if store == "redis" else None
    if redis_url:
        monkeypatch.setenv("SESSION_REDIS_URL", redis_url)
    supplied = page_checks.SUPPLIED.get(name, dict)()
    if redis_url and ON_ONE_STORE.get(name) == "redis":
        supplied["redis_url"] = redis_url

    with asyncio.Runner() as runner, called_functions(block.path) as called:
        namespace = block.run(runner, supplied)
        runner.run(page_checks.CHECKS[name](namespace))

    where = next(where for where, each in CHECKED if each is block)
    for promised in (text.text for text in where.blocks("text") if text.name == name):
        assert is_promised(capsys.readouterr().out, promised)
    assert block.functions() <= called


def test_every_example_has_its_check() -> None:
    assert len(BLOCKS) == len(CHECKED), "two Python blocks under one heading"
    assert BLOCKS.keys() == page_checks.CHECKS.keys() | {PYTEST_EXAMPLE}
    assert page_checks.SUPPLIED.keys() <= BLOCKS.keys()


@pytest.mark.slow
def test_testing_example_passes_in_pytest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    (tmp_path / "test_example.py").write_text(BLOCKS[PYTEST_EXAMPLE].text)
    monkeypatch.setenv("PYTHONPATH", str(REPOSITORY))
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(tmp_path)]
    run = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert "1 passed" in run.stdout, run.stdout + run.stderr


def test_custom_provider_works_by_the_name_of_its_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "myapp").mkdir()
    (tmp_path / "myapp" / "dict_provider.py").write_text(BLOCKS[OWN_PROVIDER].text)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("SESSION_PROVIDER", "myapp.dict_provider")
    try:
        manager = SessionManager(sandbox_id="shop")
        asyncio.run(page_checks.check_sessions_of(manager))
        assert sys.modules["myapp.dict_provider"].ROWS == {}
    finally:
        for name in ("myapp.dict_provider", "myapp"):
            sys.modules.pop(name, None)


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("redis://user:pa55word@localhost:6379/0?retries=3", "unknown option 'retries'"),
        ("redis://:pa55word@one:26379,two:26379/mymaster?cluster=true", "cluster=true"),
        ("redis://:pa55word@localhost:1/0?socket_connect_timeout=2", "localhost:1"),
    ],
)
def test_refused_urls_say_why_at_first_use(url: str, reason: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SESSION_REDIS_URL", url)
    monkeypatch.setenv("SESSION_PROVIDER", "redis")

    async def use() -> None:
        async with chuk_sessions.factory_for_env()() as store:
            await store.get("key")

    with pytest.raises(ProviderError, match=reason) as caught:
        asyncio.run(use())
    assert "pa55word" not in str(caught.value)


# -- the first screen ----------------------------------------------------------------------------------------


def nox_sessions() -> set[str]:
    command = [sys.executable, "-m", "nox", "--list", "--noxfile", str(REPOSITORY / "noxfile.py")]
    listed = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=60, check=True)
    return set(re.findall(r"^[*-] (\S+)", listed.stdout, flags=re.MULTILINE))


def test_first_screen_has_the_two_commands() -> None:
    """One block near the top, two lines: the benchmarks and the tests, each with what a fresh machine needs."""
    first = README.blocks("bash")[0]
    assert first.text.splitlines() == ["pip install nox && nox -s bench", "pip install nox && nox -s tests"]
    assert first.line < 20


def test_all_nox_commands_exist() -> None:
    mentioned = re.findall(r"nox -s ([\w.-]+(?: \w+)*)", README.text())
    names = {name for group in mentioned for name in group.split()}
    assert {"bench", "tests"} <= names <= nox_sessions()


# -- tables and links ----------------------------------------------------------------------------------------


def test_configuration_table_lists_what_the_code_reads() -> None:
    """Each string in the package that is the name of a setting is in the table, and the other way round."""
    sources = [ast.parse(path.read_text()) for path in (REPOSITORY / "chuk_sessions").rglob("*.py")]
    strings = {
        node.value
        for source in sources
        for node in ast.walk(source)
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and VARIABLE.fullmatch(node.value)
    }
    assert {row[0] for row in README.table("Configuration")} == strings


def test_defaults_in_the_configuration_table(monkeypatch: pytest.MonkeyPatch) -> None:
    from chuk_sessions.providers import redis

    defaults = {row[0]: row[2] for row in README.table("Configuration")}
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
    assert variables <= {row[0] for row in README.table("Configuration")}


def test_error_table_lists_every_exception() -> None:
    assert sorted(row[0] for row in README.table("Errors")) == sorted(exceptions.__all__)
    kinds = [getattr(chuk_sessions, row[0]) for row in README.table("Errors")]
    first = kinds.index(ProviderError)
    assert all(issubclass(kind, SessionError) for kind in kinds[:first])
    assert all(issubclass(kind, ProviderError) for kind in kinds[first:])


def test_method_table_is_the_interface() -> None:
    """Every public method of SessionManager with its parameters, their defaults, and whether it is awaited."""
    described = {}
    calls = [call for cell, _ in README.table("The two APIs") for call in re.split(r"`, `(?=await )", cell)]
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
    names = re.findall(r"\w+", " ".join(README.table("Storage")[0][1:3]))
    assert names == list(BUILT_IN)


def test_bench_markers_stand_alone() -> None:
    lines = page("docs/performance.md").text().splitlines()
    assert [line for line in lines if "<!-- bench" in line] == ["<!-- bench:begin -->", "<!-- bench:end -->"]


def test_architecture_names_files_that_exist() -> None:
    names = set(re.findall(r"`(\w+(?:\.py|/))`", README.section("Architecture")))
    assert names
    assert [name for name in names if not (REPOSITORY / "chuk_sessions" / name).exists()] == []


def test_the_changelog_has_this_version() -> None:
    assert f"\n## {chuk_sessions.__version__} " in (REPOSITORY / "CHANGELOG.md").read_text()


def test_blocks_report_their_line_in_the_readme() -> None:
    """The helper itself: a traceback from an example points into the README."""
    block: Block = BLOCKS[QUICK_START]
    assert README.text().splitlines()[block.line - 1] == block.text.splitlines()[0]
    assert "main" in block.functions()
