"""Promise: with a remote engine each side proves itself to the other, and boxes there are as anywhere."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from sandbox.calls import EngineAddress, TlsFiles
from sandbox.engine import address_from_environment
from sandbox.outcome import Ending
from tests.conftest import free_port
from tests.engine_support import make_job, open_lab
from tests.private_engine import PrivateEngine

pytestmark = [
    pytest.mark.engine,
    pytest.mark.skipif(shutil.which("openssl") is None, reason="NOT TESTED: certificates need openssl"),
    # The client library leaves the socket of a connection that failed to the garbage collector.
    pytest.mark.filterwarnings(
        "ignore:unclosed <s:ResourceWarning", "ignore:Exception ignored in. <s:pytest.PytestUnraisableExceptionWarning"
    ),
]


def certify(folder: Path, name: str, *more: str) -> None:
    """Make `name.pem` and `name-key.pem`, signed by itself unless `more` names an authority."""
    key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", f"{name}-key.pem")
    command = ["openssl", "req", "-x509", *key, "-out", f"{name}.pem", "-subj", f"/CN={name}", "-days", "1", *more]
    subprocess.run(command, cwd=folder, check=True, capture_output=True)


def tls_files(folder: Path, certificate: str, key: str) -> TlsFiles:
    return TlsFiles(str(folder / "ca.pem"), str(folder / certificate), str(folder / key))


@pytest.fixture
def certificates(tmp_path: Path) -> Path:
    """Named as Docker's own client wants them: ca.pem, cert.pem and key.pem; and a stranger's authority."""
    certify(tmp_path, "ca")
    signed = ("-CA", "ca.pem", "-CAkey", "ca-key.pem", "-addext", "basicConstraints=critical,CA:FALSE")
    certify(tmp_path, "server", *signed, "-addext", "subjectAltName=IP:127.0.0.1")
    certify(tmp_path, "cert", *signed, "-addext", "extendedKeyUsage=clientAuth")
    (tmp_path / "cert-key.pem").rename(tmp_path / "key.pem")
    certify(tmp_path, "stranger")
    return tmp_path


@pytest.fixture
def remote(private_engine: PrivateEngine, certificates: Path) -> Iterator[EngineAddress]:
    port = free_port()
    files = {"tlscacert": "ca.pem", "tlscert": "server.pem", "tlskey": "server-key.pem"}
    tls = {name: str(certificates / file) for name, file in files.items()}
    private_engine.kill()
    private_engine.arguments = ("--host", f"tcp://127.0.0.1:{port}")
    try:
        private_engine.start(tlsverify=True, **tls)
        yield EngineAddress(
            f"tcp://127.0.0.1:{port}",
            tls_files(certificates, "cert.pem", "key.pem"),
        )
    finally:
        private_engine.arguments = ()
        private_engine.kill()


async def test_boxes_on_a_remote_engine_are_as_anywhere(
    remote: EngineAddress, private_engine: PrivateEngine, certificates: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_lab(remote, seen_from=private_engine.address) as lab:
        job = make_job("import sys\nprint(len(sys.stdin.read()))\nopen('out', 'wb').write(b'x' * 9)", stdin="x" * 10**6)
        outcome = await lab.driver.run(replace(job, outputs=("out",)))
        assert (outcome.ending, outcome.stdout.text) == (Ending.SUCCEEDED, "1000000\n"), outcome
        assert [file.content for file in outcome.files] == [b"x" * 9]
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificates / "stranger.pem"))
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("DOCKER_HOST", remote.url)
    monkeypatch.setenv("DOCKER_TLS_VERIFY", "1")
    monkeypatch.setenv("DOCKER_CERT_PATH", str(certificates))
    assert address_from_environment().tls == remote.tls
    async with open_lab(None, seen_from=private_engine.address) as lab:
        readiness = await lab.driver.ready()
        assert readiness.available, readiness


async def test_who_cannot_prove_itself_gets_nothing(
    remote: EngineAddress, private_engine: PrivateEngine, certificates: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert remote.tls is not None
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificates / "ca.pem"))  # which is asked about nobody
    for tls in (
        None,  # a gateway that does not speak TLS
        replace(remote.tls, certificate=None, key=None),  # one without a certificate
        tls_files(certificates, "stranger.pem", "stranger-key.pem"),  # one whose certificate nobody signed
        replace(remote.tls, authority=str(certificates / "stranger.pem")),  # an engine that is another's
    ):
        async with open_lab(replace(remote, tls=tls), seen_from=private_engine.address) as lab:
            assert (await lab.run("print(1)")).ending is Ending.LOST
            assert not (await lab.driver.ready()).available
