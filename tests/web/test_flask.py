"""Flask as applications use it: `flask.session`, `flash`, its configuration, its test client."""

from __future__ import annotations

import copy
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from threading import Event
from typing import Any

import pytest

pytest.importorskip("flask", reason="Flask is not installed")

from flask import Blueprint, Flask, flash, get_flashed_messages, stream_with_context
from flask import session as their_session
from flask.testing import FlaskClient
from markupsafe import Markup
from werkzeug.exceptions import ServiceUnavailable

from chuk_sessions import SessionManager
from chuk_sessions.exceptions import NotSent, OutcomeUnknown, StorageError
from chuk_sessions.providers import redis
from chuk_sessions.redis_client.client import Client
from chuk_sessions.web import Bearer, Header, McpHeader
from chuk_sessions.web.blocking import run
from chuk_sessions.web.flask import ChukSessions, FlaskSession, SessionsUnavailable, cookie_of, session
from chuk_sessions.web.pallets import ConfiguredCookie
from examples.flask_login import create_app
from tests.support.failing_provider import failing_factory
from tests.support.wire import Wire
from tests.web.conftest import on_memory

SECURE = {"SESSION_COOKIE_SECURE": True}
CALM = SECURE | {"PROPAGATE_EXCEPTIONS": False}
VALUES: dict[str, Any] = {
    **{"tuple": (1, (2, "x")), "bytes": b"\x00\xff", "uuid": uuid.UUID(int=7), "list": [{"a": (1,)}], "text": "x"},
    **{"when": datetime(2026, 5, 4, 3, 2, 1, tzinfo=UTC), "tag": {" t": [1]}, "empty": {}, "none": None, "n": 1.5},
    "markup": Markup("<b>"),
}
AN_ID = f"sess-{0:038x}"

routes = Blueprint("shop", __name__)


@routes.get("/")
def index() -> dict[str, Any]:
    return {"data": sorted(session), "user": session.user_id, "new": session.new}


@routes.get("/health")
def health() -> str:
    return "well"


@routes.post("/put/<name>")
def put(name: str) -> str:
    their_session.setdefault(name, []).append(1)
    their_session.modified = True  # as applications of Flask do after such a change
    return str(len(their_session[name]))


@routes.post("/pop/<name>")
def pop(name: str) -> str:
    return str(session.pop(name))


@routes.post("/count")
def count() -> str:
    return str(session.increment("count"))


@routes.post("/login/<user>")
def login(user: str) -> str:
    session.login(user, role="editor")
    return user


@routes.post("/stay/<int:yes>")
def stay(yes: int) -> str:
    session.permanent = bool(yes)
    return str(session.permanent)


@routes.post("/logout")
def logout() -> str:
    session.clear()
    return "bye"


@routes.post("/end")
def end() -> str:
    session.invalidate()
    return "bye"


@routes.post("/flash")
def leave() -> str:
    flash("saved", "info")
    flash("twice")
    return ""


@routes.get("/flashed")
def flashed() -> Any:
    return [list(each) for each in get_flashed_messages(with_categories=True)]


@routes.get("/values")
def values() -> str:
    expected = session.modified
    session.update(VALUES)
    return str(expected)


@routes.get("/same")
def same() -> str:
    found = {key: session[key] for key in VALUES}
    kinds = {key: type(value) for key, value in found.items()} == {key: type(value) for key, value in VALUES.items()}
    return str(found == VALUES and kinds and not session.modified)


@routes.get("/stream/<name>")
def stream(name: str) -> Any:
    def chunks() -> Iterator[bytes]:
        yield b"first"
        session["streamed"] = True
        if name == "error":
            raise RuntimeError("in the stream")
        yield b"second"

    return stream_with_context(chunks())


@routes.get("/bug")
def bug() -> str:
    session.login("alice")
    session["half"] = 1
    raise RuntimeError("bug")


