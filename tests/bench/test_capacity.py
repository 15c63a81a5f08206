"""The page of capacity: its figures are those of the results, and what it takes for granted is so."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Any

import hiredis
import pytest

from benchmarks.bench import capacity
from benchmarks.compare.sides import OURS
from chuk_sessions import SessionManager
from chuk_sessions.ids import session_key
from chuk_sessions.providers import redis
from chuk_sessions.providers.redis.scripts import TOUCH
from tests.bench.samples import bench_results, case, compare_results, entry
from tests.redis.test_exact_costs import OPERATIONS

if TYPE_CHECKING:
    from tests.support.servers import Server


def rows(text: str) -> dict[str, list[str]]:
    """The cells of each row, by its first one."""
    lines = [line.strip("|").split("|") for line in text.splitlines() if line.startswith("|")]
    return {first.strip(): [cell.strip() for cell in cells] for first, *cells in lines}


def test_what_follows_for_many_sessions() -> None:
    """By hand: 1,448 bytes each; 16,667 validations a second, each 5 microseconds, of a core that is half busy."""
    compare = compare_results()
    compare["contests"] += [entry(name, OURS, 5_000) for name in capacity.TOGETHER]
    found = rows(capacity.text(bench_results(), compare))
    assert found["Memory of sessions and indexes"] == ["1.4 GB", "144.8 GB"]
    assert found["Memory of the masters, with as much free"] == ["2.9 GB", "289.6 GB"]
    assert found["Masters, by memory"] == ["1", "10"]
    assert found["Validations a second"] == ["16,667", "1,666,667"]
    assert found["Cores, application and masters together"] == ["1", "17"]
    assert found["Network, to and from the masters"] == ["24 Mbit/s", "2,413 Mbit/s"]


def test_a_core_serves_the_reciprocal_of_a_time() -> None:
    bench = bench_results()
    bench["cases"].append(case("manager.redis.validate", "uvloop", 0.025, 1_000, beside_ns=1.0))
    text = capacity.text(bench, None)
    assert "| Redis  | validate | 1 caller |       25 µs |           40k/s |" in text
    assert "| Redis  | allocate | 1 caller |           - |               - |" in text


def test_what_was_not_measured_is_a_dash() -> None:
    """Older results have no bytes of a session, and others no callers at the same time."""
    assert rows(capacity.text(bench_results(), None))["Cores, application and masters together"] == ["-", "-"]
    assert "On a cluster" not in capacity.text(bench_results() | {"sessions": {}}, None)


@pytest.mark.redis
async def test_the_bytes_of_a_validation(redis_server: Server, redis_url: str) -> None:
    """On the wire, and back."""
    assert OPERATIONS["validate"][2] == capacity.VALIDATE_BYTES
    session_id = await SessionManager("my-app", redis.factory(redis_url)).allocate_session(user_id="alice")
    command: Any = ("EVAL", TOUCH._script._source, 1, session_key("my-app", session_id))
    with socket.create_connection((redis_server.host, redis_server.port)) as line:
        line.sendall(hiredis.pack_command(command))
        reply, reader = b"", hiredis.Reader()
        while reader.gets() is False:
            data = line.recv(1000)
            reader.feed(data)
            reply += data
    assert len(reply) == capacity.REPLY_BYTES
