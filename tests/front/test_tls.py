"""TLS between the front and its cluster: a CA of one's own, none, and no check at all."""

from __future__ import annotations

import json
import ssl
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from sidecar.elastic.client import ssl_option
from sidecar.settings import UserError, load_settings
from tests.front.bare_node import bare_node
from tests.front.conftest import StartFront
from tests.front.raw_http import compose, exchange


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """A certificate for 127.0.0.1 that vouches for itself, and its key, in one file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "node")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path = tmp_path / "node.pem"
    path.write_bytes(made.public_bytes(serialization.Encoding.PEM) + private)
    return path


async def test_a_certificate_is_trusted_by_its_ca_or_unchecked_and_else_refused(
    start_front: StartFront, certificate: Path
) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    request = compose("GET", "/a/_stats")
    async with bare_node(ssl_context=context) as node:
        for settings in ({"elasticsearch_ca_certs": certificate}, {"elasticsearch_verify_certs": False}):
            front = await start_front(node.url, **settings)
            assert (await exchange(front, request)).status == 200
        refused = await exchange(await start_front(node.url), request)
    assert refused.status == 503
    assert "CERTIFICATE_VERIFY_FAILED" in json.loads(refused.body)["error"]["caused_by"]["reason"]


def test_a_ca_file_without_certificates_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "empty.pem"
    path.write_text("nothing")
    settings = load_settings({"elasticsearch_url": "https://localhost:9200", "elasticsearch_ca_certs": str(path)})
    with pytest.raises(UserError, match=r"empty\.pem"):
        ssl_option(settings)
