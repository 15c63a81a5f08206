"""Large commands of one server, over a connection of their own that lasts as long as there are any.

A connection answers everything in order, and the bytes of a command must be adjacent: a command after 15 MB on a slow
link waits for all of them. And a server ends the connection when a value is larger than its ``proto-max-bulk-len``. So
neither may happen on the connection that all callers share. Only one large command is in flight at a time. So an error
reply belongs to that command, also if the server hangs up after it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

from chuk_sessions.redis_client.commands import Command

if TYPE_CHECKING:
    from chuk_sessions.redis_client.node import Node

__all__ = ["Lane"]

SO_FAR = ("written", "writes", "reconnects", "timeouts", "login_renewals")


class Lane:
    """Sends large commands. ``make`` makes a node for the same server."""

    def __init__(self, make: Callable[[], Node]) -> None:
        self._make = make
        self._node: Node | None = None
        self._past = dict.fromkeys(SO_FAR, 0)

    def submit(self, command: Command) -> None:
        """Send a command over the own connection."""
        if self._node is None:
            self._node = self._make()
        self._node.submit(command)

    def number(self, name: str) -> int:
        """Return the part of the lane in a number of the node."""
        now: int = 0 if self._node is None else getattr(self._node, name)
        return self._past.get(name, 0) + now

    def is_waiting(self) -> bool:
        """Tell whether there are commands."""
        return self._node is not None and self._node.is_waiting()

    def move_waiting(self, to: deque[Command]) -> None:
        """See ``Node.move_waiting``."""
        if self._node is not None:
            self._node.move_waiting(to)

    def end(self, reason: str) -> None:
        """End the connection. The next command makes another one."""
        node = self._node
        if node is None:
            return
        node.end(reason)
        past = {name: self._past[name] + getattr(node, name) for name in SO_FAR}
        self._past, self._node = past, None

    async def close(self, reason: str) -> None:
        """End the connection and settle every command."""
        if self._node is not None:
            await self._node.close(reason)
