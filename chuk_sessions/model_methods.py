"""Methods of a pydantic model that code written against 0.6 calls on a ``SessionMetadata``, without pydantic."""

from __future__ import annotations

import copy
import json
from collections.abc import Collection, Iterator, Mapping
from dataclasses import fields
from typing import Any, Self

__all__ = ["ModelMethods"]

OPTIONAL_FIELDS = ("user_id", "created_at", "expires_at", "last_accessed")
TEXT_FIELDS = ("session_id", "sandbox_id", "status", *OPTIONAL_FIELDS)


class ModelMethods:
    """A base of a dataclass with the fields of a session, ``to_dict`` and ``from_dict``.

    An option of pydantic's that these methods lack is a TypeError; it is not silently ignored.
    """

    __slots__ = ()

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as a new dict."""
        raise NotImplementedError

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Self:
        """Make an object of a dict; the inverse of ``to_dict``."""
        raise NotImplementedError

    def __iter__(self) -> Iterator[tuple[str, Any]]:
        """Give pairs of field and value, not copied, so that ``dict(session)`` works."""
        return ((field.name, getattr(self, field.name)) for field in fields(self))  # type: ignore[arg-type]

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """Return a copy with other values in some fields.

        Args:
            update: The fields to change, with their values, which are not checked.
            deep: Whether the values in the metadata are copied too.

        Returns:
            The copy.

        Raises:
            AttributeError: A name in ``update`` is no field.
        """
        copied = copy.deepcopy(self) if deep else copy.copy(self)
        for name, value in (update or {}).items():
            setattr(copied, name, value)
        return copied

    def model_dump(
        self,
        *,
        mode: str = "python",
        include: Collection[str] | None = None,
        exclude: Collection[str] | None = None,
        by_alias: bool | None = None,
        exclude_none: bool = False,
    ) -> dict[str, Any]:
        """Return the fields as a dict, as ``to_dict`` does, or some of them.

        Args:
            mode: Makes no difference: all values are values of JSON.
            include: The names of the fields to take; None takes all.
            exclude: The names of the fields to leave out.
            by_alias: Makes no difference: no field has an alias.
            exclude_none: Whether fields that are None are left out.

        Returns:
            The fields by name.

        Raises:
            TypeError: ``include`` or ``exclude`` is a str or a mapping, by which pydantic reaches into a field.
        """
        for names in (include, exclude):
            if isinstance(names, str | Mapping):
                raise TypeError(f"include and exclude are sets of field names, got {type(names).__name__}")
        return {
            name: value
            for name, value in self.to_dict().items()
            if (include is None or name in include)
            and (exclude is None or name not in exclude)
            and not (exclude_none and value is None)
        }

    def model_dump_json(self, *, indent: int | None = None, **options: Any) -> str:
        """Return ``model_dump`` as JSON in ASCII.

        NaN and Infinity are written as ``json.dumps`` does, so that they read back.

        Args:
            indent: By how many spaces; None for compact JSON.
            **options: Those of ``model_dump``.

        Returns:
            The JSON.

        Raises:
            TypeError: The metadata holds a value that JSON lacks. A stored session never does.
            ValueError: The metadata refers to itself. A stored session's never does.
        """
        separators = (",", ":") if indent is None else None
        return json.dumps(self.model_dump(**options), indent=indent, separators=separators)

    @classmethod
    def model_validate(cls, obj: Any) -> Self:
        """Make an object of a dict whose fields have the right types.

        Args:
            obj: The dict; or an object, which is returned itself.

        Returns:
            The object.

        Raises:
            ValueError: A field is missing or wrong. The message names the first such field and does not show its value.
        """
        if isinstance(obj, cls):
            return obj
        if not isinstance(obj, dict):
            raise ValueError(f"a {cls.__name__} is made of a dict, got {type(obj).__name__}")
        for name in TEXT_FIELDS:
            value = obj.get(name, "" if name == "status" else None)
            if not isinstance(value, str) and (name not in OPTIONAL_FIELDS or value is not None):
                raise ValueError(f"{name} must be a str, got {type(value).__name__}")
        if not isinstance(obj.get("custom_metadata", {}), dict):
            raise ValueError(f"custom_metadata must be a dict, got {type(obj['custom_metadata']).__name__}")
        return cls.from_dict(obj)

    @classmethod
    def model_validate_json(cls, json_data: str | bytes | bytearray) -> Self:
        """Make an object of JSON, as ``model_validate`` does of a dict.

        Args:
            json_data: The JSON.

        Returns:
            The object.

        Raises:
            ValueError: It is no JSON, or as ``model_validate``.
        """
        try:
            return cls.model_validate(json.loads(json_data))
        except RecursionError:
            raise ValueError("the JSON is nested too deeply") from None
