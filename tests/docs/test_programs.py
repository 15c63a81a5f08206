"""The programs in examples/ run; the others are tested where their subject is (tests/web, tests/stores)."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import pytest

from chuk_sessions import SessionManager
from examples import quick_start
from examples.rate_limit import HOUR, RateLimit
from tests.support.pages import README, REPOSITORY, is_promised, page

EXAMPLES = REPOSITORY / "examples"


def test_the_quick_start_prints_what_the_readme_says(capsys: pytest.CaptureFixture[str]) -> None:
    asyncio.run(quick_start.main())
    assert is_promised(capsys.readouterr().out, README.blocks("text")[0].text)


@pytest.mark.parametrize("store", ["memory", pytest.param("redis", marks=pytest.mark.redis)])
def test_the_rate_limit_runs_by_itself(store: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    environment = os.environ | {"SESSION_PROVIDER": store, "PYTHONPATH": str(REPOSITORY)}
    if store == "redis":
        environment["SESSION_REDIS_URL"] = request.getfixturevalue("redis_url")
    command = [sys.executable, str(EXAMPLES / "rate_limit.py")]
    done = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout == "alice: 3 of 5 requests pass\nbob: 2 of 2 requests pass\n"


async def test_the_rate_limit_begins_anew_with_the_hour() -> None:
    now = [10.5 * HOUR]
    limit = RateLimit(SessionManager(sandbox_id="gateway"), 1, lambda: now[0])
    assert [await limit.allow("alice"), await limit.allow("alice"), await limit.allow("bob")] == [True, False, True]
    now[0] += HOUR
    assert await limit.allow("alice")


def test_every_program_is_listed() -> None:
    listed = {link for link in page("examples/README.md").links() if link.endswith(".py")}
    assert listed == {path.name for path in EXAMPLES.glob("*.py")} - {"__init__.py"} | {
        "shop/app.py",
        "observability/app.py",
    }
