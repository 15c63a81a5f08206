"""Tables as text: padded Markdown, readable on a terminal too; and the markers between which a page holds them."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.pages.units import NOTHING

WIDTH = 120


class MarkersMissing(Exception):
    """The document has not exactly one pair of markers."""


@dataclass(frozen=True, slots=True)
class Table:
    """A title, the words a reader needs to understand the figures, and the figures."""

    title: str
    caption: str
    header: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]

    def __str__(self) -> str:
        caption = textwrap.fill(self.caption, WIDTH, break_long_words=False, break_on_hyphens=False)
        return f"### {self.title}\n\n{caption}\n\n{grid(self.header, self.rows)}"


def grid(header: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    """A Markdown table; columns of figures stand to the right."""
    columns = list(zip(header, *rows, strict=True))
    widths = [max(map(len, column)) for column in columns]
    right = [bool(rows) and all(_is_figure(cell) for cell in column[1:]) for column in columns]
    rule = [f"{'-' * (width - 1)}:" if is_right else "-" * width for width, is_right in zip(widths, right, strict=True)]
    lines = [_line(header, widths, right), f"| {' | '.join(rule)} |"]
    return "\n".join([*lines, *[_line(row, widths, right) for row in rows]])


def _line(cells: tuple[str, ...], widths: list[int], right: list[bool]) -> str:
    padded = [
        cell.rjust(width) if is_right else cell.ljust(width)
        for cell, width, is_right in zip(cells, widths, right, strict=True)
    ]
    return f"| {' | '.join(padded)} |"


def _is_figure(cell: str) -> bool:
    return cell == NOTHING or cell.lstrip("~<>+-")[:1].isdigit()


def markers(name: str) -> tuple[str, str]:
    """Between which a document holds what is made from results."""
    return f"<!-- {name}:begin -->", f"<!-- {name}:end -->"


def between_markers(document: str, text: str, name: str) -> str:
    """The document with ``text`` between the markers of that name."""
    begin, end = markers(name)
    if document.count(begin) != 1 or document.count(end) != 1 or document.index(begin) > document.index(end):
        raise MarkersMissing(f"there must be one {begin} and, after it, one {end}")
    head, rest = document.split(begin)
    tail = rest.split(end)[1]
    return f"{head}{begin}\n\n{text.strip()}\n\n{end}{tail}"
