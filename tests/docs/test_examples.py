"""The examples that each store must be able to run: they do, print what their page says, and did their work.

Their checks, and the names that they leave open, are in tests/support/page_checks.py. Other Python blocks run with
their page: `test_pages.py`.
"""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING

import pytest

import chuk_sessions
from chuk_sessions import ProviderError, SessionManager
from tests.support import page_checks
from tests.support.pages import PAGES, README, called_functions, is_promised

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

CHECKED = [
    (page, block)
    for page in PAGES
    for block in page.blocks("python")
    if page is README or block.name in page_checks.CHECKS
]
BLOCKS = {block.name: block for _, block in CHECKED}
QUICK_START = "README.md#quick-start"
OWN_PROVIDER = "docs/extend/provider.md#a-provider-of-your-own"
ON_ONE_STORE = {
    "README.md#in-a-web-application": "memory",
    "docs/guide/storage.md#memory": "memory",
    OWN_PROVIDER: "memory",
    "docs/operate/redis.md#redis": "redis",
    "docs/operate/redis.md#passwords-that-change": "redis",
    "docs/operate/logins.md#logins-that-expire": "redis",
    **dict.fromkeys(page_checks.MODULES, "memory"),
}


def on_stores() -> Iterator[object]:
    for name in BLOCKS:
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
    """It runs as written, prints what its page says, and each function in it was called and did its work."""
    block = BLOCKS[name]
    monkeypatch.setenv("SESSION_PROVIDER", store)
    redis_url = request.getfixturevalue("redis_url") if store == "redis" else None
    if redis_url:
        monkeypatch.setenv("SESSION_REDIS_URL", redis_url)
    for module, replacement in page_checks.MODULES.get(name, {}).items():
        monkeypatch.setitem(sys.modules, module, replacement)
    supplied = page_checks.SUPPLIED.get(name, dict)()
    with asyncio.Runner() as runner, called_functions(block.path) as called:
        namespace = block.run(runner, supplied)
        runner.run(page_checks.CHECKS[name](namespace))

    page = next(page for page, each in CHECKED if each is block)
    for promised in (text.text for text in page.blocks("text") if text.name == name):
        assert is_promised(capsys.readouterr().out, promised)
    assert block.functions() <= called


def test_every_example_has_its_check() -> None:
    assert len(BLOCKS) == len(CHECKED), "two Python blocks under one heading"
    assert BLOCKS.keys() == page_checks.CHECKS.keys()
    assert page_checks.SUPPLIED.keys() | page_checks.MODULES.keys() <= BLOCKS.keys()


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


def test_blocks_report_their_line_in_the_readme() -> None:
    """The helper itself: a traceback from an example points into the README."""
    block = BLOCKS[QUICK_START]
    assert README.text().splitlines()[block.line - 1] == block.text.splitlines()[0]
    assert "main" in block.functions()
