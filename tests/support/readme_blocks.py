"""The README as data: its code blocks, tables, headings and links; and a way to run a Python block.

A block is compiled with its line numbers in the README, so that a traceback points there. `ran` collects the names of
the functions that were called, so that a test can tell an example that merely defines something from one that works.
"""

from __future__ import annotations

import ast
import asyncio
import inspect
import re
import sys
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import CodeType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType

REPOSITORY = Path(__file__).parents[2]
README = REPOSITORY / "README.md"

Namespace = dict[str, Any]


@dataclass(frozen=True)
class Block:
    """A fenced block: under which heading, in what language, and from which line of the README."""

    heading: str
    language: str
    line: int
    text: str

    def compile(self) -> CodeType:
        """The block as code that may await at top level."""
        source = "\n" * (self.line - 1) + self.text
        flags = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
        code: CodeType = compile(source, str(README), "exec", flags=flags, dont_inherit=True)
        return code

    def run(self, runner: asyncio.Runner, supplied: Namespace) -> Namespace:
        """Execute the block as a module that has the names in `supplied`; what it has in the end."""
        namespace: Namespace = {"__name__": "example"} | supplied
        result = eval(self.compile(), namespace)
        if inspect.iscoroutine(result):
            runner.run(result)
        return namespace

    def functions(self) -> set[str]:
        """The qualified names of all functions that the block defines."""
        found: set[str] = set()
        pending = [self.compile()]
        while pending:
            inner = [const for const in pending.pop().co_consts if isinstance(const, CodeType)]
            found |= {code.co_qualname for code in inner if _is_function(code)}
            pending += inner
        return found


def _is_function(code: CodeType) -> bool:
    return bool(code.co_flags & inspect.CO_OPTIMIZED) and not code.co_name.startswith("<")


@contextmanager
def called_functions() -> Iterator[set[str]]:
    """The qualified names of the README's functions that are called meanwhile, in this thread."""
    called: set[str] = set()

    def note(frame: FrameType, event: str, arg: object) -> None:
        if event == "call" and frame.f_code.co_filename == str(README):
            called.add(frame.f_code.co_qualname)

    before = sys.getprofile()
    sys.setprofile(note)
    try:
        yield called
    finally:
        sys.setprofile(before)


def blocks(language: str) -> list[Block]:
    """The README's blocks in one language."""
    return [block for block in _all_blocks() if block.language == language]


def _all_blocks() -> Iterator[Block]:
    heading, opened = "", None
    lines: list[str] = []
    for number, line in enumerate(README.read_text().splitlines(), 1):
        if opened is not None:
            if line == "```":
                yield Block(heading, opened[0], opened[1], "\n".join(lines))
                opened = None
            else:
                lines.append(line)
        elif line.startswith("```"):
            opened, lines = (line.removeprefix("```"), number + 1), []
        elif match := re.match(r"#+ (.+)", line):
            heading = match.group(1)
    assert opened is None, "the last block of the README is not closed"


def prose() -> str:
    """The README without its code blocks."""
    return re.sub(r"^```.*?^```$", "", README.read_text(), flags=re.MULTILINE | re.DOTALL)


def headings() -> list[str]:
    """All headings, in order."""
    return re.findall(r"^#+ (.+)$", prose(), flags=re.MULTILINE)


def anchor(heading: str) -> str:
    """The anchor that GitHub gives a heading."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def section(heading: str) -> str:
    """The text from one heading to the next."""
    match = re.search(rf"^#+ {re.escape(heading)}$(.*?)(?=^#|\Z)", prose(), flags=re.MULTILINE | re.DOTALL)
    assert match is not None, f"the README has no section {heading!r}"
    return match.group(1)


def table(heading: str) -> list[list[str]]:
    """The rows of the only table under a heading, without its head; code marks are taken off."""
    lines = [line for line in section(heading).splitlines() if line.startswith("|")]
    return [[cell.strip().strip("`") for cell in line.strip("|").split("|")] for line in lines[2:]]