@routes.get("/expires")
def expires() -> str:
    return str(session.expires_at)


@routes.get("/static-like")
def excluded() -> str:
    with pytest.raises(RuntimeError, match="no session") as caught:
        their_session["a"] = 1
    assert not their_session
    return str(caught.value)


def app_of(manager: Any = None, config: dict[str, Any] = SECURE, **options: Any) -> Flask:
    app = Flask(__name__)
    app.config.update(config)
    ChukSessions(app, manager, **options)
    app.register_blueprint(routes)
    return app


def value_of_cookie(client: FlaskClient) -> str:
    cookie = client.get_cookie("__Host-session")
    assert cookie is not None
    return cookie.value


def data_in(client: FlaskClient) -> list[str]:
    return list(client.get("/").get_json()["data"])


@pytest.fixture
def manager() -> SessionManager:
    return on_memory()


def test_requests(web_manager: SessionManager) -> None:
    """A session as Flask has it, whose nested changes are stored, with a login and a logout."""
    client = app_of(web_manager).test_client()
    assert client.get("/").get_json() == {"data": [], "user": None, "new": True}
    answer = client.post("/put/a")
    assert answer.headers["set-cookie"].startswith("__Host-session=sess-")
    assert answer.headers["cache-control"] == "private, no-store"
    assert client.post("/put/a").text == "2"
    assert "__Host-session" in client.post("/login/alice").headers["set-cookie"]
    answer = client.get("/")
    assert answer.get_json() == {"data": ["a", "role"], "user": "alice", "new": False}
    assert (answer.headers["vary"], answer.headers.get("set-cookie")) == ("Cookie", None)
    assert client.post("/pop/a").text == "[1, 1]"
    assert data_in(client) == ["role"]
    assert [client.post("/count").text, client.post("/count").text] == ["1", "2"]
    client.post("/logout")
    assert client.get("/").get_json() == {"data": [], "user": None, "new": True}


@pytest.mark.parametrize("path", ["/logout", "/end"])
def test_a_logout(path: str) -> None:
    """Ends the session for all, and the browser forgets the cookie."""
    client = app_of(on_memory()).test_client()
    client.post("/login/alice")
    assert "Max-Age=0" in client.post(path).headers["set-cookie"]
    assert client.get_cookie("__Host-session") is None
    assert "set-cookie" not in client.post(path).headers


def test_a_login(web_manager: SessionManager) -> None:
    """Gives a new id, keeps the cart of a visitor, and binds the session to the user."""
    app = app_of(web_manager)
    client, planted = app.test_client(), app.test_client()
    client.post("/put/cart")
    planted.set_cookie("__Host-session", value_of_cookie(client))
    client.post("/login/alice")
    assert client.get("/").get_json() == {"data": ["cart", "role"], "user": "alice", "new": False}
    assert planted.get("/").get_json()["new"]
    client.post("/login/bob")
    assert client.get("/").get_json() == {"data": ["role"], "user": "bob", "new": False}


def test_regenerate(manager: SessionManager) -> None:
    """Under its name in Flask-Session, as a method of the extension and of the interface."""
    app = Flask(__name__)
    app.config.update(SECURE)
    sessions = ChukSessions(app, manager)

    @app.post("/new/<way>")
    def new(way: str) -> str:
        session["kept"] = 1
        interface: Any = app.session_interface
        (sessions if way == "extension" else interface).regenerate(session)
        return ""

    client = app.test_client()
    client.post("/new/extension")
    found = {value_of_cookie(client)}
    for way in ("extension", "interface"):
        client.post(f"/new/{way}")
        found.add(value_of_cookie(client))
    assert len(found) == 3


def test_what_flask_can_store(web_manager: SessionManager) -> None:
    """Comes back as it was, and is then no change."""
    client = app_of(web_manager).test_client()
    assert client.get("/values").text == "False"
    for _ in range(2):
        assert client.get("/same").text == "True"
        client.post("/login/alice")


