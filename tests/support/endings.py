"""Scripts that a further Python runs on asyncio or uvloop, and that must end well and without a word.

Warnings are errors there, and the debug mode is on: a task, a transport or a future that is left behind says so.
"""

from __future__ import annotations

import subprocess
import sys
from textwrap import dedent

import pytest

LOOPS = ("asyncio", "uvloop")

# Before each script: `url`, and `run(coroutine)` on the loop that was asked for.
PREFACE = """
import asyncio, gc, sys

url = sys.argv[1]

async def unhurried(coroutine):
    asyncio.get_running_loop().slow_callback_duration = 60.0  # or a busy machine has the debug mode talk
    return await coroutine

def run(coroutine):
    if sys.argv[2] == "uvloop":
        import uvloop
        return uvloop.run(unhurried(coroutine))
    return asyncio.run(unhurried(coroutine))
"""


def ends_without_a_word(script: str, url: str, loop: str) -> None:
    """Run the script, which may be indented, on one of LOOPS; fail if it fails or prints anything."""
    if loop == "uvloop":
        pytest.importorskip("uvloop", reason="uvloop is an extra")
    command = [sys.executable, "-X", "dev", "-W", "error", "-c", PREFACE + dedent(script), url, loop]
    result = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")
