"""A scratch copy of the package with one function made slower on purpose, to see whether the gate finds it."""

from __future__ import annotations

import ast
from dataclasses import dataclass
from pathlib import Path

from benchmarks.measure.trees import PACKAGE

IDLE = "idle = 0"


@dataclass(frozen=True, slots=True)
class HotPath:
    """A method that every operation of a scenario runs once."""

    scenario: str
    file: str
    owner: str
    method: str

    def __str__(self) -> str:
        return f"{self.owner}.{self.method}"


HOT_PATHS = (
    HotPath("memory.get", "providers/memory/expiring_map.py", "ExpiringMap", "get"),
    HotPath("redis.get.50", "providers/redis/values.py", "RedisSession", "get"),
)


def slow_down(tree: Path, hot: HotPath, statements: int) -> None:
    """Let the method begin with that many statements that do nothing of use; LookupError if it is not there."""
    path = tree / PACKAGE / hot.file
    source = path.read_text(encoding="utf-8")
    first = _first_statement(ast.parse(source), hot)
    lines = source.splitlines(keepends=True)
    lines.insert(first.lineno - 1, " " * first.col_offset + "; ".join([IDLE] * statements) + "\n")
    path.write_text("".join(lines), encoding="utf-8")


def _first_statement(module: ast.Module, hot: HotPath) -> ast.stmt:
    """The first statement after the docstring."""
    for owner in module.body:
        if isinstance(owner, ast.ClassDef) and owner.name == hot.owner:
            for method in owner.body:
                if isinstance(method, ast.AsyncFunctionDef) and method.name == hot.method:
                    return method.body[1 if ast.get_docstring(method) is not None else 0]
    raise LookupError(f"there is no {hot} in {hot.file}: name another hot path")
