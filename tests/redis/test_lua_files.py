"""The files of Lua: each is one script, says what it takes and gives, and the server takes it for a script."""

from __future__ import annotations

import re
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import chuk_sessions
from chuk_sessions.providers.redis import lua
from chuk_sessions.providers.redis.lua import read_file
from chuk_sessions.redis_client.batch import BatchScript
from chuk_sessions.redis_client.scripts import Script

if TYPE_CHECKING:
    from tests.support.servers import Server

PACKAGE, FOLDER = Path(chuk_sessions.__file__).parent, Path(lua.__file__).parent
SCRIPTS = sorted(path.stem for path in FOLDER.glob("*.lua"))
INCLUDES = sorted(f"include/{path.stem}" for path in FOLDER.glob("include/*.lua"))
LOADED = re.compile(r"^(\w+) = (?:Batch)?Script\(load\(\"(\w+)\"", re.MULTILINE)
# A name in a header, KEYS[1], KEYS[2..], ARGV or Reply, with its description; or more of that.
ENTRY = re.compile(r"-- (KEYS|ARGV|Reply)(?:\[(\d+)(\.\.)?\])? +\S.*|-- {12}\S.*")


@cache
def uses() -> list[tuple[str, Script]]:
    """Each script of the package, with its file."""
    found = []
    for path in sorted(PACKAGE.rglob("*.py")):
        for name, file in LOADED.findall(path.read_text(encoding="utf-8")):
            parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
            script = getattr(import_module(".".join(parts)), name)
            found.append((file, script._script if isinstance(script, BatchScript) else script))
    return found


def header_of(name: str) -> list[str]:
    """The comment that a file opens with."""
    lines = read_file(name).splitlines()
    return lines[: next(number for number, line in enumerate(lines) if not line.startswith("--"))]


def numbers(kind: str, text: str) -> set[int]:
    """Those that stand in KEYS[..] or ARGV[..] of this text."""
    return set(map(int, re.findall(rf"\b{kind}\[(\d+)\]", text)))


def test_every_file_is_one_script_and_every_script_a_file() -> None:
    """None is left over, none is loaded twice, and no Lua is in the Python."""
    assert sorted(file for file, _ in uses()) == SCRIPTS
    assert len({script.sha for _, script in uses()}) == len(SCRIPTS) > 20
    assert [path for path in PACKAGE.rglob("*.py") if "redis.call(" in path.read_text(encoding="utf-8")] == []


def test_every_include_is_used() -> None:
    """By a script, or by an include."""
    lines = [line for name in SCRIPTS + INCLUDES for line in read_file(name).splitlines()]
    used = {f"include/{match[2]}" for line in lines if (match := lua.INCLUDE.fullmatch(line))}
    assert sorted(used) == INCLUDES != []


@pytest.mark.parametrize("name", INCLUDES)
def test_an_include_says_what_it_is(name: str) -> None:
    assert re.match(r"-- [A-Z].*[a-z]", header_of(name)[0])


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_header_says_what_the_script_does_then_keys_arguments_reply(name: str) -> None:
    """In this order, numbered without a gap; an include may follow."""
    lines = [line for line in header_of(name) if not lua.INCLUDE.fullmatch(line)]
    what, entries = lines[: lines.index("--")], lines[lines.index("--") + 1 :]
    if entries[-1] == "--":
        entries.pop()
    assert what
    assert all(re.match(r"-- \S", line) for line in what)
    found = [ENTRY.fullmatch(line) for line in entries]
    assert None not in found, entries
    named = [match for match in found if match and match[1]]
    assert list(dict.fromkeys(match[1] for match in named)) == ["KEYS", "ARGV", "Reply"]
    for kind in ("KEYS", "ARGV"):
        stated = [int(match[2]) for match in named if match[1] == kind and match[2]]
        assert stated == list(range(1, len(stated) + 1))


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_header_names_the_keys_and_arguments_that_the_script_uses(name: str) -> None:
    """All that it takes by a number, in its includes too; and no other, unless it takes a list of them."""
    source, header = dict(uses())[name]._source.decode(), "\n".join(header_of(name))
    for kind in ("KEYS", "ARGV"):
        unused = set(map(int, re.findall(rf"^-- {kind}\[(\d+)\] .*, not used$", header, re.MULTILINE)))
        stated, rest = numbers(kind, header), re.search(rf"^-- {kind}\[(\d+)\.\.\]", header, re.MULTILINE)
        used = {number for number in numbers(kind, source) if not rest or number < int(rest[1])}
        assert used <= stated
        if not rest and not re.search(rf"{kind}\[i\]|unpack\({kind}", source):
            assert used == stated - unused


def test_a_script_has_no_comment() -> None:
    """The server would get it. Nor is a constant left that nobody gave a number."""
    for name, script in uses():
        source = script._source.decode()
        assert "--" not in source, name
        assert not lua.CONSTANT.search(source), name


def test_the_server_knows_a_script_by_our_hash(redis_server: Server) -> None:
    """It takes each for Lua."""
    for _, script in uses():
        assert redis_server.command("SCRIPT", "LOAD", script._source.decode()) == script.sha.decode()
