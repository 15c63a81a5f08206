"""The shell blocks: commands of this package run as they are written, on a server of the tests; extras exist."""

from __future__ import annotations

import re
import shlex
import tomllib

import pytest

import chuk_sessions
from chuk_sessions.cli.main import main
from tests.support.pages import PAGES, REPOSITORY, page

PROGRAM = "chuk-sessions"
PUBLISHED = re.compile(r"pip install [^`#]*chuk-sessions")
URL = re.compile(r"redis://\S+")


def commands() -> list[tuple[str, list[str]]]:
    """Each command line of a shell block with its page."""
    lines = [(block, line) for each in PAGES for block in each.blocks("bash") for line in block.text.splitlines()]
    return [(block.name, shlex.split(line, comments=True)) for block, line in lines]


def ours() -> list[object]:
    found = {tuple(words[1:]) for _, words in commands() if words[:1] == [PROGRAM]}
    return [pytest.param(list(words), id=" ".join(words)) for words in sorted(found)]


@pytest.mark.redis
@pytest.mark.parametrize("words", ours())
def test_the_command_runs(
    words: list[str], redis_url: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """On an empty server there may be something to do (1); it is never a wrong use (2)."""
    monkeypatch.setenv("SESSION_ENCRYPTION_KEYS", f"k1:{43 * 'A'}=")
    urls = iter([redis_url, redis_url])
    arguments = [URL.sub(lambda _: next(urls), word) for word in words]
    assert main(arguments) in (0, 1), capsys.readouterr()


def test_pip_installs_only_extras_that_there_are() -> None:
    extras = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]["optional-dependencies"].keys()
    text = "".join(each.text() for each in PAGES)
    named = {
        name
        for names in re.findall(r"(?:chuk-sessions|pip install '\.)\[([\w,]+)\]", text)
        for name in names.split(",")
    }
    assert {"cli", "redis"} <= named <= set(extras)


def test_nothing_installs_a_published_version() -> None:
    """As long as this version is not released, pip would fetch an older one by the name of the package."""
    texts = [each.text() for each in PAGES] + [path.read_text() for path in (REPOSITORY / "examples").rglob("*.py")]
    if f"\n## {chuk_sessions.__version__} (unreleased)" in page("CHANGELOG.md").text():
        assert [line for text in texts for line in text.splitlines() if PUBLISHED.search(line)] == []


def test_every_program_of_a_shell_block_is_known() -> None:
    """So that a new one is either run here or listed with where it is.

    tests/django runs the command of manage.py, tests/instrumentation a Prometheus and the example that it looks at.
    """
    programs = {" ".join(words[: 1 + (words[0] == "python")]) for _, words in commands() if words}
    assert programs == {"pip", PROGRAM, "uvicorn", "python manage.py", "python -m", "prometheus"}


def test_uvicorn_starts_an_application_of_its_page() -> None:
    """It needs no run of uvicorn to tell: the page has the file, and the file the application."""
    for each in PAGES:
        for line in [line for block in each.blocks("bash") for line in block.text.splitlines()]:
            if match := re.match(r"uvicorn (\w+):(\w+)$", line):
                assert re.search(rf"^{match[2]} = ", each.files()[f"{match[1]}.py"], re.MULTILINE), line
