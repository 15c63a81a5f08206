"""What `nox -s dependants` rests on: a step that is not met fails, and every library has a drive."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import NoReturn

import pytest

from tests.dependants import __main__ as command
from tests.dependants import expect
from tests.dependants.expect import Steps, Unmet

FOLDER = Path(command.__file__).parent


async def refuse() -> NoReturn:
    raise KeyError("x")


async def agree() -> bool:
    return True


async def test_steps_that_are_met_are_counted() -> None:
    steps = Steps()
    steps.expect("one", 1)
    await steps.expect_raises("two", KeyError, refuse())
    await steps.eventually("three", agree)
    assert steps.count == 3


async def test_steps_that_are_not_met(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each kind says which it was."""
    monkeypatch.setattr(expect, "PATIENCE", 0.0)
    steps = Steps()
    with pytest.raises(Unmet, match="step 1: empty"):
        steps.expect("empty", [])
    with pytest.raises(Unmet, match="step 2: nothing raised"):
        await steps.expect_raises("nothing raised", KeyError, agree())
    with pytest.raises(KeyError):
        await steps.expect_raises("another error", ValueError, refuse())

    async def never() -> bool:
        return False

    with pytest.raises(Unmet, match="step 3: never"):
        await steps.eventually("never", never)


@pytest.mark.parametrize("name", command.LIBRARIES)
def test_every_library_is_driven(name: str) -> None:
    """The drive imports the library that it is for, and has a dozen steps at least."""
    tree = ast.parse((FOLDER / f"{name}.py").read_text())
    imported = {
        node.module.split(".")[0] for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.module
    }
    assert command.LIBRARIES[name].replace("-", "_") in imported
    steps = [node for node in ast.walk(tree) if isinstance(node, ast.Attribute) and node.attr.startswith("expect")]
    assert len(steps) >= 12
