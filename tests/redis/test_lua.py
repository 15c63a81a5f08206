"""How the files of Lua are put together, and what is said of a file that is wrong."""

from __future__ import annotations

import pytest

from chuk_sessions.providers.redis.lua import load, read_file

FILES = {
    "script": "-- Does it.\n--\n-- include: outer\n\nreturn outer()\n",
    "include/outer": "-- Defines outer.\n--\n-- include: inner\nlocal function outer()\n  -- include: body\nend\n",
    "include/inner": "-- Defines inner.\n\nlocal inner = 1\n",
    "include/body": "-- The body.\n\n  -- Twice.\n  return inner * $TIMES\n",
    "line": "-- Gives one.\nreturn 1\n",
    "lost": "-- include: nowhere\n",
    "around": "-- include: itself\n",
    "include/itself": "-- include: other\n",
    "include/other": "  --include:itself  \n",
}


def read(name: str) -> str:
    """The text of a file above."""
    if name not in FILES:
        raise FileNotFoundError(name)
    return FILES[name]


def test_a_script_is_put_together_from_its_includes_without_comments() -> None:
    """Everything but comments stays: the empty lines, and the indentation of an include."""
    expected = "\nlocal inner = 1\nlocal function outer()\n  \n  return inner * 2\nend\n\nreturn outer()\n"
    assert load("script", read, TIMES=2) == expected


def test_a_script_of_one_line_is_sent_without_its_end() -> None:
    assert load("line", read) == "return 1"


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_the_line_ends_of_a_checkout_do_not_matter(newline: str) -> None:
    """Git may write others; the hash of a script is the same."""
    assert load("script", lambda name: read(name).replace("\n", newline), TIMES=2) == load("script", read, TIMES=2)


@pytest.mark.parametrize(
    ("name", "constants", "message"),
    [
        ("missing", {}, r"no such Lua file: lua/missing\.lua$"),
        ("lost", {}, r"no such Lua file: lua/lost\.lua -> lua/include/nowhere\.lua$"),
        (
            "around",
            {},
            r"includes itself: lua/around\.lua -> lua/include/itself\.lua"
            r" -> lua/include/other\.lua -> lua/include/itself\.lua$",
        ),
        ("script", {}, r"^lua/script\.lua has \$TIMES: give load\(\) a number for it$"),
        ("script", {"TIMES": 2, "SIZE": 1}, r"^lua/script\.lua has no \$SIZE: do not give it to load\(\)$"),
    ],
    ids=["no file", "no include", "circle", "no constant", "constant too many"],
)
def test_what_is_wrong_with_a_file_is_said(name: str, constants: dict[str, int], message: str) -> None:
    """With the way to the file, when the module that loads it is imported."""
    with pytest.raises(ValueError, match=message):
        load(name, read, **constants)


def test_a_file_of_the_package_that_is_not_there() -> None:
    """The same error, from the reader that the package has."""
    with pytest.raises(ValueError, match="no such Lua file"):
        load("missing")
    with pytest.raises(OSError, match="missing"):
        read_file("missing")
