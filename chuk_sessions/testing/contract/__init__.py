"""``StoreContract``: the promises of every store, as a pytest class that the stores of this package run too.

Each subject has a file with a class of tests; ``base`` has the fixtures that they share. A test that needs a capability
asks for the fixture of that capability, such as ``renewable_store``.
"""

from __future__ import annotations

try:
    import pytest
    import pytest_asyncio as _pytest_asyncio  # noqa: F401 (the plugin that runs the tests)
except ImportError as exc:
    raise ImportError(
        f"chuk_sessions.testing.StoreContract needs pytest and pytest-asyncio, and {exc.name} cannot be imported:"
        " pip install pytest pytest-asyncio"
    ) from exc

PARTS = (
    *("base", "concurrency", "counting", "deadlines", "figures", "idle", "life", "limit", "metadata", "renewal"),
    *("suite", "unreadable", "users", "walk"),
)
# Register these modules before they are imported: a failed assertion then shows the compared values.
pytest.register_assert_rewrite(*(f"{__name__}.{part}" for part in PARTS))

from chuk_sessions.testing.contract.suite import StoreContract  # noqa: E402 (see above)

__all__ = ["StoreContract"]
