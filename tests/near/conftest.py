"""Fixtures of the near cache."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.near.scripted import Scripted


@pytest.fixture
async def scripted() -> AsyncIterator[Scripted]:
    """A node with a near cache, not connected yet."""
    made = Scripted()
    yield made
    await made.close()
