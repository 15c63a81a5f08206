"""Values with many levels, and calls from far down the stack."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

T = TypeVar("T")


def nested(levels: int, kind: str) -> dict[str, Any]:
    """A dict with so many containers in one another, itself included."""
    value: Any = 1
    for _ in range(levels - 1):
        value = {"a": value} if kind == "dict" else (value,) if kind == "tuple" else [value]
    return {"top": value}


def levels_of(value: Any) -> int:
    """How many containers are in one another, the last item of each; by hand, as comparing deep ones recurses."""
    levels = 0
    while isinstance(value, (dict, list, tuple)):
        items = list(value.values()) if isinstance(value, dict) else list(value)
        value = items[-1] if items else None
        levels += 1
    return levels


def at_depth(left: int, call: Callable[[], T]) -> T:
    """What the call gives where about so many more frames fit on the stack."""

    def room() -> int:
        try:
            return room() + 1
        except RecursionError:
            return 0

    def descend(frames: int) -> T:
        return descend(frames - 1) if frames > 0 else call()

    return descend(room() - left)


async def awaited_at_depth(left: int, call: Callable[[], Awaitable[T]]) -> T:
    """The same for what is awaited: each step of it begins anew at the top of the stack."""

    async def room() -> int:  # tried, as a frame takes more of the stack where coverage is measured
        try:
            return await room() + 1
        except RecursionError:
            return 0

    async def descend(frames: int) -> T:
        return await descend(frames - 1) if frames > 0 else await call()

    return await descend(await room() - left)
