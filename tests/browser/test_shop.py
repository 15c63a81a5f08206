"""What people see: cookies as a browser has them, tabs, profiles, sockets, and a storage that goes and comes back."""

from __future__ import annotations

from collections.abc import Callable

import pytest

pytest.importorskip("selenium", reason="selenium is not installed: nox -s browser does it")

from tests.browser.conftest import Shop, Tab
from tests.support.servers import RedisServer

Open = Callable[[Shop], Tab]

ADD = """
const [item, times, done] = arguments;
Promise.all(Array.from({length: times}, () => fetch(`/cart/${item}`, {method: "POST", redirect: "manual"})))
  .then(() => done(true));
"""
BEGIN_TO_ADD = """
const [item, times] = arguments;
window.added = Promise.all(Array.from({length: times}, () => fetch(`/cart/${item}`, {method: "POST"})));
"""
WAIT_FOR_IT = "const done = arguments[0]; window.added.then(() => done(true));"
FORGE = """
const [url, done] = arguments;
fetch(url, {method: "POST", mode: "no-cors", credentials: "include"}).then(() => done(true));
"""
STATUS = "const done = arguments[0]; fetch('/').then((answer) => done(answer.status));"


def test_a_login_in_memory(open_browser: Open) -> None:
    """The one command without Redis: the cart of a visitor stays, the cookie is another one, and its attributes."""
    with Shop(None) as shop:
        tab = open_browser(shop)
        assert tab.driver.get_cookies() == []
        tab.click("add-tea")
        visitor = tab.cookie
        tab.wait(lambda: tab.text("who") == "visitor")
        tab.picture("visitor")
        tab.log_in("alice")
        assert tab.text("user") == "alice"
        assert tab.text("in-cart-tea") == "1"
        tab.wait(lambda: tab.text("who") == "alice")
        tab.picture("logged-in")
        cookie = tab.cookie
        assert cookie["value"] != visitor["value"]
        assert cookie["name"] == "__Host-session"
        assert (cookie["httpOnly"], cookie["secure"], cookie["sameSite"]) == (True, True, "Lax")
        assert (cookie["path"], cookie["domain"], cookie.get("expiry")) == ("/", "localhost", None)
        assert tab.driver.execute_script("return document.cookie") == ""
        tab.driver.delete_all_cookies()
        tab.driver.add_cookie({"name": visitor["name"], "value": visitor["value"], "path": "/", "secure": True})
        tab.open()
        assert not tab.has("user")  # the id that a visitor had is worth nothing after the login
        assert not tab.has("in-cart-tea")
    assert "sess-" not in shop.log


def test_two_tabs_that_write_at_once(open_browser: Open, shop: Shop) -> None:
    """Lose nothing of each other."""
    tab = open_browser(shop)
    tab.click("add-pen")
    first = tab.driver.current_window_handle
    second = tab.another()
    tab.open()
    for handle, item in ((first, "tea"), (second, "book")):
        tab.look_at(handle)
        tab.driver.execute_script(BEGIN_TO_ADD, item, 20)
    for handle in (first, second):
        tab.look_at(handle)
        assert tab.run(WAIT_FOR_IT)
    assert tab.run(ADD, "pen", 9)
    tab.open()
    assert [tab.text(f"in-cart-{item}") for item in ("tea", "book", "pen")] == ["20", "20", "10"]
    tab.click("empty")
    assert tab.text("cart") == "Nothing yet."
    tab.picture("emptied")


def test_a_logout_in_one_tab_ends_the_socket_of_the_other(open_browser: Open, shop: Shop) -> None:
    """By its close code, which the page shows."""
    tab = open_browser(shop)
    tab.log_in("alice")
    first = tab.driver.current_window_handle
    tab.wait(lambda: tab.text("who") == "alice")
    tab.another()
    tab.open()
    tab.click("logout")
    assert tab.driver.get_cookies() == []
    tab.look_at(first)
    tab.wait(lambda: tab.text("who") == "this session has ended")
    tab.picture("ended")
    tab.open("/account")
    assert not tab.has("logins")


def test_another_browser_is_revoked(open_browser: Open, shop: Shop) -> None:
    """From the list of logins; then all are, from anywhere."""
    one, two = open_browser(shop), open_browser(shop)
    for each in (one, two):
        each.log_in("alice")
    two.wait(lambda: two.text("who") == "alice")
    one.open("/account")
    rows = one.driver.find_elements("css selector", "#logins li")
    assert len(rows) == 2
    one.picture("account")
    (there,) = one.driver.find_elements("css selector", "#logins button")
    one.click(there.get_attribute("id"))
    two.wait(lambda: two.text("who") == "this session has ended")
    two.open()
    assert not two.has("user")
    one.picture("revoked")
    assert len(one.driver.find_elements("css selector", "#logins li")) == 1
    two.log_in("alice")
    two.wait(lambda: two.text("who") == "alice")
    one.open("/account").click("everywhere")
    assert not one.has("user")
    two.wait(lambda: two.text("who") == "this session has ended")


def test_another_site_can_do_nothing(open_browser: Open, shop: Shop) -> None:
    """A page of another origin posts with the cookie, as far as the browser lets it: nothing is added."""
    tab = open_browser(shop)
    tab.log_in("alice")
    tab.driver.get(shop.url.replace("localhost", "127.0.0.1"))
    assert tab.run(FORGE, f"{shop.url}/cart/tea")
    tab.open()
    assert tab.text("user") == "alice"
    assert tab.text("cart") == "Nothing yet."


def test_redis_stops_and_comes_back(open_browser: Open, shop: Shop, server: RedisServer) -> None:
    """A page that says so, with 503, and then the same login: nobody has to log in anew."""
    tab = open_browser(shop)
    tab.log_in("alice")
    tab.click("add-tea")
    before = tab.cookie
    server.kill()
    tab.open()
    assert tab.has("unavailable")
    assert tab.run(STATUS) == 503
    tab.picture("unavailable")
    assert tab.cookie == before
    server.restart()
    tab.wait(lambda: tab.open().has("user"))
    assert (tab.text("user"), tab.text("in-cart-tea")) == ("alice", "1")
    assert tab.cookie == before
