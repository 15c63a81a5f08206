"""The environment: white space around a value means nothing, a blank one is unset, and no error shows a password."""

from __future__ import annotations

import ast
import os
from pathlib import Path

import pytest

import chuk_sessions
from chuk_sessions import ProviderError, SessionManager, factory_for_env
from chuk_sessions.cli.main import client
from chuk_sessions.environment import shown
from chuk_sessions.providers import memory, redis
from chuk_sessions.providers.memory import MemoryFactory
from chuk_sessions.redis_client.url import parse_url

PACKAGE = Path(chuk_sessions.__file__).parent
BLANK = ("", " ", "\n", " \t\r\n")
SECRET = "s3cr3t"
READERS = {"environ", "environb", "getenv", "getenvb"}  # of the module os


def url_of(factory: object) -> str:
    assert isinstance(factory, redis.RedisFactory)
    return factory._client._url


def test_no_other_module_reads_the_environment() -> None:
    """So that the rules hold for a variable that is added, too."""
    found = {
        path.relative_to(PACKAGE).as_posix()
        for path in PACKAGE.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if (
            isinstance(node, ast.Attribute)
            and node.attr in READERS
            and ast.unparse(node.value) not in ("request", "flask_request")  # of WSGI, which have an environ too
        )
        or (isinstance(node, ast.ImportFrom) and node.module == "os" and READERS & {each.name for each in node.names})
    }
    assert found == {"environment.py"}


@pytest.mark.parametrize("text", ["shop\n", " shop", "\tshop \r\n"])
@pytest.mark.parametrize("name", ["CHUK_SANDBOX_ID", "CHUK_HOST_SANDBOX_ID"])
def test_a_sandbox_out_of_a_file(monkeypatch: pytest.MonkeyPatch, name: str, text: str) -> None:
    """The line end is no part of it; libraries that read the variable themselves then see the same."""
    monkeypatch.setenv(name, text)
    assert SessionManager().sandbox_id == "shop"
    assert os.environ["CHUK_SANDBOX_ID"] == "shop"


@pytest.mark.parametrize("text", BLANK)
def test_a_blank_sandbox_is_none(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv("CHUK_SANDBOX_ID", text)
    monkeypatch.setenv("CHUK_HOST_SANDBOX_ID", text)
    manager = SessionManager()
    assert manager.sandbox_id.startswith("sandbox-")
    assert os.environ["CHUK_SANDBOX_ID"] == manager.sandbox_id
    monkeypatch.setenv("CHUK_SANDBOX_ID", text)
    monkeypatch.setenv("CHUK_HOST_SANDBOX_ID", "host")
    assert SessionManager().sandbox_id == "host"


def test_another_sandbox_in_the_variable_stays_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHUK_SANDBOX_ID", "theirs\n")
    SessionManager("given")
    assert os.environ["CHUK_SANDBOX_ID"] == "theirs\n"


@pytest.mark.parametrize("text", BLANK)
def test_a_blank_redis_url_is_none(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv("SESSION_REDIS_URL", text)
    monkeypatch.setenv("REDIS_URL", " redis://second\n")
    assert url_of(redis.factory()) == "redis://second"
    monkeypatch.setenv("REDIS_URL", text)
    assert url_of(redis.factory()) == redis.DEFAULT_URL


def test_white_space_around_a_redis_url(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SESSION_REDIS_URL", " redis://first/3\n")
    assert url_of(redis.factory()) == "redis://first/3"


@pytest.mark.parametrize("text", BLANK)
@pytest.mark.parametrize(
    "name", ["SESSION_DEFAULT_TTL", "SESSION_MEMORY_MAX_ITEMS", "SESSION_LEGACY_READ", "REDIS_TLS_INSECURE"]
)
def test_other_blank_variables_are_unset(monkeypatch: pytest.MonkeyPatch, name: str, text: str) -> None:
    monkeypatch.setenv(name, text)
    memory.factory()
    redis.factory("redis://localhost").session_store("box")
    tls = parse_url("rediss://localhost").tls
    assert tls is not None
    assert tls.verify


def test_white_space_around_other_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, text in (
        ("SESSION_DEFAULT_TTL", " 60\n"),
        ("SESSION_MEMORY_MAX_ITEMS", " 5\n"),
        ("SESSION_LEGACY_READ", " On\n"),
        ("REDIS_TLS_INSECURE", " 1\n"),
        ("SESSION_PROVIDER", " memory\n"),
    ):
        monkeypatch.setenv(name, text)
    factory = factory_for_env()
    assert isinstance(factory, MemoryFactory)
    assert factory._store.max_items == 5
    tls = parse_url("rediss://localhost").tls
    assert tls is not None
    assert not tls.verify


@pytest.mark.parametrize("name", ["SESSION_DEFAULT_TTL", "SESSION_MEMORY_MAX_ITEMS", "SESSION_LEGACY_READ"])
@pytest.mark.parametrize(
    "text", [f"redis://:{SECRET}@host/0", f"user:{SECRET}", f"{SECRET}@host", f"password={SECRET}"]
)
def test_a_url_in_the_wrong_variable_is_not_shown(monkeypatch: pytest.MonkeyPatch, name: str, text: str) -> None:
    monkeypatch.setenv(name, text)
    with pytest.raises(ProviderError, match=name) as caught:
        memory.factory() if name == "SESSION_MEMORY_MAX_ITEMS" else redis.factory().session_store("box")
    assert SECRET not in str(caught.value)


def test_what_is_shown_of_a_value() -> None:
    assert shown("ture") == "'ture'"
    assert shown("a\nb") == r"'a\nb'"
    assert shown("x" * 61) == shown("a:b") == "(not shown)"


@pytest.mark.parametrize("text", [f"env:redis://:{SECRET}@host", "env:", "env: "])
def test_a_url_after_env_is_not_shown(text: str) -> None:
    with pytest.raises(ValueError, match="env: must name a variable") as caught:
        client(text)
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize("text", BLANK)
def test_a_variable_of_the_command_line_that_is_blank(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv("THEIR_URL", text)
    with pytest.raises(ValueError, match="THEIR_URL is not set"):
        client("env:THEIR_URL")
