"""The tables of docs/internals/redis-layout.md, from the modules and scripts that they describe.

`python -m tests.docs.redis_layout` writes them; a test compares.
"""

from __future__ import annotations

import re
from pathlib import Path

from chuk_sessions.providers.redis import keys, record
from tests.support.pages import page

PAGE = page("docs/internals/redis-layout.md")
SCRIPTS = Path(keys.__file__).parent / "lua"

Row = tuple[str, ...]


def rst_table(text: str) -> list[Row]:
    """The rows of the only simple table in a docstring; what stands below a row with an empty first cell goes on."""
    lines = text.splitlines()
    rules = [number for number, line in enumerate(lines) if re.fullmatch(r"=+( =+)+", line)]
    columns = [match.span() for match in re.finditer("=+", lines[rules[0]])]
    columns[-1] = (columns[-1][0], 200)
    rows: list[list[str]] = []
    for line in lines[rules[1] + 1 : rules[2]]:
        cells = [line[start:end].strip() for start, end in columns]
        if cells[0]:
            rows.append(cells)
        else:
            rows[-1] = [f"{above} {cell}".strip() for above, cell in zip(rows[-1], cells, strict=True)]
    return [tuple(cell.replace("``", "`") for cell in row) for row in rows]


def header(path: Path) -> str:
    """The comment that a script opens with."""
    lines = re.match(r"(?:--.*\n)*", path.read_text(encoding="utf-8"))
    assert lines
    kept = [line for line in lines[0].splitlines() if not line.startswith("-- include:")]
    return "\n".join(line.removeprefix("--").removeprefix(" ") for line in kept)


def script_row(path: Path) -> Row:
    """Its name, what it does, and its replies, each marked as code where it is one."""
    text = header(path)
    does = re.split(r"(?<=\.)\s", text.replace("\n", " "))[0].removesuffix(".")
    found = re.search(r"^Reply(.*)", text, flags=re.MULTILINE | re.DOTALL)
    assert found, path
    reply = " ".join(found[1].split())
    return f"`{path.name}`", does, re.sub(r"\{(?:[^{}]|\{[^{}]*\})*\}|(?<![\w.])-\d+", r"`\g<0>`", reply)


def markdown(head: Row, rows: list[Row]) -> str:
    """A table of Markdown."""
    lines = [head, ("---",) * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def tables() -> dict[str, str]:
    """Each table, by the name in its markers."""
    made: list[Row] = [(key, f"`{maker}`", text) for key, maker, text in rst_table(str(keys.__doc__))]
    fields: list[Row] = [(f"`{name}`", text) for name, text in rst_table(str(record.__doc__))]
    scripts = [script_row(path) for path in sorted(SCRIPTS.glob("*.lua"))]
    return {
        "keys": markdown(("key", "made by", "what it holds, and for how long"), made),
        "fields": markdown(("field", "what it holds"), fields),
        "scripts": markdown(("script", "what it does", "reply"), scripts),
    }


def with_tables(text: str) -> str:
    """The page with the tables of today between their markers."""
    for name, table in tables().items():
        begin, end = f"<!-- {name}:begin -->", f"<!-- {name}:end -->"
        assert text.count(begin) == text.count(end) == 1, name
        before, rest = text.split(begin)
        text = f"{before}{begin}\n\n{table}\n\n{end}{rest.split(end)[1]}"
    return text


if __name__ == "__main__":
    PAGE.path.write_text(with_tables(PAGE.text()), encoding="utf-8")
