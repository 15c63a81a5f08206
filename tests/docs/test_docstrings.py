"""The docstring of each public callable: a verb first, then its arguments, its result and its errors in blocks."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import chuk_sessions
from chuk_sessions import SessionManager, SessionMetadata, exceptions
from chuk_sessions.instrumentation import SessionEvents, SessionMetrics
from chuk_sessions.providers import memory, redis
from chuk_sessions.stores import stack
from chuk_sessions.testing import Clock

VERBS = """
    add allocate count create do end extend give go hold keep let list make move open parse return remove renew set
    store sum take tell touch update validate
"""
BLOCK = re.compile(r"^(Args|Returns|Yields|Raises|Example|Attributes):\n((?:    .*\n?|\n)+)", re.MULTILINE)
CLASSES = (
    SessionManager,
    SessionMetadata,
    SessionEvents,
    SessionMetrics,
    memory.MemoryFactory,
    memory.MemoryStore,
    redis.RedisFactory,
    redis.RedisSession,
)
FUNCTIONS = (
    chuk_sessions.factory_for_env,
    chuk_sessions.get_session,
    chuk_sessions.session,
    memory.factory,
    redis.factory,
    stack,
    Clock.move,
)
RAISES_NOTHING_OF_ITS_OWN = {
    "aclose",
    "close",
    "get_cache_stats",
    "get_session_prefix_pattern",
    "parse_grid_key",
    "to_dict",
}


def public() -> Iterator[Any]:
    for each in FUNCTIONS:
        yield pytest.param(each, id=each.__qualname__)
    for kind in CLASSES:
        yield pytest.param(kind, id=kind.__qualname__)
        for name, method in inspect.getmembers(kind, callable):
            if name == "__call__" or not name.startswith("_"):
                yield pytest.param(method, id=f"{kind.__name__}.{name}")


def blocks(target: Callable[..., Any]) -> dict[str, str]:
    return dict(BLOCK.findall(inspect.getdoc(target) or ""))


@pytest.mark.parametrize("target", [*public()])
def test_it_begins_with_a_verb(target: Callable[..., Any]) -> None:
    """One line that ends with a period."""
    first, *rest = (inspect.getdoc(target) or "").splitlines()
    assert first.split()[0].lower() in VERBS.split(), first
    assert first.endswith(".")
    assert not rest or rest[0] == ""


@pytest.mark.parametrize("target", [*public()])
def test_it_says_what_every_argument_is(target: Callable[..., Any]) -> None:
    """By its name, in the order of the signature."""
    parameters = [each for name, each in inspect.signature(target).parameters.items() if name != "self"]
    stars: dict[object, str] = {inspect.Parameter.VAR_POSITIONAL: "*", inspect.Parameter.VAR_KEYWORD: "**"}
    names = [stars.get(each.kind, "") + each.name for each in parameters if not each.name.startswith("_")]
    described = re.findall(r"^    (\*{0,2}\w+): ", blocks(target).get("Args", ""), flags=re.MULTILINE)
    assert described == names


@pytest.mark.parametrize("target", [each for each in public() if not inspect.isclass(each.values[0])])
def test_it_says_what_comes_back(target: Callable[..., Any]) -> None:
    """In a block, or in the first line where that says it all."""
    result = inspect.signature(target).return_annotation
    told = blocks(target).keys() & {"Returns", "Yields"}
    first = (inspect.getdoc(target) or "").splitlines()[0]
    assert told or result in (None, "None") or first.startswith("Return")
    if "AsyncIterator" in str(result):
        assert told == {"Yields"}


@pytest.mark.parametrize(
    "name", [name for name, _ in inspect.getmembers(SessionManager, inspect.isfunction) if not name.startswith("_")]
)
def test_a_call_of_the_manager_says_what_it_raises(name: str) -> None:
    """Each with a class that exists; a StorageError says whether the manager must be strict for it."""
    found = blocks(getattr(SessionManager, name)).get("Raises", "")
    assert bool(found) != (name in RAISES_NOTHING_OF_ITS_OWN)
    kinds = re.findall(r"^    (\w+): ", found, flags=re.MULTILINE)
    known = {*exceptions.__all__, "ValueError", "TypeError"}
    assert set(kinds) <= known
    if "StorageError" in kinds:
        assert "strict" in found


def test_every_exported_name_has_a_docstring() -> None:
    for name in chuk_sessions.__all__:
        exported = getattr(chuk_sessions, name)
        if callable(exported):
            assert vars(exported).get("__doc__") or exported.__doc__, name


def test_none_is_left_out() -> None:
    """So that a change of this file cannot leave most of them out."""
    assert len(list(public())) > 50
