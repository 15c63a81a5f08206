"""Pages of documentation as data: their code blocks, tables, headings and links; and a way to run a Python block.

A block is compiled with its line numbers in the page, so that a traceback points there. `called_functions` collects the
names of the functions that were called, so that a test can tell an example that merely defines something from one that
works.
"""

from __future__ import annotations
import __future__

import ast
import fnmatch
import inspect
import re
import sys
import threading
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import CodeType, ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Iterator
    from types import FrameType

REPOSITORY = Path(__file__).parents[2]
FILE_COMMENT = re.compile(r"<!-- file: (\S+) -->")

Namespace = dict[str, Any]


@dataclass(frozen=True)
class Block:
    """A fenced block: of which page, under which heading, in what language, and from which line of the page.

    `file` is the name in a comment right above it: the block is a piece of that file.
    """

    path: Path
    heading: str
    language: str
    line: int
    text: str
    file: str | None = None

    @property
    def name(self) -> str:
        """The link that leads to its heading from the repository."""
        return f"{self.path.relative_to(REPOSITORY).as_posix()}#{anchor(self.heading)}"

    def compile(self) -> CodeType:
        """The block as code that may await at top level; a piece of a file has the `__future__` of its first piece."""
        source = "\n" * (self.line - 1) + self.text
        flags = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT | (__future__.annotations.compiler_flag if self.file else 0)
        code: CodeType = compile(source, str(self.path), "exec", flags=flags, dont_inherit=True)
        return code

    def run(self, runner: asyncio.Runner, supplied: Namespace) -> Namespace:
        """Execute the block as a module that has the names in `supplied`; what it has in the end."""
        module = ModuleType("example")
        namespace: Namespace = vars(module)
        namespace |= supplied
        sys.modules[module.__name__] = module  # where frameworks look for the names in annotations
        try:
            result = eval(self.compile(), namespace)
            if inspect.iscoroutine(result):
                runner.run(result)
        finally:
            del sys.modules[module.__name__]
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
def called_functions(path: Path) -> Iterator[set[str]]:
    """The qualified names of the page's functions that are called meanwhile, in this thread and in new ones."""
    called: set[str] = set()

    def note(frame: FrameType, event: str, arg: object) -> None:
        if event == "call" and frame.f_code.co_filename == str(path):
            called.add(frame.f_code.co_qualname)

    before, of_threads = sys.getprofile(), threading.getprofile()
    sys.setprofile(note)
    threading.setprofile(note)
    try:
        yield called
    finally:
        sys.setprofile(before)
        threading.setprofile(of_threads)


@dataclass(frozen=True)
class Page:
    """A page of Markdown."""

    path: Path

    def text(self) -> str:
        return self.path.read_text(encoding="utf-8")

    def blocks(self, language: str | None = None) -> list[Block]:
        """The blocks in one language, or all."""
        return [block for block in self._blocks() if language in (None, block.language)]

    def _blocks(self) -> Iterator[Block]:
        heading, opened = "", None
        above = ""
        lines: list[str] = []
        for number, line in enumerate(self.text().splitlines(), 1):
            if opened is not None:
                if line == "```":
                    yield Block(self.path, heading, opened[0], opened[1], "\n".join(lines), opened[2])
                    opened = None
                else:
                    lines.append(line)
            elif line.startswith("```"):
                match = FILE_COMMENT.fullmatch(above)
                opened, lines = (line.removeprefix("```"), number + 1, match and match[1]), []
            elif match := re.match(r"#+ (.+)", line):
                heading = match[1]
            above = line
        assert opened is None, f"the last block of {self.path.name} is not closed"

    def files(self) -> dict[str, str]:
        """The files that the page writes, each of its pieces in order, two empty lines between them."""
        pieces: dict[str, list[str]] = {}
        for block in self.blocks():
            if block.file is not None:
                pieces.setdefault(block.file, []).append(block.text)
        return {name: "\n\n\n".join(texts) + "\n" for name, texts in pieces.items()}

    def prose(self) -> str:
        """The page without its code blocks."""
        return re.sub(r"^```.*?^```$", "", self.text(), flags=re.MULTILINE | re.DOTALL)

    def headings(self) -> list[str]:
        """All headings, in order."""
        return re.findall(r"^#+ (.+)$", self.prose(), flags=re.MULTILINE)

    def anchors(self) -> list[str]:
        """What a link can lead to."""
        return [anchor(heading) for heading in self.headings()]

    def links(self) -> list[str]:
        """The targets of all links, of images too."""
        return re.findall(r"\]\(([^)]+)\)", self.prose())

    def section(self, heading: str) -> str:
        """The text from one heading to the next."""
        match = re.search(rf"^#+ {re.escape(heading)}$(.*?)(?=^#|\Z)", self.prose(), flags=re.MULTILINE | re.DOTALL)
        assert match is not None, f"{self.path.name} has no section {heading!r}"
        return match.group(1)

    def table(self, heading: str) -> list[list[str]]:
        """The rows of the only table under a heading, without its head; code marks are taken off."""
        lines = [line for line in self.section(heading).splitlines() if line.startswith("|")]
        return [[cell.strip().strip("`") for cell in line.strip("|").split("|")] for line in lines[2:]]


def anchor(heading: str) -> str:
    """The anchor that GitHub gives a heading."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def is_promised(printed: str, promised: str) -> bool:
    """Whether this is the output that a `text` block shows; `...` there stands for anything."""
    return fnmatch.fnmatchcase(printed.rstrip(), promised.replace("[", "[[]").replace("...", "*"))


def page(name: str) -> Page:
    """The page of that name, counted from the repository."""
    return Page(REPOSITORY / name)


README = page("README.md")
DOCS = [Page(path) for path in sorted((REPOSITORY / "docs").rglob("*.md"))]
PAGES = [
    README,
    *map(page, ("CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md", "examples/README.md")),
    *DOCS,
]
