"""``StoreContract``: all tests in one class."""

from __future__ import annotations

import pytest

from chuk_sessions.testing.contract.binding import BindingOfUsersTests, BindingTests
from chuk_sessions.testing.contract.concurrency import ConcurrencyTests
from chuk_sessions.testing.contract.counting import CountingTests
from chuk_sessions.testing.contract.deadlines import DeadlineTests
from chuk_sessions.testing.contract.figures import FigureTests
from chuk_sessions.testing.contract.idle import IdleTests
from chuk_sessions.testing.contract.life import LifeTests
from chuk_sessions.testing.contract.limit import LimitTests
from chuk_sessions.testing.contract.metadata import MetadataTests
from chuk_sessions.testing.contract.opening import OpeningTests
from chuk_sessions.testing.contract.renewal import RenewalOfUsersTests, RenewalTests
from chuk_sessions.testing.contract.unreadable import UnreadableTests
from chuk_sessions.testing.contract.users import UserTests
from chuk_sessions.testing.contract.walk import WalkTests

__all__ = ["StoreContract"]


@pytest.mark.asyncio
class StoreContract(
    LifeTests,
    OpeningTests,
    DeadlineTests,
    MetadataTests,
    CountingTests,
    ConcurrencyTests,
    IdleTests,
    UserTests,
    LimitTests,
    RenewalTests,
    RenewalOfUsersTests,
    BindingTests,
    BindingOfUsersTests,
    WalkTests,
    FigureTests,
    UnreadableTests,
):
    """The promises of ``chuk_sessions.stores.SessionStore`` and its capabilities, as tests of a store.

    Write a subclass whose name begins with ``Test``, with the fixture ``open_store``: a function from the name of a
    sandbox to the store of its sessions. Within one test all stores share one storage, which is empty at first. Tests
    of a capability are skipped for a store that lacks it. The subclass may have two more fixtures:

    * ``clock`` returns the ``chuk_sessions.testing.Clock`` that the store was made with. The tests then move it.
      Without a clock the tests wait for time to pass, and tests that depend on an exact instant are skipped.
    * ``make_unreadable`` returns a coroutine function of sandbox and session id, which makes the stored record
      unreadable.

    ``clock_skew`` is the difference, in seconds, that is allowed between the clocks of the storage and of the tests.
    pytest-asyncio may be in strict mode or in auto mode.
    """
