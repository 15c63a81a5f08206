"""From a published version to this one, with both serving: sessions that the old package really stored live on."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from chuk_sessions import SessionManager
from chuk_sessions.cli.migrate import migrate
from chuk_sessions.providers import redis
from chuk_sessions.redis_client.client import Client

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.servers import Server

__all__ = ["roll_over"]

SCRIPT = Path(__file__).with_name("old_process.py")
SANDBOX = "box"
METADATA = {"role": "admin", "n": [1, None, 1.5], "é": {"deep": True}, "big": 2**70}


class OldProcess:
    """A running process of a published version."""

    def __init__(self, python: str, url: str) -> None:
        pipe = subprocess.PIPE
        self._process = subprocess.Popen([python, str(SCRIPT), url, SANDBOX], stdin=pipe, stdout=pipe, text=True)

    def call(self, name: str, **arguments: Any) -> Any:
        """What the manager of that process gives."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps([name, arguments]) + "\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())

    def __enter__(self) -> OldProcess:
        return self

    def __exit__(self, *_: object) -> None:
        with self._process as process:
            assert process.stdin is not None
            process.stdin.close()


class _Failures:
    """What did not come out as it should."""

    def __init__(self, version: str) -> None:
        self._version = version
        self.found: list[str] = []
        self.checks = 0

    def unless(self, condition: object, what: str) -> None:
        self.checks += 1
        if not condition:
            self.found.append(f"rolling over from {self._version}: {what}")


def roll_over(version: str, python: str, server: Server) -> list[str]:
    """What goes wrong with sessions of that version; nothing, if all is well."""
    failures = _Failures(version)
    for scenario in SCENARIOS:
        server.flush()
        with OldProcess(python, server.url) as old:
            asyncio.run(scenario(old, server.url, failures))
    print(f"rolling over from {version}: {failures.checks} checks, {len(failures.found)} failed")
    return failures.found


def _manager(url: str) -> SessionManager:
    os.environ["SESSION_LEGACY_READ"] = "1"
    try:
        return SessionManager(SANDBOX, redis.factory(url), strict=True)
    finally:
        del os.environ["SESSION_LEGACY_READ"]


def _allocate(old: OldProcess, **arguments: Any) -> dict[str, Any]:
    session_id = old.call("allocate_session", custom_metadata=METADATA, **arguments)
    info: dict[str, Any] = old.call("get_session_info", session_id=session_id)
    return info


def _same(ours: dict[str, Any] | None, theirs: dict[str, Any]) -> bool:
    """Equal; but the deadline is that of the key, which is told to the second when it is set."""
    if ours is None:
        return False
    ends = [datetime.fromisoformat(info["expires_at"]) for info in (ours, theirs)]
    return {**ours, "expires_at": ""} == {**theirs, "expires_at": ""} and abs(ends[0] - ends[1]) < timedelta(seconds=2)


async def _used(old: OldProcess, url: str, failures: _Failures) -> None:
    """With SESSION_LEGACY_READ, as it is used."""
    infos = [_allocate(old, user_id="alice"), _allocate(old), _allocate(old, session_id="own id:1", ttl_hours=100)]
    for info in infos:
        failures.unless(_same(await _manager(url).get_session_info(info["session_id"]), info), "a session changed")
        failures.unless(await _manager(url).validate_session(info["session_id"]), "a session does not validate")


async def _moved(old: OldProcess, url: str, failures: _Failures) -> None:
    """By the command, all at once."""
    infos = [_allocate(old, user_id=f"user-{number}") for number in range(50)]
    counts = await migrate(Client(url), Client(url))
    failures.unless((counts.moved, counts.left_behind) == (50, 0), f"{counts.moved} of 50 were moved")
    for info in infos:
        failures.unless(
            _same(await _manager(url).get_session_info(info["session_id"]), info), "a moved session changed"
        )


async def _ended(old: OldProcess, url: str, failures: _Failures) -> None:
    """A logout here holds, although the old process has the session in its cache and writes it back."""
    session_id = _allocate(old, user_id="alice")["session_id"]
    failures.unless(await _manager(url).validate_session(session_id), "a session does not validate")
    failures.unless(await _manager(url).delete_session(session_id), "a session cannot be ended")
    failures.unless(old.call("validate_session", session_id=session_id), "the old process has no cache")
    failures.unless(not await _manager(url).validate_session(session_id), "a cache undid a logout")
    await migrate(Client(url), Client(url))
    failures.unless(not await _manager(url).validate_session(session_id), "a migration undid a logout")


async def _ended_there(old: OldProcess, url: str, failures: _Failures) -> None:
    """A logout in an old process ends nothing that was taken over (docs/upgrade/moving.md); a logout here does."""
    session_id = _allocate(old, user_id="alice")["session_id"]
    failures.unless(await _manager(url).validate_session(session_id), "a session does not validate")
    failures.unless(not old.call("delete_session", session_id=session_id), "the old key is still there")
    failures.unless(await _manager(url).validate_session(session_id), "an old logout ends a session taken over")
    failures.unless(await _manager(url).delete_session(session_id), "a session cannot be ended")
    failures.unless(not await _manager(url).validate_session(session_id), "a logout does not hold")


async def _both(old: OldProcess, url: str, failures: _Failures) -> None:
    """Both processes change the session in turns; in the end all changes are in one record."""
    session_id = _allocate(old, user_id="alice")["session_id"]
    ours = _manager(url)
    failures.unless(await ours.update_session_metadata(session_id, {"ours": 1}), "an update is not taken")
    failures.unless(
        old.call("update_session_metadata", session_id=session_id, custom_metadata={"theirs": 1}), "the old one lost it"
    )
    await migrate(Client(url), Client(url))
    info = await ours.get_session_info(session_id)
    wanted = {**METADATA, "ours": 1, "theirs": 1}
    failures.unless(info is not None and info["custom_metadata"] == wanted, "an update was lost")


SCENARIOS: tuple[Callable[[OldProcess, str, _Failures], Any], ...] = (_used, _moved, _ended, _ended_there, _both)
