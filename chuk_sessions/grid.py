"""Grid paths: ``grid/{sandbox}/{session}/{artifact}``, built and taken apart.

A sandbox or session id is one path segment: not empty, no ``/``, not ``.`` or ``..``. An artifact id is one or more
such segments. What is built from parts that keep these rules is taken apart into exactly the same parts.
"""

from __future__ import annotations

__all__ = ["ROOT", "artifact_problem", "check_segment", "parse", "plain", "segment_problem"]

ROOT = "grid"
DOT_PARTS = frozenset(("", ".", ".."))


def segment_problem(part: object) -> str | None:
    """What keeps ``part`` from being one path segment, in words; None if nothing does."""
    if not isinstance(part, str):
        return f"must be a str, got {type(part).__name__}"
    if not part:
        return "must not be empty"
    if part in DOT_PARTS:
        return "must not be '.' or '..'"
    if "/" in part:
        return "must not contain '/'"
    return None


def artifact_problem(artifact_id: object) -> str | None:
    """What keeps ``artifact_id`` from being a path below a session, in words; None if nothing does."""
    if not isinstance(artifact_id, str):
        return f"must be a str, got {type(artifact_id).__name__}"
    if not DOT_PARTS.isdisjoint(artifact_id.split("/")):
        return "must not be empty or have an empty, '.' or '..' segment"
    return None


def check_segment(name: str, part: object) -> str:
    """``part`` as an exact str; ValueError that names the argument ``name`` if it is no path segment."""
    problem = segment_problem(part)
    if problem is not None:
        raise ValueError(f"{name} {problem}")
    return plain(part)


def plain(text: object) -> str:
    """The content of a str, of an Enum that is one too for instance; the empty str for anything else."""
    return str.__str__(text) if isinstance(text, str) else ""


def parse(path: object) -> dict[str, str] | None:
    """The parts of a grid path as ``sandbox_id``, ``session_id`` and ``artifact_id``; None if it is none."""
    if not isinstance(path, str):
        return None
    parts = path.split("/", 3)
    if len(parts) != 4 or parts[0] != ROOT:
        return None
    _, sandbox_id, session_id, artifact_id = parts
    if sandbox_id in DOT_PARTS or session_id in DOT_PARTS or artifact_problem(artifact_id) is not None:
        return None
    return {"sandbox_id": sandbox_id, "session_id": session_id, "artifact_id": artifact_id}
