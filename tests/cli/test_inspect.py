"""``inspect``: totals and the list are what is stored, in both layouts, and no id is shown unless asked for."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from chuk_sessions import SessionManager
from chuk_sessions.cli import main as cli
from chuk_sessions.cli.inspect import SandboxTotals, Survey, as_text
from chuk_sessions.ids import fingerprint, session_key, slot_tag, user_tag
from chuk_sessions.models import iso_timestamp
from chuk_sessions.providers import redis
from chuk_sessions.providers.redis.keys import index_key
from tests.support import published
from tests.support.places import server_or_cluster
from tests.support.servers import RedisServer

if TYPE_CHECKING:
    from tests.support.servers import Server

pytestmark = pytest.mark.redis
redis_server = server_or_cluster


async def allocate(url: str, hours: dict[str, float], sandbox_id: str, user_id: str) -> None:
    """Sessions by id with how long they live."""
    manager = SessionManager(sandbox_id, redis.factory(url), strict=True)
    for session_id, lifetime in hours.items():
        await manager.allocate_session(session_id, user_id, lifetime)


@pytest.fixture
def url(redis_server: Server, redis_url: str) -> str:
    """A database with sessions of two sandboxes and layouts, and a key that is none."""
    asyncio.run(allocate(redis_url, {"secret-a": 5, "secret-b": 1}, "shop", "alice"))
    asyncio.run(allocate(redis_url, {"secret-c": 3}, "shop", "bob"))
    published.put(redis_server, "secret-d", "docs", ttl=7200)
    redis_server.command("SET", "session:secret-e", "text")
    return redis_url


def inspect(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, Any]:
    assert cli.main(["inspect", *arguments, "--json"]) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def test_totals(url: str, redis_server: Server, capsys: pytest.CaptureFixture[str]) -> None:
    """Counts, memory as the server tells it, the oldest, the next to expire."""
    found = inspect(capsys, url)
    shop, docs = found["sandboxes"]["shop"], found["sandboxes"]["docs"]
    assert (shop["sessions"], shop["published"], docs["sessions"], docs["published"]) == (3, 0, 1, 1)
    assert found["unreadable"] == 1
    keys = [session_key("shop", f"secret-{letter}") for letter in "abc"]
    assert shop["memory"] == sum(int(str(redis_server.command("MEMORY", "USAGE", key))) for key in keys)
    indexes = [index_key("shop", slot_tag(f"secret-{letter}")) for letter in "abc"]
    indexes += [index_key("shop", user_tag("shop", user)) for user in ("alice", "bob")]
    sizes = [redis_server.command("MEMORY", "USAGE", key) for key in set(indexes)]
    assert shop["index_memory"] == sum(int(str(size)) for size in sizes if size is not None) > 200  # Valkey 9: 288
    assert docs["index_memory"] == 0
    assert inspect(capsys, url, "--user", "alice")["sandboxes"]["shop"]["index_memory"] is None
    rows = [row for row in found["sessions"] if row["sandbox_id"] == "shop"]
    assert shop["oldest_created_at"] == min(row["created_at"] for row in rows)
    assert shop["next_expires_at"][:18] == min(row["expires_at"] for row in rows)[:18]


def test_the_list(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Soonest to expire first; each with whose it is, its times, its memory and its layout."""
    rows = inspect(capsys, url)["sessions"]
    assert [row["fingerprint"] for row in rows] == [fingerprint(f"secret-{letter}") for letter in "bdca"]
    assert [row["user_id"] for row in rows] == ["alice", "alice", "bob", "alice"]
    assert [row["layout"] for row in rows] == ["current", "published", "current", "current"]
    assert all(row["memory"] > 0 and row["created_at"] <= row["last_accessed"] < row["expires_at"] for row in rows)
    assert [row["fingerprint"] for row in inspect(capsys, url, "--list", "2")["sessions"]] == [
        fingerprint("secret-b"),
        fingerprint("secret-d"),
    ]


