"""Aliases, the old ids of renewed sessions: ``migrate`` moves them, so that a request with an old id finds its session.

The run writes an alias at the target when it reads it at the source, even if the session is not at the target yet: an
alias that leads nowhere does no harm. The alias stays at the source as long as its session is there, because a logout
may use it. When all sessions have been moved, the run looks for the aliases that are left and moves them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from chuk_sessions.exceptions import WrongTypeError
from chuk_sessions.providers.redis.keys import quote_part, session_key, unquote_part
from chuk_sessions.providers.redis.scripts import DROP
from chuk_sessions.redis_client.commands import Replay

if TYPE_CHECKING:
    from chuk_sessions.cli.stored import Alias
    from chuk_sessions.providers.redis.transfer.crossing import Target
    from chuk_sessions.redis_client.client import Client

__all__ = ["Aliases"]


class Aliases:
    """The aliases that one run moves from its source to its target."""

    def __init__(self, source: Client, target: Target) -> None:
        self._source = source
        self._target = target
        self.some_wait = False  # True once an alias was left, because its session is still at the source

    async def move(self, alias: Alias, sandbox_id: str) -> bool:
        """Move an alias into that sandbox. Return whether it has left the source. Raises as ``Client.call``."""
        if not await self._target.lead(sandbox_id, alias.session_id, alias.current_id, alias.left):
            return False
        if await self._leads_to_a_session(alias):
            self.some_wait = True
            return False
        return bool(await DROP.run(self._source, (alias.key,), (quote_part(alias.current_id),)))

    async def _leads_to_a_session(self, alias: Alias) -> bool:
        """Tell whether the alias leads to a session at the source, perhaps through more aliases."""
        sandbox, session_id, passed = quote_part(alias.sandbox_id), alias.current_id, {alias.session_id}
        while session_id not in passed:  # always true for aliases of this package, which lead in no circle
            passed.add(session_id)
            try:
                key = session_key(sandbox, session_id)
                version, name = await self._source.call(b"HMGET", key, b"v", b"alias", replay=Replay.READ)
            except WrongTypeError:
                return False
            if version is not None or name is None:
                return version is not None
            session_id = unquote_part(name.decode())
        return False
