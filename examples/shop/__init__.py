"""A small shop: sessions of this package in a browser. ``python -m examples.shop`` starts it.

A cart that two tabs may fill at once, a login, "where am I logged in" with a button that ends a session elsewhere,
"log out everywhere", and a WebSocket that says who is logged in and notices when that ends.
"""

from __future__ import annotations

from examples.shop.app import create_app

__all__ = ["create_app"]
