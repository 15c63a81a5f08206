"""Ten questions of a newcomer: the answer is two clicks from the README at most, under a heading that tells."""

from __future__ import annotations

import pytest

from tests.support.pages import README, REPOSITORY, Page, page

# The question, where its answer is, and words of the answer.
QUESTIONS = {
    "log a user out everywhere": ("docs/guide/users.md", "All sessions of a user", "delete_user_sessions(user)"),
    "count in a session": ("docs/guide/metadata.md", "Counting", "increment_session_metadata"),
    "move from 0.6": ("docs/upgrade/moving.md", "The four steps", "SESSION_LEGACY_READ=1"),
    "put it behind Sentinel": ("docs/operate/topologies.md", "Sentinel", "redis://sentinel1:26379"),
    "see why it is slow": ("docs/internals/one-call.md", "Why is it slow?", "keys_per_script"),
    "add a store": ("docs/extend/store.md", "What a store promises", "SessionStore"),
    "test with time moved": ("docs/guide/testing.md", "Testing", "a clock that the test moves"),
    "know what an exception means": ("docs/guide/errors.md", "Errors", "OutcomeUnknown"),
    "size the server": ("docs/operate/production.md", "How large must the server be?", "chuk-sessions inspect URL"),
    "report a hole": ("SECURITY.md", "Report a hole", "privately"),
}


def clicks() -> dict[str, int]:
    """How many links lead from the README to each page."""
    found, pending = {README.path: 0}, [README]
    while pending:
        here = pending.pop(0)
        links = [link.partition("#")[0] for link in here.links() if "://" not in link]
        for link in links:
            to = (here.path.parent / link).resolve() if link else here.path
            if to.suffix == ".md" and to not in found:
                found[to] = found[here.path] + 1
                pending.append(Page(to))
    return {path.relative_to(REPOSITORY).as_posix(): number for path, number in found.items()}


CLICKS = clicks()


@pytest.mark.parametrize("question", QUESTIONS)
def test_the_answer_is_near(question: str) -> None:
    """The second click is for the heading on a long page."""
    name, heading, words = QUESTIONS[question]
    assert CLICKS[name] == 1
    assert words in page(name).section(heading)


def test_every_page_is_two_clicks_away_at_most() -> None:
    assert {name: number for name, number in CLICKS.items() if name.startswith("docs/") and number > 2} == {}
