"""What an error reply is taken for: its class and its code, whichever server words it."""

from __future__ import annotations

import asyncio
import copy
import pickle

import pytest

from chuk_sessions.exceptions import (
    LoadingError,
    NoPermissionError,
    NotSent,
    OutOfMemoryError,
    ReadOnlyError,
    ServerError,
    WrongTypeError,
)
from chuk_sessions.redis_client.batch import BatchScript
from chuk_sessions.redis_client.client import Client
from chuk_sessions.redis_client.replies import MissingScriptError, UnknownCommandError, redirected_to, server_error
from tests.support.peer import peer

ASKED = ("10.0.0.1", 7000)
CALL = f"ERR Error running script (call to f_{'0a' * 20}): @user_script:1: "  # 6.2: a command failed, by call
PCALL = "@user_script: 12: "  # 6.2: the same by pcall, whose error the script returned
PLACE = f" script: {'0a' * 20}, on @user_script:1."  # Redis 7 and later, and Valkey
OOM = "OOM command not allowed when used memory > 'maxmemory'."
MISCONF = "MISCONF Redis is configured to save RDB snapshots, but it's currently unable to persist to disk."
WHILE_DOWN = "while the cluster is down and readonly"
CLUSTER_READS = f"attempted to execute a write command {WHILE_DOWN}"
MAY_NOT_RUN = "The user executing the script can't run this command or subcommand"
MAY_NOT_TOUCH = "The user executing the script can't access at least one of the keys mentioned in the command arguments"
ACL = "ACL failure in script: User app has no permissions to run the 'get' command"

REPLIES: list[tuple[str, type[ServerError], str]] = [
    ("WRONGTYPE Operation against a key holding the wrong kind of value", WrongTypeError, "WRONGTYPE"),
    (f"{CALL}WRONGTYPE Operation against a key holding the wrong kind of value", WrongTypeError, "WRONGTYPE"),
    (f"WRONGTYPE Operation against a key{PLACE}", WrongTypeError, "WRONGTYPE"),
    (OOM, OutOfMemoryError, "OOM"),
    (f"{CALL}@user_script: 1: -{OOM}", OutOfMemoryError, "OOM"),
    (f"{PCALL}-{OOM}", OutOfMemoryError, "OOM"),
    (f"{OOM}{PLACE}", OutOfMemoryError, "OOM"),
    (f"{CALL}@user_script: 1: -READONLY You can't write against a read only replica.", ReadOnlyError, "READONLY"),
    (f"{PCALL}-READONLY You can't write against a read only replica.", ReadOnlyError, "READONLY"),
    ("READONLY You can't write against a read only replica.", ReadOnlyError, "READONLY"),
    ("LOADING Redis is loading the dataset in memory", LoadingError, "LOADING"),
    ("LOADING Valkey is loading the dataset in memory", LoadingError, "LOADING"),
    ("NOPERM this user has no permissions to run the 'get' command or its subcommand", NoPermissionError, "NOPERM"),
    ("NOPERM User app has no permissions to run the 'get' command", NoPermissionError, "NOPERM"),
    (f"{CALL}@user_script: 1: {MAY_NOT_RUN}", NoPermissionError, "NOPERM"),
    (f"{PCALL}{MAY_NOT_TOUCH}", NoPermissionError, "NOPERM"),
    (f"ERR {MAY_NOT_RUN}{PLACE}", NoPermissionError, "NOPERM"),
    (f"ERR {MAY_NOT_TOUCH}", NoPermissionError, "NOPERM"),
    (f"ERR {ACL}{PLACE}", NoPermissionError, "NOPERM"),
    (ACL, NoPermissionError, "NOPERM"),
    ("NOSCRIPT No matching script. Please use EVAL.", MissingScriptError, "NOSCRIPT"),
    ("NOSCRIPT No matching script.", MissingScriptError, "NOSCRIPT"),
    ("ERR unknown command `CLUSTER`", UnknownCommandError, "ERR"),
    ("ERR unknown command 'CLUSTER'", UnknownCommandError, "ERR"),
    ("ERR unknown subcommand 'FOO'. Try CLUSTER HELP.", ServerError, "ERR"),
    ("ERR This instance has cluster support disabled", ServerError, "ERR"),
    (MISCONF, ServerError, "MISCONF"),
    (f"{CALL}@user_script: 1: -{MISCONF}", ServerError, "MISCONF"),
    (f"{PCALL}-{MISCONF}", ServerError, "MISCONF"),
    ("NOAUTH Authentication required.", ServerError, "NOAUTH"),
    ("WRONGPASS invalid username-password pair or user is disabled.", ServerError, "WRONGPASS"),
    ("BUSY Redis is busy running a script. You can only call SCRIPT KILL.", ServerError, "BUSY"),
    ("BUSY Valkey is busy running a script. You can only call SCRIPT KILL.", ServerError, "BUSY"),
    ("MOVED 5 10.0.0.2:7001", ServerError, "MOVED"),
    ("ASK 5 10.0.0.2:7001", ServerError, "ASK"),
    ("TRYAGAIN Multiple keys request during rehashing of slot", ServerError, "TRYAGAIN"),
    ("CLUSTERDOWN The cluster is down", ServerError, "CLUSTERDOWN"),
    (f"ERR Script {CLUSTER_READS}{PLACE}", ServerError, "CLUSTERDOWN"),
    (f"ERR Script {CLUSTER_READS}", ServerError, "CLUSTERDOWN"),
    (f"ERR Can not execute a write command 'HSET' {WHILE_DOWN}{PLACE}", ServerError, "CLUSTERDOWN"),
    (f"{CALL}@user_script: 1: Lua script {CLUSTER_READS}", ServerError, "CLUSTERDOWN"),
    (f"{PCALL}Lua script {CLUSTER_READS}", ServerError, "CLUSTERDOWN"),
    ("ERR unknown command 'Script attempted to execute a write'", UnknownCommandError, "ERR"),
    (f"{CALL}user_script:1: attempt to perform arithmetic on a nil value", ServerError, "ERR"),
    (f"ERR user_script:1: attempt to perform arithmetic on a nil value{PLACE}", ServerError, "ERR"),
    ("ERR Error compiling script (new function): user_script:1: '=' expected near 'error'", ServerError, "ERR"),
    (f"{PCALL}Wrong number of args calling Redis command From Lua script", ServerError, ""),
    (f"{CALL}@user_script: 1: Unknown Redis command called from Lua script", ServerError, "ERR"),
    ("ERR the value of READONLY : OOM is not one", ServerError, "ERR"),
    ("TRYAGAINST", ServerError, "TRYAGAINST"),
    ("Not in capitals", ServerError, ""),
    ("", ServerError, ""),
]


