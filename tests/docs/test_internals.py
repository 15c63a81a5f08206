"""The pages about the inside: they name files that exist, and their tables are made of what is in these."""

from __future__ import annotations

import re

import pytest

from tests.docs.redis_layout import PAGE, SCRIPTS, rst_table, tables, with_tables
from tests.support.pages import DOCS, REPOSITORY, Page, page

PACKAGE = REPOSITORY / "chuk_sessions"
INTERNALS = [each for each in DOCS if each.path.parent.name == "internals"]
FILE = re.compile(r"`((?:\w+/)*\w+(?:\.py|\.lua|/))`")


@pytest.mark.parametrize("internal", INTERNALS, ids=lambda each: each.path.stem)
def test_the_files_that_it_names_exist(internal: Page) -> None:
    """By their path in the package or the repository, or by the name of a module anywhere in the package."""
    names = set(FILE.findall(internal.text()))
    assert names
    found = {path.relative_to(PACKAGE).as_posix() for path in PACKAGE.rglob("*")}
    unknown = [
        name
        for name in names
        if not (REPOSITORY / name).exists() and not any(f"/{path}".endswith(f"/{name.rstrip('/')}") for path in found)
    ]
    assert unknown == []


def test_the_layout_is_that_of_today() -> None:
    """`python -m tests.docs.redis_layout` writes the tables."""
    assert with_tables(PAGE.text()) == PAGE.text()


def test_every_script_and_every_reply_is_in_the_table() -> None:
    scripts = tables()["scripts"]
    assert {path.name for path in SCRIPTS.glob("*.lua")} == set(re.findall(r"^\| `(\w+\.lua)`", scripts, re.MULTILINE))
    assert "| `touch.lua` | Touches each session" in scripts
    assert "`{'>', name}` if the key is an alias" in scripts


def test_a_table_of_a_docstring_is_read_whole() -> None:
    """Cells go on in the next lines; what is code stays code."""
    text = "Words.\n\n===== =====\na     b\n===== =====\nx     one\n      two\n``y`` z\n===== =====\n"
    assert rst_table(text) == [("x", "one two"), ("`y`", "z")]


def test_the_glossary_is_in_order() -> None:
    """By the alphabet, each word once, and what it says of others is there too."""
    words = [row[0] for row in page("docs/glossary.md").table("Glossary")]
    assert words == sorted(set(words))
    assert {"alias", "incarnation", "index entry", "marker", "slot tag", "tombstone", "touch"} <= set(words)