def test_flashed_messages(manager: SessionManager) -> None:
    client = app_of(manager).test_client()
    client.post("/flash")
    assert client.get("/flashed").get_json() == [["info", "saved"], ["message", "twice"]]
    assert client.get("/flashed").get_json() == []


@pytest.mark.parametrize("refresh", [True, False])
def test_a_permanent_session(manager: SessionManager, refresh: bool) -> None:
    """Its cookie is kept; with Flask's default, each response gives it its whole time again."""
    client = app_of(manager, SECURE | {"SESSION_REFRESH_EACH_REQUEST": refresh}).test_client()
    assert "Max-Age" not in client.post("/put/a").headers["set-cookie"]
    client.post("/stay/1")
    assert ("set-cookie" in client.get("/").headers) == refresh
    if refresh:
        assert "Max-Age=86" in client.get("/").headers["set-cookie"]
    assert "Max-Age=86" in client.post("/login/alice").headers["set-cookie"]


def test_permanent_by_default(manager: SessionManager) -> None:
    """With Flask-Session's name for it, until a view says otherwise. A visitor without data stores nothing."""
    client = app_of(manager, SECURE | {"SESSION_PERMANENT": True}).test_client()
    assert "set-cookie" not in client.get("/").headers
    assert "Max-Age=86" in client.post("/put/a").headers["set-cookie"]
    client.post("/stay/0")
    assert "set-cookie" not in client.get("/").headers


def test_after_an_exception(manager: SessionManager) -> None:
    """The login has happened and is told; what was set is not stored."""
    client = app_of(manager, CALM).test_client()
    answer = client.get("/bug")
    assert (answer.status_code, "set-cookie" in answer.headers) == (500, True)
    assert client.get("/").get_json() == {"data": [], "user": "alice", "new": False}
    client = app_of(manager, CALM, save_on_5xx=True).test_client()
    client.get("/bug")
    assert data_in(client) == ["half"]


def test_streams(web_manager: SessionManager) -> None:
    """What is set in one is there in the next request, unless the stream ended by an error."""
    client = app_of(web_manager).test_client()
    client.post("/put/a")
    with pytest.raises(RuntimeError, match="in the stream"):
        client.get("/stream/error", buffered=True)
    assert data_in(client) == ["a"]
    assert client.get("/stream/all").text == "firstsecond"
    assert data_in(client) == ["a", "streamed"]


def test_a_client_that_leaves_a_stream(manager: SessionManager) -> None:
    """What was set until then is stored."""
    client = app_of(manager).test_client()
    client.post("/put/a")
    answer = client.get("/stream/all")
    assert [next(answer.iter_encoded()) for _ in range(2)] == [b"first", b"second"]
    answer.close()
    assert data_in(client) == ["a", "streamed"]


def test_a_new_session_in_a_stream(manager: SessionManager, caplog: pytest.LogCaptureFixture) -> None:
    """Is dropped with a warning: the client cannot get its id."""
    client = app_of(manager).test_client()
    assert client.get("/stream/all").text == "firstsecond"
    assert "filled after the response had begun" in caplog.text
    assert data_in(client) == []


def test_a_login_in_a_stream(manager: SessionManager) -> None:
    """Is an error, for the same reason."""
    app = app_of(manager)

    @app.get("/late")
    def late() -> Any:
        def chunks() -> Iterator[str]:
            yield "first"
            with pytest.raises(RuntimeError, match="has begun"):
                session.login("alice")

        return stream_with_context(chunks())

    assert app.test_client().get("/late").text == "first"


def test_files_are_sent_as_they_are(manager: SessionManager, tmp_path: Any) -> None:
    """Nothing is put around a body that the server may send by itself."""
    app = app_of(manager)
    (tmp_path / "a.txt").write_text("x")

    @app.get("/file")
    def file() -> Any:
        from flask import send_file

        return send_file(tmp_path / "a.txt")

    client = app.test_client()
    client.post("/put/a")
    answer = client.get("/file")
    assert answer.text == "x"
    answer.close()


