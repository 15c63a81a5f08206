"""The pages in docs/ keep their word: their Python blocks run and print what the page says, their links lead somewhere.

How a page is written, so that it is tested:

* The Python blocks of a page run from top to bottom in one namespace, on the memory store, in an empty folder. They may
  await. So a later block uses what an earlier one made.
* A block of `text` below a Python block is what that one printed; `...` stands for anything. Output that no block shows
  is a failure, and so is a warning in the log.
* Every function that a page defines is called on it.
* With the comment `<!-- file: name.py -->` on the line above its fence, a block is a piece of that file as well, and
  later blocks may import what is there by then. A file whose name begins with `test_` is not run with the page: pytest
  runs it in the end, and it must pass.
* A block that has a check in tests/support/page_checks.py, by page and heading, runs alone, on each store, as those
  of the README.
"""

from __future__ import annotations

import asyncio
import logging
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.support import page_checks
from tests.support.pages import DOCS, PAGES, README, REPOSITORY, Page, called_functions, is_promised, page

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.pages import Block, Namespace


def name_of(page: Page) -> str:
    return str(page.path.relative_to(REPOSITORY))


class Run:
    """A page that is run block by block in a folder."""

    def __init__(self, page: Page, folder: Path) -> None:
        self.page = page
        self.folder = folder
        self.namespace: Namespace = {}
        self.defined: set[str] = set()

    def blocks(self, capsys: pytest.CaptureFixture[str]) -> None:
        """All of them; what was printed must be shown, and what is shown must have been printed."""
        printed, ran = "", False
        with asyncio.Runner() as runner:
            for block in self.page.blocks():
                where = f"{block.path.name}:{block.line}"
                if block.language == "text" and ran:
                    assert is_promised(printed, block.text), f"{where} does not show what was printed: {printed}"
                    printed = ""
                ran = block.language == "python" and block.name not in page_checks.CHECKS
                if ran:
                    assert printed == "", f"no block before {where} shows what was printed"
                    self.python(block, runner)
                    printed = capsys.readouterr().out
        assert printed == "", f"no block shows what {self.page.path.name} printed in the end"

    def python(self, block: Block, runner: asyncio.Runner) -> None:
        if block.file is not None:
            path = self.folder / block.file
            path.write_text(f"{path.read_text()}\n\n{block.text}\n" if path.exists() else f"{block.text}\n")
        if block.file is None or not block.file.startswith("test_"):
            self.namespace = block.run(runner, self.namespace)
            self.defined |= set() if block.file else block.functions()


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where a page runs; modules that it writes are forgotten."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    known = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - known:
        if getattr(sys.modules[name], "__file__", None) and str(sys.modules[name].__file__).startswith(str(tmp_path)):
            del sys.modules[name]


@pytest.mark.slow
@pytest.mark.parametrize("page", DOCS, ids=name_of)
def test_page_runs(
    page: Page, folder: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    """As the head of this file says."""
    run = Run(page, folder)
    with called_functions(page.path) as called:
        run.blocks(capsys)
    assert run.defined <= called
    warnings = [(record.name, record.getMessage()) for record in caplog.records if record.levelno >= logging.WARNING]
    assert not warnings, f"{page.path.name} does not show what was logged"
    for name, text in page.files().items():
        assert (folder / name).read_text() == text
    if any(name.startswith("test_") for name in page.files()):
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir", str(folder)]
        path = os.pathsep.join([str(folder), str(REPOSITORY)])
        environment = os.environ | {"PYTHONPATH": path}
        run_of_tests = subprocess.run(
            command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300, check=False
        )
        assert run_of_tests.returncode == 0, run_of_tests.stdout + run_of_tests.stderr


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_lead_somewhere(page: Page) -> None:
    """To a heading of a page, or to a file."""
    assert len(page.anchors()) == len(set(page.anchors()))
    for target in page.links():
        if "://" in target:
            continue
        path, _, heading = target.partition("#")
        to = (page.path.parent / path).resolve() if path else page.path
        assert to.exists(), f"{name_of(page)} links to {target}"
        assert not heading or heading in Page(to).anchors(), f"{name_of(page)} links to {target}"


def test_every_page_can_be_reached() -> None:
    """From the README, by links."""
    found, pending = set(), [README]
    while pending:
        page = pending.pop()
        found.add(page.path)
        links = [link.partition("#")[0] for link in page.links() if "://" not in link]
        linked = [(page.path.parent / link).resolve() for link in links if link.endswith(".md")]
        pending += [Page(path) for path in linked if path not in found]
    assert {page.path for page in DOCS} <= found


def test_the_index_has_every_page() -> None:
    """The side bar of the site is made of it: a page that is missing there is a warning of `nox -s docs`."""
    index = page("docs/index.md")
    linked = [(index.path.parent / link).resolve() for link in index.links()]
    assert sorted(each.path for each in DOCS if each != index) == sorted(set(linked) & {each.path for each in DOCS})


def test_the_store_that_the_page_builds_is_the_example() -> None:
    """`docs/extend/store.md` has all of `examples/sqlite_store.py`, in order."""
    page = Page(REPOSITORY / "docs" / "extend" / "store.md")
    assert page.files()["sqlite_store.py"] == (REPOSITORY / "examples" / "sqlite_store.py").read_text()
