"""``python -m chuk_sessions``: what is printed, where, and with which exit code."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from chuk_sessions import __version__
from chuk_sessions.cli import main as cli
from chuk_sessions.cli.migrate import Counts
from chuk_sessions.cli.progress import show_progress
from chuk_sessions.ids import fingerprint, session_key
from tests.support import published

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.servers import Server


def test_help_without_a_command(capsys: pytest.CaptureFixture[str]) -> None:
    """The exit code is that of a usage error, and the commands are named."""
    with pytest.raises(SystemExit) as caught:
        cli.main([])
    assert caught.value.code == 2
    assert "{migrate,inspect,check,reindex,rotate,top}" in capsys.readouterr().err


def test_the_module_runs() -> None:
    command = [sys.executable, "-W", "error", "-m", "chuk_sessions", "--help"]
    result = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert "migrate" in result.stdout
    assert result.stderr == ""


def test_the_version_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.main(["--version"])
    assert caught.value.code == 0
    assert capsys.readouterr().out == f"chuk-sessions {__version__}\n"


@pytest.mark.parametrize(
    ("started", "name"),
    [
        ("/usr/bin/chuk-sessions", "chuk-sessions"),
        ("chuk-sessions.exe", "chuk-sessions"),
        ("/site-packages/chuk_sessions/__main__.py", "python -m chuk_sessions"),
    ],
)
def test_usage_names_the_program_as_it_was_started(
    started: str, name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", [started])
    with pytest.raises(SystemExit):
        cli.main(["check"])
    assert capsys.readouterr().err.startswith(f"usage: {name} check ")


@pytest.mark.parametrize("arguments", [["--help"], ["check"]])
@pytest.mark.redis
def test_output_that_nobody_reads(arguments: list[str], redis_url: str) -> None:
    """As with `| head` that has ended: no traceback."""
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-m", "chuk_sessions", *arguments, *([] if "--help" in arguments else [redis_url])]
    buffered = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    result = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, timeout=60, check=False, env=buffered)
    os.close(writer)
    assert (result.returncode, result.stderr) == (cli.OUTPUT_CLOSED, b"")


@pytest.mark.redis
def test_errors_that_nobody_reads(redis_url: str) -> None:
    """As with `2>&1 | head`."""
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-m", "chuk_sessions", "migrate", "--from", redis_url, "--to", "memory"]
    result = subprocess.run(command, stdout=writer, stderr=writer, timeout=60, check=False)
    os.close(writer)
    assert result.returncode == cli.OUTPUT_CLOSED


ERRORS = {
    "no URL": (("nonsense", "redis://localhost"), "unknown scheme"),
    "no such variable": (("env:NO_SUCH_VARIABLE", "redis://localhost"), "variable NO_SUCH_VARIABLE is not set"),
    "memory": (("redis://localhost", "memory"), "would end with this process"),
    "no such module": (("redis://localhost", "no_such_module"), "--to='no_such_module' is no known provider"),
    "a mistyped URL": (("redis://localhost", "redis:pass-word@localhost"), "neither a URL"),
    "another": (("redis://localhost", "redis//:pass-word@localhost"), "neither a URL"),
    "no provider": (("redis://localhost", "json"), "--to='json': module json has no factory()"),
    "no server": (("redis://:pass-word@127.0.0.1:1", "redis://localhost"), "cannot connect"),
}


@pytest.mark.parametrize("name", ERRORS)
def test_errors(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """One line on standard error with the reason and without the password; exit code 2."""
    (source, target), reason = ERRORS[name]
    assert cli.main(["migrate", "--from", source, "--to", target]) == 2
    output = capsys.readouterr()
    assert output.out == ""
    (line,) = output.err.splitlines()
    assert line.startswith("error: ")
    assert reason.lower() in line.lower()
    assert "pass-word" not in line


def test_a_provider_whose_module_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its error is shown as it is, and the exit code is not that of a run that left something."""
    (tmp_path / "failing_module.py").write_text("raise RuntimeError('no licence')\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert cli.main(["migrate", "--from", "redis://127.0.0.1:1", "--to", "failing_module"]) == 2
    assert "RuntimeError: no licence" in capsys.readouterr().err


def test_a_server_that_cannot_be_reached() -> None:
    """Is said once, in a process of its own too, where log lines without a handler go to standard error."""
    command = [sys.executable, "-m", "chuk_sessions", "check", "redis://127.0.0.1:1"]
    result = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert result.returncode == 2
    (line,) = result.stderr.splitlines()
    assert line.startswith("error: cannot connect to Redis at 127.0.0.1:1")


@pytest.mark.parametrize("batch", ["0", "-1", "many", "10001"])
def test_a_batch_that_is_none(batch: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli.main(["migrate", "--from", "redis://a", "--to", "redis://a", "--batch", batch])
    assert "1 to 10000" in capsys.readouterr().err


def test_a_sandbox_that_is_none(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli.main(["migrate", "--from", "redis://a", "--to", "redis://a", "--into", "a/b"])
    assert "must not contain '/'" in capsys.readouterr().err


@pytest.mark.redis
class TestMigrate:
    def test_all_is_well(self, redis_server: Server, redis_url: str, capsys: pytest.CaptureFixture[str]) -> None:
        for name in ("one", "two"):
            published.put(redis_server, f"id-{name}")
        command = ["migrate", "--from", redis_url, "--to", redis_url]
        assert cli.main([*command, "--dry-run", "--into", "shop"]) == 0
        assert "to move: 2" in capsys.readouterr().out
        assert cli.main(command) == 0
        assert capsys.readouterr().out.split() == ["moved:", "2"]
        assert cli.main(command) == 0
        assert "in our layout: 2" in capsys.readouterr().out

    def test_a_dry_run(self, redis_server: Server, redis_url: str, capsys: pytest.CaptureFixture[str]) -> None:
        """How many of each sandbox, the largest first, up to a number of them."""
        for number in range(25):
            published.put(redis_server, f"id-{number}", f"box-{number}")
        published.put(redis_server, "id", "box-7")
        assert cli.main(["migrate", "--from", redis_url, "--to", redis_url, "--dry-run"]) == 0
        first, second, *others, last = capsys.readouterr().out.splitlines()
        assert first.split() == ["to", "move:", "26"]
        assert second.split() == ["2", "of", "sandbox", "'box-7'"]
        assert len(others) == cli.SHOWN_SANDBOXES - 1
        assert last.strip() == "and 5 sandboxes more"

    def test_to_a_module(self, redis_server: Server, redis_url: str, capsys: pytest.CaptureFixture[str]) -> None:
        """A provider of one's own, as SESSION_PROVIDER would name it."""
        published.put(redis_server, "id")
        assert cli.main(["migrate", "--from", redis_url, "--to", "tests.support.custom_provider"]) == 0
        assert capsys.readouterr().out.split() == ["moved:", "1"]
        assert redis_server.command("DBSIZE") == 0

    def test_something_is_left(self, redis_server: Server, redis_url: str, capsys: pytest.CaptureFixture[str]) -> None:
        """Exit code 1, each by a fingerprint up to a number of them, no id."""
        for number in range(25):
            redis_server.command("SET", f"session:secret-{number}", "text")
        published.put(redis_server, "secret", "other")
        assert cli.main(["migrate", "--from", redis_url, "--to", redis_url, "--sandbox", "box"]) == 1
        output = capsys.readouterr().out
        assert "other sandbox: 1" in output
        assert "left in place: 25" in output
        assert "and 5 more" in output
        assert "secret" not in output
        shown = [fingerprint(f"secret-{number}") in output for number in range(25)]
        assert sum(shown) == cli.SHOWN_PROBLEMS

    def test_what_is_left_can_be_found(
        self, redis_server: Server, redis_url: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """By the fingerprint that logs have, in both layouts; by its key, for those who may see ids."""
        keys = ["session:secret", session_key("box", "secret")]
        for key in keys:
            redis_server.command("SET", key, "text")
        both = ["migrate", "--from", redis_url, "--to", redis_url]
        assert cli.main(both) == 1
        assert capsys.readouterr().out.count(f"session {fingerprint('secret')}: ") == 2
        assert cli.main([*both, "--show-ids"]) == 1
        output = capsys.readouterr().out
        assert all(f"key '{key}': a text that is no session" in output for key in keys)


class TestProgress:
    def test_lines(self) -> None:
        """Where nobody watches a terminal: one for every ten thousand keys."""
        stream = io.StringIO()
        with show_progress(50_000, stream) as show:
            for seen in (10, 9_999, 10_000, 10_500, 35_000, 40_000):
                show(Counts(seen=seen, moved=seen, ended=1, left_behind=2))
        lines = stream.getvalue().splitlines()
        assert [line.split()[0] for line in lines] == ["10000", "35000", "40000"]
        assert lines[0] == "10000 of about 50000 keys: moved 10000, ended 1, left in place 2"

    def test_a_bar(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """On a terminal: with the counts, and never beyond its end."""
        monkeypatch.setenv("FORCE_COLOR", "1")
        stream = io.StringIO()
        with show_progress(100, stream) as show:
            show(Counts(seen=120, moved=119, left_behind=1))
        assert "100/100" in stream.getvalue()
        assert "moved 119, ended 0, left in place 1" in stream.getvalue()

    def test_without_rich(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """It is an extra: lines do then."""
        monkeypatch.setenv("FORCE_COLOR", "1")
        monkeypatch.setitem(sys.modules, "rich.console", None)
        stream = io.StringIO()
        with show_progress(10, stream) as show:
            show(Counts(seen=10_000))
        assert stream.getvalue().startswith("10000 of about 10 keys")