def test_session_transaction(manager: SessionManager) -> None:
    """Of Flask's test client: read and change what is stored."""
    client = app_of(manager).test_client()
    with client.session_transaction() as mine:
        mine["a"] = (1, 2)
    assert data_in(client) == ["a"]
    with client.session_transaction() as mine:
        assert mine.pop("a") == (1, 2)
        mine["b"] = 1
    assert data_in(client) == ["b"]


def test_some_requests_have_none(manager: SessionManager) -> None:
    """Excluded paths, and those for which there is no manager."""
    cases: list[dict[str, Any]] = [{"exclude": ["/static-like"]}, {}]
    for options in cases:
        chosen = manager if options else (lambda request: None)
        assert "excluded" in app_of(chosen, **options).test_client().get("/static-like").text


def test_a_manager_for_each_tenant() -> None:
    """The function gets the request; what it gives is checked."""
    tenants = {"a.example": on_memory("a"), "b.example": on_memory("b"), "bad.example": SessionManager("c")}
    app = app_of(lambda request: tenants[request.host], CALM)
    client = app.test_client()
    client.post("/put/a", base_url="https://a.example")
    assert client.get("/", base_url="https://a.example").get_json()["data"] == ["a"]
    assert client.get("/", base_url="https://b.example").get_json()["data"] == []
    assert client.get("/", base_url="https://bad.example").status_code == 500


@pytest.mark.parametrize("cookie", ["", f"__Host-session={AN_ID}", "__Host-session=<made-up>", "other=1"])
def test_an_id_that_nobody_made(manager: SessionManager, cookie: str) -> None:
    """Is never used: what is stored gets a new id. Without data there is no cookie, and none is cleared."""
    client = app_of(manager).test_client(use_cookies=False)
    headers = {"Cookie": cookie}
    answer = client.get("/", headers=headers)
    assert (answer.headers["vary"], answer.headers.get("set-cookie")) == ("Cookie", None)
    issued = client.post("/put/a", headers=headers).headers["set-cookie"]
    assert AN_ID not in issued
    assert issued.startswith("__Host-session=sess-")


def test_health_checks(redis_url: str, wire: Wire) -> None:
    """A request that does not use the session sends no command without an id, and stores nothing."""
    client = app_of(SessionManager("shop", redis.factory(redis_url), strict=True, opaque_ids=True)).test_client()
    answer = client.get("/health")
    assert not {"vary", "set-cookie"} & {name.lower() for name in dict(answer.headers)}
    client.get("/")
    client.get("/", headers={"Cookie": "__Host-session=malformed"})
    assert wire.commands == []
    for _ in range(2):  # the server knows the scripts by then
        client.post("/put/a")
    for method, path, commands in (("GET", "/", 1), ("GET", "/health", 1), ("POST", "/put/a", 2)):
        wire.clear()
        client.open(path, method=method)
        assert len(wire.commands) == commands, path


def test_the_vary_header_of_the_application(manager: SessionManager) -> None:
    """Gets one more item, if it needs one; its Cache-Control stays."""
    app = app_of(manager)

    @app.get("/vary/<vary>")
    def vary(vary: str) -> Any:
        session["a"] = 1
        return "", {"Vary": vary, "Cache-Control": "no-cache"}

    client = app.test_client()
    for given, expected in (("Accept", "Accept, Cookie"), ("cookie", "cookie"), ("*", "*")):
        answer = client.get(f"/vary/{given}")
        assert (answer.headers["vary"], answer.headers["cache-control"]) == (expected, "no-cache")


class Down:
    """A manager whose storage can fail from some call on."""

    def __init__(self) -> None:
        self.manager = on_memory()
        self._working = self.manager.session_factory

    def fail(self, error: Exception | None = None) -> None:
        self.manager.session_factory = failing_factory(error or NotSent("down"))

    def work(self) -> None:
        self.manager.session_factory = self._working


