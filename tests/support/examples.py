"""How many random examples a test takes that does not take Hypothesis' own number of them."""

from __future__ import annotations

from hypothesis import settings

USUAL = 100  # of the profiles `dev` and `ci`, as of Hypothesis itself


def examples(number: int) -> int:
    """So many; under the profile `quick`, in proportion fewer."""
    return max(1, number * settings().max_examples // USUAL)
