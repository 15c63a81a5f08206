"""Results as JSON that can be read, compared by eye, and read again."""

from __future__ import annotations

import json
import re
from collections.abc import Collection
from pathlib import Path
from typing import Any


class ReportError(Exception):
    """The results cannot be read, or the documents cannot take them."""


def dumped(results: Any) -> str:
    """The JSON, with a list of figures on one line."""
    readable = json.dumps(results, indent=1)
    return re.sub(r"\[\n[-+.\de,\s]+\]", lambda found: re.sub(r"\s+", "", found[0]), readable) + "\n"


def read(path: Path, schemas: Collection[int]) -> dict[str, Any]:
    """The results of a run; ReportError if their schema is another than the program reads."""
    results: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    if results.get("schema") not in schemas:
        raise ReportError(f"{path} has schema {results.get('schema')!r}, this program reads {max(schemas)}")
    return results
