"""What most tests use, from where it is defined: a clock to move, waiting, comparing what JSON gives back."""

from __future__ import annotations

import math

from chuk_sessions.testing.clock import PATIENCE, Clock, eventually, time_passes
from chuk_sessions.testing.samples import as_json, same

__all__ = ["PATIENCE", "Clock", "as_json", "eventually", "same", "time_passes"]

assert same([math.nan, {"a": -0.0}], [math.nan, {"a": -0.0}])
