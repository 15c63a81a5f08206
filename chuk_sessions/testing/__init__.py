"""Helpers for tests of sessions: a clock to move, and the contract of stores as a pytest class.

``Clock`` needs no other package. ``StoreContract`` needs pytest and pytest-asyncio; the first access to
``StoreContract`` loads them::

    class TestMyStore(StoreContract):
        @pytest.fixture
        def open_store(self, tmp_path):
            return MyFactory(tmp_path / "sessions.db").session_store
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from chuk_sessions.testing.clock import Clock

if TYPE_CHECKING:
    from chuk_sessions.testing.contract import StoreContract

__all__ = ["Clock", "StoreContract"]


def __getattr__(name: str) -> Any:
    """Load ``StoreContract``. If pytest or its plugin is missing, an ImportError names the packages to install."""
    if name == "StoreContract":
        from chuk_sessions.testing.contract import StoreContract

        return StoreContract
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