@pytest.fixture
def down() -> Down:
    return Down()


@pytest.mark.parametrize("error", [NotSent("down"), OutcomeUnknown("lost")], ids=["not sent", "unknown"])
@pytest.mark.parametrize("path", ["/put/a", "/login/alice", "/health"])
def test_an_outage(down: Down, error: Exception, path: str) -> None:
    """503, whether it is found when the session is read, in a view, or when it is stored; no cookie is cleared."""
    client = app_of(down.manager, retry_after=7).test_client()
    visitor = app_of(down.manager, retry_after=7).test_client()
    client.post("/put/first")
    down.fail(error)
    for each in [client] if path == "/health" else [client, visitor]:
        answer = each.open(path, method="GET" if path == "/health" else "POST")
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "7")
        assert answer.headers["cache-control"] == "no-store"
        assert "set-cookie" not in answer.headers
        assert "try again" in answer.text
    down.work()
    assert data_in(client) == ["first"]


def test_an_outage_reaches_the_error_handlers(down: Down) -> None:
    """As a 503 with its cause, also one at the commit, whose response is not sent."""
    app = app_of(down.manager)

    @app.errorhandler(503)
    def sorry(error: ServiceUnavailable) -> tuple[str, int]:
        assert isinstance(error, SessionsUnavailable)
        assert isinstance(error.__cause__, StorageError)
        return f"sorry {their_session.get('none')}", 503

    @app.get("/breaks")
    def breaks() -> Any:
        session["a"] = 1
        down.fail()
        return stream_with_context(iter(["secret"])), {"X-Secret": "1"}

    client = app.test_client()
    client.post("/put/a")
    answer = client.get("/breaks")
    assert (answer.status_code, answer.text, answer.headers.get("X-Secret")) == (503, "sorry None", None)
    for path in ("/health", "/"):
        assert client.get(path).text == "sorry None"
    assert app.test_client().post("/login/alice").text == "sorry None"


def test_an_outage_in_a_stream(down: Down, caplog: pytest.LogCaptureFixture) -> None:
    """Cannot be told any more: it is logged."""
    app = app_of(down.manager)

    @app.get("/late")
    def late() -> Any:
        def chunks() -> Iterator[str]:
            yield "first"
            session["late"] = 1
            down.fail()

        return stream_with_context(chunks())

    client = app.test_client()
    client.post("/put/a")
    assert client.get("/late").text == "first"
    assert "down" in caplog.text
    assert "sess-" not in caplog.text


def test_sites_that_work_without_sessions(down: Down) -> None:
    """The application gets an empty session, which is not stored."""
    app = app_of(down.manager, on_outage="empty")
    client = app.test_client()
    client.post("/put/a")
    down.fail()
    assert client.get("/").get_json() == {"data": [], "user": None, "new": True}
    assert client.post("/put/b").status_code == 200
    assert client.post("/login/alice").status_code == 503
    down.work()
    assert data_in(client) == ["a"]


@pytest.mark.parametrize("on_outage", ["503", "empty"])
def test_a_function_for_the_manager_whose_storage_fails(on_outage: str) -> None:
    """Is an outage too, and always a 503: no manager could store what the request does."""

    def choose(request: Any) -> SessionManager:
        raise StorageError("where the tenants are: away")

    client = app_of(choose, CALM, on_outage=on_outage).test_client()
    for headers in ({}, {"Cookie": f"__Host-session=sess-{1:038x}"}):
        assert client.get("/health", headers=headers).status_code == 503


def test_a_function_for_the_manager_with_a_bug(caplog: pytest.LogCaptureFixture) -> None:
    """Its error is the only one that is logged."""

    def choose(request: Any) -> SessionManager:
        raise LookupError("bug")

    assert app_of(choose, CALM).test_client().get("/health").status_code == 500
    assert [each.exc_info[0] for each in caplog.records if each.exc_info] == [LookupError]


