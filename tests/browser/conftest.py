"""The shop as a process of its own, and headless browsers that visit it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.support.helpers import wait_until
from tests.support.servers import RedisServer, free_port

REPOSITORY = Path(__file__).parents[2]
CHROMIUM = ("chromium", "chromium-browser", "google-chrome")
DRIVER = ("chromedriver", "chromium.chromedriver")
PATIENCE = 20  # seconds

OPTIONS = (
    *("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--window-size=900,760"),
    *("--disable-background-networking", "--no-first-run", "--disable-extensions", "--mute-audio"),
    "--lang=en",
)


def program(names: tuple[str, ...]) -> str:
    found = next(filter(None, map(shutil.which, names)), None)
    if found is None:
        pytest.skip(f"no {names[0]} on the PATH")
    return found


class Shop:
    """`python -m examples.shop` on a free port; in memory without a URL of Redis."""

    def __init__(self, redis_url: str | None) -> None:
        port = free_port()
        self.log = ""
        self.url = f"http://localhost:{port}"
        where = ["--redis", redis_url] if redis_url else []
        command = [sys.executable, "-m", "examples.shop", "--port", str(port), *where]
        self._process = subprocess.Popen(command, cwd=REPOSITORY, stderr=subprocess.PIPE, text=True)

    def __enter__(self) -> Shop:
        wait_until(self._answers, PATIENCE)
        return self

    def _answers(self) -> bool:
        assert self._process.poll() is None, "the shop has ended"
        try:
            with urllib.request.urlopen(self.url, timeout=PATIENCE):
                return True
        except urllib.error.URLError:
            return False

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self.log = self._process.communicate(timeout=PATIENCE)[1]


class Tab:
    """A browser with a profile of its own: one tab, or several of which one is looked at."""

    def __init__(self, driver: Any, shop: Shop, pictures: Path | None) -> None:
        self.driver, self.shop, self._pictures = driver, shop, pictures

    def open(self, path: str = "/") -> Tab:
        self.driver.get(self.shop.url + path)
        return self

    def another(self) -> str:
        """Open one more tab and look at it; its handle."""
        self.driver.switch_to.new_window("tab")
        return str(self.driver.current_window_handle)

    def look_at(self, handle: str) -> None:
        self.driver.switch_to.window(handle)

    def find(self, element: str) -> Any:
        return self.driver.find_element("id", element)

    def has(self, element: str) -> bool:
        return bool(self.driver.find_elements("id", element))

    def text(self, element: str) -> str:
        return str(self.find(element).text)

    def click(self, element: str) -> None:
        """Click, and wait until the page that it leads to is there."""
        before = self.driver.find_element("tag name", "html")
        self.find(element).click()
        self.wait(lambda: self._is_stale(before))

    def _is_stale(self, element: Any) -> bool:
        from selenium.common.exceptions import StaleElementReferenceException, WebDriverException

        try:
            element.is_enabled()
        except (StaleElementReferenceException, WebDriverException):
            return bool(self.driver.execute_script("return document.readyState") == "complete")
        return False

    def log_in(self, user: str) -> None:
        self.driver.find_element("name", "user").send_keys(user)
        self.click("login")

    def wait(self, condition: Callable[[], bool]) -> None:
        wait_until(condition, PATIENCE)

    def run(self, script: str, *arguments: Any) -> Any:
        """What a script of the page gives to its callback, which is its last argument."""
        return self.driver.execute_async_script(script, *arguments)

    @property
    def cookie(self) -> dict[str, Any]:
        """The one cookie that the browser has of the shop, with its attributes."""
        (found,) = self.driver.get_cookies()
        return dict(found)

    def picture(self, name: str) -> None:
        """Keep what the page looks like, in the folder of the variable CHUK_TEST_PICTURES, if that is set."""
        if self._pictures is not None:
            self.driver.save_screenshot(str(self._pictures / f"{name}.png"))


@pytest.fixture
def server() -> Iterator[RedisServer]:
    """A server that keeps what it has over a restart."""
    with RedisServer() as started:
        started.restart("appendonly yes")
        yield started


@pytest.fixture
def shop(server: RedisServer) -> Iterator[Shop]:
    """The shop, with its sessions on that server; what it logs has no session id."""
    with Shop(server.url) as started:
        yield started
    assert "sess-" not in started.log


@pytest.fixture
def open_browser(tmp_path: Path) -> Iterator[Callable[[Shop], Tab]]:
    """Starts a browser with an empty profile, at the front page."""
    webdriver: Any = pytest.importorskip(
        "selenium.webdriver", reason="selenium is not installed: nox -s browser does it"
    )
    folder = os.environ.get("CHUK_TEST_PICTURES")
    binary, driver_program = program(CHROMIUM), program(DRIVER)
    with ExitStack() as stack:

        def start(shop: Shop) -> Tab:
            options = webdriver.ChromeOptions()
            options.binary_location = binary
            for option in OPTIONS:
                options.add_argument(option)
            driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver_program))
            stack.callback(driver.quit)
            return Tab(driver, shop, Path(folder) if folder else None).open()

        yield start
