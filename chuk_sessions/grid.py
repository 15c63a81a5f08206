"""Grid paths, ``grid/{sandbox}/{session}/{artifact}``: building and parsing them.

A sandbox or session id is one path segment: not empty, no ``/``, not ``.`` or ``..``. An artifact id is one or more
such segments. A path that is built from such parts is parsed into exactly the same parts.
"""

from __future__ import annotations

__all__ = ["ROOT", "artifact_problem", "check_segment", "check_text", "parse", "plain", "segment_problem"]

ROOT = "grid"
DOT_PARTS = frozenset(("", ".", ".."))


def segment_problem(part: str) -> str | None:
    """Return the reason, in words, why ``part`` is not one path segment; None if it is one."""
    if not part:
        return "must not be empty"
    if part in DOT_PARTS:
        return "must not be '.' or '..'"
    if "/" in part:
        return "must not contain '/'"
    return None


def artifact_problem(artifact_id: str) -> str | None:
    """Return the reason, in words, why ``artifact_id`` is no path below a session; None if it is one."""
    if not DOT_PARTS.isdisjoint(artifact_id.split("/")):
        return "must not be empty or have an empty, '.' or '..' segment"
    return None


def check_segment(name: str, part: object) -> str:
    """Return ``part`` as an exact str.

    Raises ValueError if it is no path segment, TypeError if it is no str. The errors name the argument.
    """
    text = check_text(name, part)
    problem = segment_problem(text)
    if problem is not None:
        raise ValueError(f"{name} {problem}")
    return text


def check_text(name: str, value: object, alternative: str = "") -> str:
    """Return ``value`` as an exact str. Raises TypeError that names the argument if it is no str."""
    if not isinstance(value, str):
        raise TypeError(f"{name} must be a str{alternative}, got {type(value).__name__}")
    return str.__str__(value)


def plain(text: object) -> str:
    """Return the content of a str or of a subclass, such as a StrEnum; the empty str for anything else."""
    return str.__str__(text) if isinstance(text, str) else ""


def parse(path: object) -> dict[str, str] | None:
    """Return the parts of a grid path as ``sandbox_id``, ``session_id`` and ``artifact_id``; None if it is no path."""
    if not isinstance(path, str):
        return None
    parts = path.split("/", 3)
    if len(parts) != 4 or parts[0] != ROOT:
        return None
    _, sandbox_id, session_id, artifact_id = parts
    if sandbox_id in DOT_PARTS or session_id in DOT_PARTS or artifact_problem(artifact_id) is not None:
        return None
    return {"sandbox_id": sandbox_id, "session_id": session_id, "artifact_id": artifact_id}