def test_the_third_version_of_the_protocol(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Where replies have other shapes."""
    both = [inspect(capsys, url + options)["sandboxes"] for options in ("", "?protocol=3")]
    assert both[0].keys() == both[1].keys() == {"shop", "docs"}
    assert both[0]["shop"]["sessions"] == both[1]["shop"]["sessions"] == 3


def test_names_that_would_steer_a_terminal(
    redis_server: Server, redis_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Are escaped in the tables and exact in the JSON; letters of all languages stay as they are."""
    user, sandbox = "\x1b[2Jé\u202e\x9b\ud800\r\n", "box\x1b]0;title\x07"
    published.put(redis_server, "id\t\x7f", sandbox, user_id=user)
    assert cli.main(["inspect", redis_url, "--show-ids"]) == 0
    text = capsys.readouterr().out
    assert all(char.isprintable() or char == "\n" for char in text)
    for shown in (r"\x1b[2Jé\u202e\x9b\ud800\r\n", r"box\x1b]0;title\x07", r"id\t\x7f"):
        assert shown in text
    found = inspect(capsys, redis_url, "--show-ids")
    assert list(found["sandboxes"]) == [sandbox]
    assert [(row["user_id"], row["session_id"]) for row in found["sessions"]] == [(user, "id\t\x7f")]


def test_an_output_without_some_letters(redis_server: Server, redis_url: str) -> None:
    published.put(redis_server, "id", user_id="é\u2603")
    command = [sys.executable, "-m", "chuk_sessions", "inspect", redis_url]
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    result = subprocess.run(command, capture_output=True, timeout=60, env=environment, check=True)
    assert rb"\xe9\u2603" in result.stdout


def test_filters(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert list(inspect(capsys, url, "--sandbox", "docs")["sandboxes"]) == ["docs"]
    found = inspect(capsys, url, "--user", "alice", "--sandbox", "shop")
    assert found["sandboxes"]["shop"]["sessions"] == 2
    assert {row["user_id"] for row in found["sessions"]} == {"alice"}
    assert inspect(capsys, url, "--user", "nobody")["sandboxes"] == {}


def test_ids(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Only if asked for: whoever sees one can use it."""
    for extra in ([], ["--json"]):
        assert cli.main(["inspect", url, *extra]) == 0
        assert "secret" not in capsys.readouterr().out
    shown = [row["session_id"] for row in inspect(capsys, url, "--show-ids")["sessions"]]
    assert shown == ["secret-b", "secret-d", "secret-c", "secret-a"]


def test_text(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["inspect", url]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split()[:2] == ["sandbox", "sessions"]
    assert lines[1].startswith("docs")
    assert "1.0 h old  in 2.0 h" in lines[1]
    assert lines[2].split()[:3] == ["shop", "3", "0"]
    assert "the 4 that expire first:" in lines
    assert lines[-1].startswith("1 keys cannot be read")


def test_an_empty_database(redis_url: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["inspect", redis_url]) == 0
    assert capsys.readouterr().out == "no sessions\n"


def test_nothing_is_touched(url: str, redis_server: Server, capsys: pytest.CaptureFixture[str]) -> None:
    """Looking changes no byte."""
    keys = [session_key("shop", "secret-a"), "session:secret-d"]
    before = [redis_server.command("DUMP", key) for key in keys]
    inspect(capsys, url)
    assert [redis_server.command("DUMP", key) for key in keys] == before


def test_a_server_that_does_not_tell_memory(capsys: pytest.CaptureFixture[str]) -> None:
    with RedisServer("user limited on >pw ~* +@all -memory") as server:
        published.put(server, "id")
        url = server.url_for("limited", "pw")
        found = inspect(capsys, url)["sandboxes"]["box"]
        assert (found["memory"], found["index_memory"]) == (None, 0)  # a legacy session is in no index
        assert cli.main(["inspect", url]) == 0
        assert "not told" in capsys.readouterr().out


def test_units() -> None:
    """Large numbers stay readable."""
    sizes = {"a": 5, "b": 5 << 10, "c": 5 << 20, "d": 5 << 40}
    totals = {name: SandboxTotals(memory=size, oldest=0, next_end=0) for name, size in sizes.items()}
    text = as_text(Survey(totals))
    for cell in ("5 B", "5.0 KiB", "5.0 MiB", "5,120.0 GiB", " d old", "in 0 s"):
        assert cell in text
    assert iso_timestamp(0) not in text
