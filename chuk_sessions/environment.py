"""The environment variables of the package: every one is read here, and nowhere else.

White space around a value means nothing, as values out of files end with a line end; a blank value is no value.
"""

from __future__ import annotations

import os
from contextlib import suppress

__all__ = ["KEYS_VARIABLE", "leave", "shown", "variable"]

KEYS_VARIABLE = "SESSION_ENCRYPTION_KEYS"  # where it is not set, the module of the keys is not loaded
MAX_SHOWN = 60
PARTS_OF_URLS = ":@="  # and of other texts with a login in them


def variable(name: str) -> str:
    """Read one variable: its text without white space around it, empty if it is blank or not set."""
    return os.environ.get(name, "").strip()


def leave(name: str, text: str) -> None:
    """Set a variable for other code of this process and for its children, if the environment can hold the text."""
    if os.environ.get(name) != text:
        with suppress(ValueError):
            os.environ[name] = text


def shown(text: str) -> str:
    """Quote a value for an error; a URL that went to the wrong variable may hold a password, and is not shown."""
    if len(text) > MAX_SHOWN or any(part in text for part in PARTS_OF_URLS):
        return "(not shown)"
    return repr(text)
