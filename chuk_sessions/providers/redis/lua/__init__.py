"""Assembles the Lua scripts of this folder: one file for each script, and ``include/`` with parts that scripts share.

Rules these files keep:

* A file opens with a comment. In a script it describes the script in a sentence or two, then KEYS, ARGV and Reply.
* A comment has lines of its own. The server does not get these lines; it gets every other line as it is.
* ``-- include: look`` is replaced by the text of ``include/look.lua``, after the indentation of that line.
* ``$NAME`` is replaced by the number that is given to ``load`` under that name.
* A key that a command may have removed is not used again in the script: while its slot moves to another node, a script
  breaks off at a key that does not exist, and its earlier writes stay. So a script reads before it removes.

A module loads its scripts when it is imported. A fault in a file is a ValueError then, and nothing is left to do when a
script runs.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from functools import cache
from pkgutil import get_data  # reads from wheels and zips too; importlib.resources takes 15 times as long to import

__all__ = ["load", "read_file"]

INCLUDE = re.compile(r"(\s*)--\s*include:\s*(.*?)\s*")
CONSTANT = re.compile(r"\$(\w+)")


@cache
def read_file(name: str) -> str:
    """Read ``name.lua``. Raises OSError if it is not there."""
    data = get_data(__name__, f"{name}.lua")
    assert data is not None  # the loader that imported this package can read its files
    return data.decode()


def load(name: str, read: Callable[[str], str] = read_file, **constants: int) -> str:
    """Assemble the script ``name``.

    Args:
        name: The file, without ``.lua``.
        read: Returns the text of a file by such a name, or raises OSError.
        **constants: A number for each ``$NAME`` in the script.

    Raises:
        ValueError: A file is not there or includes itself, or the constants are not those of the script.
    """
    source = "".join(_lines(name, read, ()))
    wanted = set(CONSTANT.findall(source))
    if missing := wanted - constants.keys():
        raise ValueError(f"lua/{name}.lua has {_listed(missing)}: give load() a number for it")
    if unknown := constants.keys() - wanted:
        raise ValueError(f"lua/{name}.lua has no {_listed(unknown)}: do not give it to load()")
    source = CONSTANT.sub(lambda match: str(constants[match[1]]), source)
    return source if source.count("\n") > 1 else source.rstrip("\n")  # a single line is sent without its end


def _lines(name: str, read: Callable[[str], str], within: tuple[str, ...]) -> Iterator[str]:
    """Give the lines of a file and its includes, without comments; ``within`` are the files that include this one."""
    path = " -> ".join(f"lua/{each}.lua" for each in (*within, name))
    if name in within:
        raise ValueError(f"a Lua file includes itself: {path}")
    try:
        text = read(name)
    except OSError as exc:
        raise ValueError(f"there is no such Lua file: {path}") from exc
    for line in text.splitlines():
        if include := INCLUDE.fullmatch(line):
            yield include[1]
            yield from _lines(f"include/{include[2]}", read, (*within, name))
        elif not line.lstrip().startswith("--"):
            yield f"{line}\n"


def _listed(names: set[str]) -> str:
    return ", ".join(f"${name}" for name in sorted(names))