def test_what_cannot_be_stored_reaches_the_error_handlers(manager: SessionManager) -> None:
    """Of the status 500; nothing is stored then."""
    app = app_of(manager, CALM, max_bytes=100)

    @app.post("/large")
    def large() -> str:
        session["x"] = "x" * 200
        return "x"

    @app.post("/odd")
    def odd() -> str:
        session["x"] = object()
        return "x"

    @app.errorhandler(500)
    def sorry(error: Any) -> tuple[str, int]:
        return str(error.original_exception), 500

    client = app.test_client()
    for path, text in (("/large", "'x' (203 bytes)"), ("/odd", "object")):
        answer = client.post(path)
        assert answer.status_code == 500
        assert text in answer.text


@pytest.mark.parametrize("transport", [Header("X-Id"), Bearer("X-Id")], ids=["header", "bearer"])
def test_programs_instead_of_browsers(manager: SessionManager, transport: Header) -> None:
    """The id goes in a header and comes back in it; nothing varies by cookies."""
    client = app_of(manager, transport=transport).test_client()
    answer = client.post("/put/a")
    assert "vary" not in answer.headers
    mine = answer.headers["X-Id"]
    headers = {"X-Id": mine, "Authorization": f"Bearer {mine}"}
    assert client.get("/", headers=headers).get_json()["data"] == ["a"]
    assert client.post("/logout", headers=headers).headers["X-Id"] == ""


def test_the_configuration() -> None:
    """Says what the cookie is like; a transport is instead of it."""
    app = Flask(__name__)
    assert cookie_of(app) == ConfiguredCookie(secure=False, same_site=None)
    app.config.update(SESSION_COOKIE_NAME="shop", SESSION_COOKIE_SAMESITE="Strict", SESSION_COOKIE_PATH="/a")
    app.config.update(SESSION_COOKIE_SECURE=True, SESSION_COOKIE_DOMAIN="shop.example", SESSION_COOKIE_PARTITIONED=True)
    expected = ConfiguredCookie("shop", same_site="strict", path="/a", domain="shop.example", partitioned=True)
    assert cookie_of(app) == expected
    app.config["SESSION_COOKIE_SAMESITE"] = "nonsense"
    with pytest.raises(ValueError, match="same_site"):
        ChukSessions(app, on_memory())
    ChukSessions(app, on_memory(), transport=Header())


@pytest.mark.parametrize(
    ("settings", "flags"),
    [
        ({}, {"secure", "httponly"}),
        ({"SESSION_COOKIE_SAMESITE": "Lax"}, {"secure", "httponly", "samesite=lax"}),
        ({"SESSION_COOKIE_HTTPONLY": False, "SESSION_COOKIE_SAMESITE": "Strict"}, {"secure", "samesite=strict"}),
        ({"SESSION_COOKIE_HTTPONLY": False, "SESSION_COOKIE_SECURE": False}, set()),
    ],
    ids=["default", "lax", "readable", "nothing"],
)
def test_the_flags_of_the_configuration(manager: SessionManager, settings: dict[str, Any], flags: set[str]) -> None:
    """Are those of the cookie, also where it ends."""
    client = app_of(manager, SECURE | settings).test_client()
    _, *found = client.post("/put/a").headers["set-cookie"].split("; ")
    assert {*found} == {"path=/", *flags}
    _, *found = client.post("/logout").headers["set-cookie"].split("; ")
    assert {*found} == {"path=/", "Max-Age=0", "expires=Thu, 01 Jan 1970 00:00:00 GMT", *flags}


