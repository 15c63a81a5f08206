"""The pages of web frameworks leave no thread behind."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.log_threads import log_threads_ended

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(autouse=True)
def no_log_threads() -> Iterator[None]:
    """Litestar and Quart begin one for each application."""
    with log_threads_ended():
        yield
