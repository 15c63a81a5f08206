"""Loops that end, threads and forks, each in an interpreter where every warning is an error: not a word, no hang."""

from __future__ import annotations

import signal
import subprocess
import sys
import textwrap

import pytest

from tests.support.servers import RedisServer

pytestmark = pytest.mark.redis

# What the library says of outages goes to a log that nobody reads; what asyncio complains of goes to stderr.
PREFACE = """
    import asyncio, gc, logging, os, sys, threading, time
    from chuk_sessions import SessionManager
    from chuk_sessions.providers.redis import factory

    logging.getLogger("chuk_sessions").addHandler(logging.NullHandler())
    sessions = factory(sys.argv[1] + "?reconnect_grace=" + ("0.01" if sys.argv[2:] == ["down"] else "30"))
    client = sessions._client
    manager = SessionManager("app", sessions, strict=True)

    async def reach(state):
        while state not in repr(client):
            await asyncio.sleep(0.001)

    async def names(count=100):
        keys = [f"{os.getpid()}-{threading.get_ident()}-{i}" for i in range(count)]
        for key in keys:
            client.call(b"SET", key, key)
        values = await asyncio.gather(*(client.call(b"GET", key) for key in keys))
        assert values == [key.encode() for key in keys]
        return int(await client.call(b"CLIENT", "ID"))
"""

END = """
    async def main():
        session_id = await manager.allocate_session()
        print("ready", flush=True)
        calls = [asyncio.create_task(manager.validate_session(session_id)) for _ in range(100)]
        await asyncio.sleep(0)
        sys.stdin.readline()
        await reach(sys.argv[2])
        calls += [asyncio.create_task(manager.validate_session(session_id)) for _ in range(100)]
        await asyncio.sleep(0)
        for call in calls:  # that some fail is the application's to look at
            call.add_done_callback(lambda call: call.cancelled() or call.exception())
        main.ended = time.monotonic()

    run(main())
    assert time.monotonic() - main.ended < 3, "the loop took long to end"
    gc.collect()
"""

THREADS = """
    numbers = []

    def work():
        async def main():
            numbers.extend([await names(1000), await names(1000)])
            in_flight = [asyncio.create_task(manager.validate_session("id")) for _ in range(100)]
            await asyncio.sleep(0)
        asyncio.run(main())

    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(numbers)) == 2, numbers  # each kept to one connection of its own
    gc.collect()
"""

FORK = """
    async def begin():
        global in_flight, number
        number = await names()
        in_flight = [asyncio.ensure_future(client.call(b"INCR", "n")) for _ in range(100)]
        await asyncio.sleep(0)

    async def finish():
        assert await asyncio.gather(*in_flight) == list(range(1, 101))
        assert await names() == number

    with asyncio.Runner() as runner:
        runner.run(begin())
        child = os.fork()
        if child == 0:
            status = 1
            try:
                status = 2 if asyncio.run(names()) == number else 0
            finally:
                os._exit(status)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        runner.run(finish())
    gc.collect()
"""


def start(code: str, *arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-W", "error", "-c", textwrap.dedent(PREFACE + code), *arguments]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True)


def ends_without_a_word(process: subprocess.Popen[str]) -> None:
    output = process.communicate("go\n", timeout=60)
    assert (process.returncode, *output) == (0, "", "")


@pytest.mark.parametrize("run", ["asyncio.run", "__import__('uvloop').run"], ids=["asyncio", "uvloop"])
@pytest.mark.parametrize(
    ("state", "fault"),
    [(" up ", signal.SIGSTOP), (" reconnecting ", signal.SIGKILL), (" down ", signal.SIGKILL)],
    ids=["hanging", "reconnecting", "down"],
)
def test_a_loop_that_ends_in_the_middle_of_a_fault(
    own_server: RedisServer, run: str, state: str, fault: signal.Signals
) -> None:
    """With commands in flight to a server that hangs, or waiting for one that is away, or failing at once."""
    if "uvloop" in run:
        pytest.importorskip("uvloop", reason="uvloop is an extra")
    process = start(END.replace("run(main())", f"{run}(main())"), own_server.url, state.strip())
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    own_server.pause() if fault is signal.SIGSTOP else own_server.kill()
    ends_without_a_word(process)


def test_two_loops_in_two_threads_share_no_connection_and_end_with_commands_in_flight(own_server: RedisServer) -> None:
    ends_without_a_word(start(THREADS, own_server.url))


def test_a_fork_with_commands_in_flight_shares_no_connection(own_server: RedisServer) -> None:
    """The child talks over one of its own; every reply to the parent reaches the parent."""
    ends_without_a_word(start(FORK, own_server.url))