def test_when_a_permanent_cookie_expires(manager: SessionManager) -> None:
    """Is said in both ways, for clients that know one of them."""
    client = app_of(manager).test_client()
    before = datetime.now(UTC).replace(microsecond=0)
    cookie = dict(part.split("=") for part in client.post("/stay/1").headers["set-cookie"].split("; ") if "=" in part)
    left = parsedate_to_datetime(cookie["Expires"]) - before
    assert timedelta(0) <= left - timedelta(seconds=int(cookie["Max-Age"])) < timedelta(minutes=1)


def test_a_manager_of_the_configuration() -> None:
    """The prefix is its sandbox, and sessions live for as long as Flask says."""
    config = SECURE | {"SESSION_KEY_PREFIX": "books:", "PERMANENT_SESSION_LIFETIME": timedelta(minutes=20)}
    app = app_of(None, config)
    interface: Any = app.session_interface
    made = interface._settings.source
    assert (made.sandbox_id, made.default_ttl_hours) == ("books", 1 / 3)
    assert app.test_client().post("/put/a").status_code == 200


def test_the_storage_by_the_names_of_flask_session(redis_url: str) -> None:
    """Redis by its URL; what cannot be understood is refused."""
    client = app_of(None, SECURE | {"SESSION_TYPE": "redis", "SESSION_REDIS": redis_url}).test_client()
    client.post("/put/a")
    other = app_of(None, SECURE | {"SESSION_REDIS": redis_url}).test_client()
    other.set_cookie("__Host-session", value_of_cookie(client))
    assert data_in(other) == ["a"]
    for bad in ({"SESSION_TYPE": "filesystem"}, {"SESSION_REDIS": object()}):
        with pytest.raises(ValueError, match=next(iter(bad))):
            app_of(None, SECURE | bad)


BAD: list[tuple[dict[str, Any], type[Exception], str]] = [
    ({"on_outage": "page"}, ValueError, "on_outage"),
    ({"transport": McpHeader()}, TypeError, "McpHeader"),
    ({"max_bytes": 0}, ValueError, "max_bytes"),
    ({"rolling": 1}, TypeError, "rolling"),
    ({"retry_after": -1}, ValueError, "retry_after"),
    ({"exclude": "/a"}, TypeError, "exclude"),
    ({"manager": SessionManager("shop")}, ValueError, "strict"),
    ({"manager": "shop"}, TypeError, "SessionManager"),
]


