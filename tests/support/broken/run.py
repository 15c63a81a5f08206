"""For each broken store the tests that must find it, for pytest to collect; the two of `CORRECT` must pass them all."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import pytest

from chuk_sessions.testing import Clock, StoreContract
from tests.support.broken import binding, life, metadata, opening, users
from tests.support.broken.base import FOUND_BY, Broken
from tests.support.broken.unreadable import OverKeyValue

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from chuk_sessions.stores import SessionStore
    from chuk_sessions.testing.contract.base import MakeUnreadable

del binding, life, metadata, opening, users  # loaded: now they are in the list
CORRECT: tuple[type[Broken], ...] = (Broken, OverKeyValue)  # so that the others fail for their own fault


class OfAStore(StoreContract):
    """The contract of one of the stores."""

    broken: ClassVar[type[Broken]] = Broken

    @pytest.fixture
    def clock(self) -> Clock:
        return Clock()

    @pytest.fixture
    def open_store(self, clock: Clock) -> Callable[[str], SessionStore]:
        self.broken.shared.clear()
        open_within = self.broken.make_opener(clock)
        return lambda sandbox_id: self.broken(open_within(self.broken.name_of(sandbox_id)), clock)

    @pytest.fixture
    def make_unreadable(self) -> MakeUnreadable | None:
        return self.broken.spoil if issubclass(self.broken, OverKeyValue) else None


def names_of_the_contract() -> set[str]:
    return {name for name in dir(StoreContract) if name.startswith("test_")}


def class_of_tests(store: type[Broken], tests: Collection[str]) -> type[OfAStore]:
    """With these tests; None in the place of the others hides them from pytest."""
    left_out = dict.fromkeys(names_of_the_contract() - set(tests))
    return type(f"Test{store.__name__}", (OfAStore,), {**left_out, "broken": store, "__module__": __name__})


for each, claimed in (dict.fromkeys(CORRECT, names_of_the_contract()) | FOUND_BY).items():
    globals()[f"Test{each.__name__}"] = class_of_tests(each, claimed)
