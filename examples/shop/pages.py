"""The pages of the shop, as HTML: no build step, no library, and no script but the few lines for the WebSocket."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from html import escape

from chuk_sessions.web import Flash

ITEMS = {"tea": "Tea", "book": "A book", "pen": "A pen"}

STYLE = """
:root { color-scheme: light dark; --line: color-mix(in srgb, currentColor 18%, transparent); }
* { box-sizing: border-box; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 44rem; margin: 0 auto; padding: 1.5rem 1rem 3rem; }
header { display: flex; justify-content: space-between; align-items: center; gap: 1rem; flex-wrap: wrap; }
header { border-bottom: 1px solid var(--line); padding-bottom: 1rem; margin-bottom: 1.5rem; }
header a { font-size: 1.4rem; font-weight: 650; text-decoration: none; color: inherit; }
form { display: inline; margin: 0; }
button, input { font: inherit; padding: .3rem .8rem; border: 1px solid var(--line); border-radius: .4rem; }
button { cursor: pointer; }
ul { list-style: none; padding: 0; margin: 0; }
li { display: flex; justify-content: space-between; align-items: center; gap: 1rem; padding: .5rem 0; }
li + li { border-top: 1px solid var(--line); }
h2 { font-size: 1.1rem; margin: 2rem 0 .5rem; }
.who { font-size: .9rem; padding: .15rem .7rem; border-radius: 1rem; border: 1px solid var(--line); }
.who.ended { border-color: #c2410c; color: #c2410c; }
.flash { border-left: 4px solid #15803d; padding: .4rem .8rem; margin: 0 0 1rem; }
ul + form { display: block; margin-top: .8rem; }
.note { opacity: .7; font-size: .9rem; }
nav { display: flex; gap: .6rem; align-items: center; flex-wrap: wrap; }
"""

SCRIPT = """
const who = document.getElementById("who");
const socket = new WebSocket(location.origin.replace("http", "ws") + "/whoami");
socket.onmessage = (message) => { who.textContent = message.data || "visitor"; };
socket.onclose = (closed) => {
  if (closed.code !== 4401) return;
  who.textContent = "this session has ended";
  who.className = "who ended";
};
"""


@dataclass(frozen=True)
class Login:
    """A browser in which the user is logged in: what the page says of it, and by what mark it can be revoked."""

    mark: str
    browser: str
    since: str
    is_this: bool


def _page(title: str, body: str, flashes: Iterable[Flash] = (), script: str = SCRIPT) -> str:
    messages = "".join(f'<p class="flash">{escape(each.text)}</p>' for each in flashes)
    who = '<span id="who" class="who">&hellip;</span>' if script else ""
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1"><link rel="icon" href="data:,">'
        f"<title>{escape(title)}</title><style>{STYLE}</style></head>"
        f'<body><header><a href="/">The Shop</a>{who}</header>{messages}<main>{body}</main>'
        f"<script>{script}</script></body></html>"
    )


def _button(action: str, text: str, name: str = "") -> str:
    mark = f' id="{escape(name)}"' if name else ""
    return f'<form method="post" action="{escape(action)}"><button{mark}>{escape(text)}</button></form>'


def front(user: str | None, cart: Mapping[str, int], flashes: Iterable[Flash]) -> str:
    """What there is to buy, what is in the cart, and the way in or out."""
    goods = "".join(
        f"<li>{escape(name)}{_button(f'/cart/{item}', 'Add', f'add-{item}')}</li>" for item, name in ITEMS.items()
    )
    held = "".join(
        f'<li>{escape(ITEMS.get(item, item))}<span id="in-cart-{escape(item)}">{count}</span></li>'
        for item, count in sorted(cart.items())
    )
    if held:
        in_cart = f'<ul id="cart">{held}</ul>{_button("/empty", "Empty the cart", "empty")}'
    else:
        in_cart = '<p class="note" id="cart">Nothing yet.</p>'
    if user is None:
        door = (
            '<form method="post" action="/login"><label>Name <input name="user" required autocomplete="username">'
            '</label> <button id="login">Log in</button></form>'
            '<p class="note">There are no passwords here: be whom you like.</p>'
        )
    else:
        door = (
            f'<nav>Logged in as <strong id="user">{escape(user)}</strong><a href="/account">Where else?</a>'
            f"{_button('/logout', 'Log out', 'logout')}</nav>"
        )
    return _page("The Shop", f"<ul>{goods}</ul><h2>Cart</h2>{in_cart}<h2>You</h2>{door}", flashes)


def account(user: str, logins: Iterable[Login], flashes: Iterable[Flash]) -> str:
    """Where a user is logged in."""
    rows = "".join(
        f"<li><span>{escape(each.browser)}<br><span class=note>since {escape(each.since[:16].replace('T', ' '))} UTC"
        f"</span></span>{_last(each)}</li>"
        for each in logins
    )
    everywhere = _button("/logout/everywhere", "Log out everywhere", "everywhere")
    return _page(
        "Your logins", f'<h2>{escape(user)} is logged in here</h2><ul id="logins">{rows}</ul>{everywhere}', flashes
    )


def _last(login: Login) -> str:
    if login.is_this:
        return '<span class="who">this browser</span>'
    return _button(f"/sessions/{login.mark}/revoke", "Log out there", f"revoke-{login.mark}")


def unavailable() -> str:
    """For the time in which the sessions cannot be read."""
    text = "The shop cannot read its sessions at the moment. Nobody is logged out: please try again in a few seconds."
    return _page("One moment", f'<h2 id="unavailable">One moment, please</h2><p>{text}</p>', script="")
