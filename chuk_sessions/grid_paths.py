"""The grid paths of a manager's sessions: methods of ``SessionManager`` that use no storage."""

from __future__ import annotations

from chuk_sessions import grid
from chuk_sessions.arguments import check_new_id

__all__ = ["GridPaths"]

PREFIX_CACHE_SIZE = 4096


class GridPaths:
    """A base of a class with a sandbox and a dict of prefixes, which is emptied when it is full."""

    _sandbox_id: str
    _prefixes: dict[str, str]

    def get_canonical_prefix(self, session_id: str) -> str:
        """Return how the paths of a session begin: ``grid/{sandbox}/{session}/``. The session need not exist.

        Args:
            session_id: Its id, one path segment of at most 1 KiB.

        Returns:
            The prefix, with a ``/`` at the end.

        Raises:
            ValueError: The id is no path segment, or over 1 KiB.
            TypeError: The id is no str.
        """
        if type(session_id) is not str:
            session_id = check_new_id("session_id", session_id)
        prefix = self._prefixes.get(session_id)
        if prefix is None:
            check_new_id("session_id", session_id)
            if len(self._prefixes) >= PREFIX_CACHE_SIZE:
                self._prefixes.clear()
            prefix = self._prefixes[session_id] = f"{self.get_session_prefix_pattern()}{session_id}/"
        return prefix

    def generate_artifact_key(self, session_id: str, artifact_id: str) -> str:
        """Return the path of an artifact: ``grid/{sandbox}/{session}/{artifact}``. Neither has to exist.

        Args:
            session_id: The session, one path segment of at most 1 KiB.
            artifact_id: The artifact: one or more segments with ``/`` between them.

        Returns:
            The path.

        Raises:
            ValueError: The session id is no path segment or over 1 KiB, or the artifact id is empty or has an empty,
                ``.`` or ``..`` segment.
            TypeError: An id is no str.
        """
        try:
            if "/" not in artifact_id and artifact_id not in grid.DOT_PARTS:
                return self._prefixes[session_id] + artifact_id
        except (KeyError, TypeError):
            pass
        problem = grid.artifact_problem(grid.check_text("artifact_id", artifact_id))
        if problem is not None:
            raise ValueError(f"artifact_id {problem}")
        return self.get_canonical_prefix(session_id) + artifact_id

    def parse_grid_key(self, grid_key: str) -> dict[str, str] | None:
        """Take a path apart, of any sandbox.

        Args:
            grid_key: A path that ``generate_artifact_key`` made, or anything else.

        Returns:
            A dict with ``sandbox_id``, ``session_id`` and ``artifact_id``; None if ``grid_key`` is no such path.
        """
        return grid.parse(grid_key)

    def get_session_prefix_pattern(self) -> str:
        """Return how the paths of all sessions of this sandbox begin.

        Returns:
            ``grid/{sandbox}/``.
        """
        return f"{grid.ROOT}/{self._sandbox_id}/"