@pytest.mark.parametrize(("options", "error", "text"), BAD, ids=[f"{text} {n}" for n, (*_, text) in enumerate(BAD)])
def test_arguments_out_of_range(options: dict[str, Any], error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        ChukSessions(**{"manager": on_memory(), **options})


def test_rolling(manager: SessionManager) -> None:
    """Each response gives a session its whole lifetime again."""
    client = app_of(manager, rolling=True).test_client()
    client.post("/put/a")
    found = [client.get("/expires").text for _ in range(2)]
    assert found[1] > found[0]


def test_a_copy_is_a_plain_dict(manager: SessionManager) -> None:
    """With its values as they are."""
    client = app_of(manager).test_client()
    with client.session_transaction() as mine:
        assert isinstance(mine, FlaskSession)
        mine["a"] = (1, 2)
        assert copy.deepcopy(mine) == {"a": (1, 2)}
        assert type(copy.copy(mine)) is dict


@pytest.fixture
def same_browser(web_manager: SessionManager) -> Callable[[], FlaskClient]:
    """Makes clients with one cookie, for requests at the same time."""
    app = app_of(web_manager)
    first = app.test_client()
    first.post("/put/first")

    def make() -> FlaskClient:
        client = app.test_client()
        client.set_cookie("__Host-session", value_of_cookie(first))
        return client

    return make


def test_fifty_requests_that_overlap(same_browser: Callable[[], FlaskClient]) -> None:
    """Each sets a key of its own, from twenty threads; all are there."""
    with ThreadPoolExecutor(20) as pool:
        answers = [*pool.map(lambda n: same_browser().post(f"/put/key{n}").text, range(50))]
    assert answers == ["1"] * 50
    assert data_in(same_browser()) == sorted(["first", *(f"key{n}" for n in range(50))])


def test_a_logout_during_a_slow_request(web_manager: SessionManager) -> None:
    """Holds: the slow request brings nothing back, and sends no cookie."""
    app = app_of(web_manager)
    begun, go_on = Event(), Event()

    @app.post("/slow")
    def slow() -> str:
        session["slow"] = 1
        begun.set()
        assert go_on.wait(10)
        return "done"

    client, other = app.test_client(), app.test_client()
    client.post("/login/alice")
    other.set_cookie("__Host-session", value_of_cookie(client))
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(lambda: client.post("/slow"))
        assert begun.wait(10)
        other.post("/logout")
        go_on.set()
        assert (answer.result().text, answer.result().headers.get("set-cookie")) == ("done", None)
    assert client.get("/").get_json() == {"data": [], "user": None, "new": True}


def test_two_threads_of_one_request(web_manager: SessionManager) -> None:
    """Take turns."""
    app = app_of(web_manager)

    @app.post("/both")
    def both() -> Any:
        mine: Any = their_session
        found = mine._get_current_object()
        with ThreadPoolExecutor(8) as pool:
            return sorted(pool.map(lambda _: found.increment("n"), range(40)))

    client = app.test_client()
    client.post("/put/a")
    assert client.post("/both").get_json() == [*range(1, 41)]


def test_a_response_while_another_thread_makes_the_session(redis_url: str) -> None:
    """Waits for the id, and brings it to the client."""
    app = app_of(SessionManager("shop", redis.factory(redis_url), strict=True, opaque_ids=True))
    pool = ThreadPoolExecutor(1)

    @app.post("/apart")
    def apart() -> str:
        mine: Any = their_session
        found = mine._get_current_object()
        run(_pause_writes(redis_url))
        logging_in = pool.submit(found.login, "alice")
        while not found._stored.is_in_use():
            assert not logging_in.done()
        return "done"

    with pool:
        assert app.test_client().post("/apart").headers.get("set-cookie") is not None


async def _pause_writes(url: str) -> None:
    await Client(url).call("CLIENT", "PAUSE", "200", "WRITE")


def test_the_example(web_manager: SessionManager) -> None:
    """Two browsers of one user."""
    app = create_app(web_manager)
    one, two = app.test_client(), app.test_client()
    assert one.get("/sessions").status_code == 401
    for each in (one, two):
        assert "Max-Age" in each.post("/login/alice").headers["set-cookie"]
    assert one.get("/messages").get_json() == ["welcome, alice"]
    assert one.post("/cart/book").get_json() == ["book"]
    assert [each["this"] for each in two.get("/sessions").get_json()] == [False, True]
    assert two.post("/logout/everywhere").get_json() == {"ended": 2}
    assert one.get("/sessions").status_code == 401


@pytest.mark.parametrize("first", [0, 1], ids=["browser", "permanent"])
def test_a_session_that_becomes_permanent_or_ceases_to_be(web_manager: SessionManager, first: int) -> None:
    """The browser gets the cookie anew in both cases, and only then."""
    client = app_of(web_manager, SECURE | {"SESSION_REFRESH_EACH_REQUEST": False}).test_client()
    for stays in (first, 1 - first):
        assert ("Max-Age" in client.post(f"/stay/{stays}").headers["set-cookie"]) == bool(stays)
        assert "set-cookie" not in client.post(f"/stay/{stays}").headers


def test_a_session_stays_modified(manager: SessionManager) -> None:
    """To the end of its request, for functions that run late."""
    app = app_of(manager)
    found = []

    @app.teardown_request
    def look(error: BaseException | None) -> None:
        found.append(session.modified)

    client = app.test_client()
    for path, modified in (("/put/a", True), ("/logout", True), ("/expires", False)):
        client.open(path, method="GET" if path == "/expires" else "POST")
        assert found.pop() == modified