@pytest.mark.parametrize(("text", "kind", "code"), REPLIES)
def test_the_class_and_the_code(text: str, kind: type[ServerError], code: str) -> None:
    """The message is the server's own, and all of it."""
    error = server_error(text)
    assert (type(error), error.code, str(error)) == (kind, code, text)


@pytest.mark.parametrize(
    "text", ["MOVED 5 10.0.0.2:7001", "ASK 5 10.0.0.2:7001", "NOSCRIPT", "TRYAGAIN", "CLUSTERDOWN"]
)
def test_inside_a_script_nothing_says_that_the_script_did_nothing(text: str) -> None:
    """It may have written before: what has a command sent again must come from the server itself."""
    for place in (CALL, f"{CALL}@user_script: 1: -"):
        error = server_error(place + text)
        assert (type(error), error.code) == (ServerError, "ERR")
        assert redirected_to(error, ASKED) is None


def test_arguments_that_an_error_repeats_are_left_out() -> None:
    error = server_error("ERR unknown command 'FOO', with args beginning with: 's3cr3t' ")
    assert str(error) == "ERR unknown command 'FOO'"
    assert type(error) is UnknownCommandError


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("MOVED 5 10.0.0.2:7001", ("10.0.0.2", 7001)),
        ("ASK 5 ::1:7001", ("::1", 7001)),
        ("MOVED 5 :7001", ("10.0.0.1", 7001)),
        ("MOVED 5", None),
        ("ASK 5 nowhere:port", None),
        ("TRYAGAIN 5 10.0.0.2:7001", None),
    ],
)
def test_where_a_redirection_leads(text: str, address: tuple[str, int] | None) -> None:
    assert redirected_to(server_error(text), ASKED) == address


@pytest.mark.parametrize(("text", "kind", "code"), REPLIES)
def test_a_copy_says_the_same(text: str, kind: type[ServerError], code: str) -> None:
    """Also one that was sent to another process."""
    error = server_error(text)
    for other in (copy.copy(error), pickle.loads(pickle.dumps(error))):
        assert (type(other), other.code, str(other)) == (kind, code, text)


def test_errors_that_an_application_makes() -> None:
    """In its tests, say; with a message as any exception, or with a code."""
    assert (ServerError("MISCONF no disk").code, str(ServerError("MISCONF no disk"))) == ("MISCONF", "MISCONF no disk")
    assert [ServerError().code, ServerError("no code").code, ServerError("A b", 1).code] == ["", "", ""]
    assert (ServerError("no disk", code="MISCONF").code, ServerError("no disk", code="MISCONF").args) == (
        "MISCONF",
        ("no disk",),
    )
    assert OutOfMemoryError("full").code == OutOfMemoryError.code == "OOM"


async def test_each_caller_of_a_batch_gets_an_error_of_its_own_with_the_code() -> None:
    def rule(data: bytes) -> bytes:
        return b"+PONG\r\n" if b"PING" in data else f"-{CALL}@user_script: 1: -{MISCONF}\r\n".encode()

    async with peer(rule) as address:
        client = Client(f"redis://{address}")
        await client.call(b"PING")
        script = BatchScript("return {}")
        calls = (script.run(client, f"k{number}", ()) for number in range(3))
        errors = await asyncio.gather(*calls, return_exceptions=True)
        await client.deployment().close()
    assert [getattr(error, "code", None) for error in errors] == ["MISCONF"] * 3
    assert len({id(error) for error in errors}) == 3


async def test_the_code_of_a_refused_login() -> None:
    """It is in the cause of the error that says that nothing was sent."""
    async with peer(lambda _: b"-NOAUTH Authentication required.\r\n") as address:
        client = Client(f"redis://{address}")
        with pytest.raises(NotSent) as caught:
            await client.call(b"GET", "k")
        await client.deployment().close()
    cause = caught.value.__cause__
    assert isinstance(cause, ServerError)
    assert cause.code == "NOAUTH"
