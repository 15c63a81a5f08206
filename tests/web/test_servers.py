"""Sessions in the workers of real WSGI servers: right data for each browser, and an end without a hang."""

from __future__ import annotations

import http.client
import importlib.util
import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import pytest

from chuk_sessions.web.blocking import check_threads
from tests.support.web_servers import ROOT, serving

pytest.importorskip("flask", reason="Flask is not installed")

BROWSERS, REQUESTS = 10, 20
WORKERS = {
    "sync": ["--workers", "2", "--worker-class", "sync"],
    "gthread": ["--workers", "2", "--worker-class", "gthread", "--threads", "4"],
    "gevent": ["--workers", "2", "--worker-class", "gevent"],
}


def lacks(name: str) -> bool:
    return importlib.util.find_spec(name) is None


def needs(*names: str, takes: str = "slow") -> list[pytest.MarkDecorator]:
    missing = [pytest.mark.skipif(lacks(name), reason=f"{name} is not installed") for name in names]
    return [getattr(pytest.mark, takes), *missing]


def visit(port: int, browser: int) -> set[int]:
    """Make the requests of one browser, and look at each answer. Return the processes that answered."""
    cookie, names, pids = "", [], set()
    for n in range(REQUESTS):
        names.append(f"b{browser}-{n}")
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        connection.request("POST", f"/add/{names[-1]}", headers={"Cookie": cookie} if cookie else {})
        answer = connection.getresponse()
        found = json.loads(answer.read())
        connection.close()
        assert (answer.status, found["names"], found["sessions"]) == (200, names, 1)
        pids.add(found["pid"])
        if changed := answer.getheader("set-cookie"):
            assert n == 0
            cookie = changed.partition(";")[0]
    return pids


def visit_all(port: int) -> set[int]:
    with ThreadPoolExecutor(BROWSERS) as pool:
        return set().union(*pool.map(lambda browser: visit(port, browser), range(BROWSERS)))


@pytest.mark.parametrize(
    ("worker", "preload"),
    [
        pytest.param(worker, preload, marks=needs(*names, takes="slow" if preload else "faults"))
        for worker, names in {"sync": ["gunicorn"], "gthread": ["gunicorn"], "gevent": ["gunicorn", "gevent"]}.items()
        for preload in (False, True)
    ],
)
def test_gunicorn(redis_url: str, worker: str, preload: bool) -> None:
    """Two workers, on Redis; also when the sessions were used before the workers were forked."""
    options = [*WORKERS[worker], "--bind", "fd://FD", "--log-level", "warning", *(["--preload"] if preload else [])]
    variables = {"SESSION_PROVIDER": "redis", "SESSION_REDIS_URL": redis_url}
    if preload:
        variables["USE_IN_PARENT"] = "1"
    with serving([sys.executable, "-m", "gunicorn", *options, "tests.support.wsgi_program:app"], variables) as port:
        visit_all(port)


@pytest.mark.slow
@pytest.mark.skipif(lacks("gunicorn"), reason="gunicorn is not installed")
def test_the_memory_of_one_process() -> None:
    """Is shared by its threads."""
    options = ["--bind", "fd://FD", "--log-level", "warning", "--threads", "8"]
    with serving([sys.executable, "-m", "gunicorn", *options, "tests.support.wsgi_program:app"], {}) as port:
        assert len(visit_all(port)) == 1


UWSGI = [sys.executable, "-c", "import pyuwsgi; pyuwsgi.run()", "--http-socket", "fd://FD", "--master"]
UWSGI += ["--processes", "2", "--need-app", "--die-on-term"]


@pytest.mark.faults
@pytest.mark.skipif(lacks("pyuwsgi"), reason="uWSGI is not installed (its wheel: pip install pyuwsgi)")
def test_uwsgi(redis_url: str) -> None:
    """With threads it works after a fork that calls no hooks of Python; without them it says so at the start."""
    variables = {"SESSION_PROVIDER": "redis", "SESSION_REDIS_URL": redis_url, "USE_IN_PARENT": "1"}
    command = [*UWSGI, "--module", "tests.support.wsgi_program:app"]
    with serving([*command, "--enable-threads"], variables) as port:
        visit_all(port)
    alone = [each.replace("fd://FD", "127.0.0.1:0") for each in command]
    environment = {**os.environ, **variables}
    done = subprocess.run(alone, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=30, check=False)
    assert "start it with --enable-threads" in done.stdout + done.stderr


GREENLETS = """
from gevent import monkey
monkey.patch_all()
import asyncio, sys, threading
import gevent
from chuk_sessions import SessionManager
from chuk_sessions.exceptions import StorageError
from chuk_sessions.providers import redis
from chuk_sessions.web.blocking import SyncSessionManager, run
sessions = SyncSessionManager(SessionManager("shop", redis.factory(sys.argv[1]), strict=True))

def use(n):
    session_id = sessions.allocate_session(custom_metadata={"n": n})
    for _ in range(20):
        assert sessions.get_session_info(session_id)["custom_metadata"] == {"n": n}

def use_asyncio():
    for _ in range(20):
        assert asyncio.run(asyncio.sleep(0.001, "mine")) == "mine"

ticks = []
def tick():
    while True:
        ticks.append(1)
        gevent.sleep(0.001)

ticking = gevent.spawn(tick)
jobs = [*(gevent.spawn(use, n) for n in range(20)), gevent.spawn(use_asyncio)]
gevent.joinall(jobs, raise_error=True)
try:
    run(asyncio.sleep(60), 0.05)
except StorageError:
    print("timeout", len(ticks) > 20)
waiting = gevent.spawn(run, asyncio.sleep(60))
gevent.sleep(0.01)
waiting.kill()
print(sessions.count_sessions())
"""


@pytest.mark.slow
@pytest.mark.skipif(lacks("gevent"), reason="gevent is not installed")
def test_greenlets(redis_url: str) -> None:
    """Wait without holding up each other, and may use asyncio for themselves."""
    command = [sys.executable, "-c", GREENLETS, redis_url]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "timeout True\n20\n", "")


def test_eventlet(monkeypatch: pytest.MonkeyPatch) -> None:
    """Is told at the start."""
    patcher = SimpleNamespace(is_monkey_patched=lambda name: name == "thread")
    monkeypatch.setitem(sys.modules, "eventlet.patcher", patcher)
    with pytest.raises(RuntimeError, match="gevent or threads"):
        check_threads()
