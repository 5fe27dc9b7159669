"""HTTPS on both ports."""

from __future__ import annotations

import shutil
import ssl
import subprocess
from pathlib import Path
from typing import Any

import httpx
import pytest

from mrt_reward.client import AsyncClient
from mrt_reward.errors import ConfigError
from mrt_reward.server.run import serve
from mrt_reward.server.tls import tls_context
from tests.server.conftest import TRACE, live_server
from tests.server.test_run import make_scorer, make_settings

pytestmark = pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not installed: it makes the keys")


def certificate(folder: Path, name: str, *more: str) -> tuple[Path, Path]:
    """A self-signed certificate for loopback, and its private key."""
    cert, key = folder / f"{name}.pem", folder / f"{name}.key"
    making = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-days", "2"]
    names = ["-subj", f"/CN={name}", "-addext", "subjectAltName=IP:127.0.0.1"]
    files = ["-keyout", str(key), "-out", str(cert)]
    subprocess.run([*making, *names, *files, *(more or ("-nodes",))], check=True, capture_output=True, timeout=60)
    return cert, key


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("tls")
    cert, key = certificate(folder, "server")
    client_cert, client_key = certificate(folder, "client")
    return {"cert": cert, "key": key, "client_cert": client_cert, "client_key": client_key}


async def test_a_server_with_a_certificate_speaks_https_alone(files: dict[str, Path]) -> None:
    trusting = ssl.create_default_context(cafile=files["cert"])
    async with live_server(tls_cert=files["cert"], tls_key=files["key"]) as live:
        url = live.url.replace("http:", "https:")
        async with httpx.AsyncClient(base_url=url, verify=trusting, timeout=20) as http:
            assert (await http.get("/readyz")).status_code == 200
            scored = await http.post("/v1/score", json={"traces": [TRACE]})
            assert scored.json()["traces"][0]["status"] == "ok"
        with pytest.raises(httpx.TransportError):
            await live.http.get("/livez")
        stranger = ssl.create_default_context(cafile=files["client_cert"])
        async with httpx.AsyncClient(base_url=url, verify=stranger, timeout=20) as http:
            with pytest.raises(httpx.ConnectError):
                await http.get("/livez")


async def test_our_client_trusts_a_private_authority_that_the_environment_names(
    files: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    async with live_server(tls_cert=files["cert"], tls_key=files["key"]) as live:
        url = live.url.replace("http:", "https:")
        monkeypatch.setenv("SSL_CERT_FILE", str(files["cert"]))
        async with AsyncClient(url, timeout_s=20) as client:
            assert (await client.prover()).engine == "scripted"


async def test_callers_may_be_asked_for_a_certificate(files: dict[str, Path]) -> None:
    settings: dict[str, Any] = {
        "tls_cert": files["cert"],
        "tls_key": files["key"],
        "tls_client_ca": files["client_cert"],
    }
    async with live_server(**settings) as live:
        url = live.url.replace("http:", "https:")
        for certified in (True, False):
            context = ssl.create_default_context(cafile=files["cert"])
            if certified:
                context.load_cert_chain(files["client_cert"], files["client_key"])
            async with httpx.AsyncClient(base_url=url, verify=context, timeout=20) as http:
                if certified:
                    assert (await http.get("/livez")).status_code == 200
                else:
                    with pytest.raises(httpx.TransportError):
                        await http.get("/livez")


def test_nothing_older_than_tls_1_2_is_spoken(files: dict[str, Path]) -> None:
    context = tls_context(make_settings(tls_cert=files["cert"], tls_key=files["key"]))
    assert context is not None
    assert context.minimum_version >= ssl.TLSVersion.TLSv1_2
    assert tls_context(make_settings()) is None


async def test_what_cannot_work_is_refused_at_the_start(files: dict[str, Path], tmp_path: Path) -> None:
    cert, key = files["cert"], files["key"]
    _, locked = certificate(tmp_path, "locked", "-passout", "pass:secret")
    garbage = tmp_path / "garbage.pem"
    garbage.write_text("no certificate")
    for fields, param in (
        ({"tls_cert": cert}, "tls_key"),
        ({"tls_key": key}, "tls_cert"),
        ({"tls_client_ca": cert}, "tls_cert"),
        ({"tls_cert": tmp_path / "none.pem", "tls_key": key}, "tls_cert"),
        ({"tls_cert": cert, "tls_key": files["client_key"]}, "tls_cert"),
        ({"tls_cert": cert, "tls_key": locked}, "tls_cert"),
        ({"tls_cert": cert, "tls_key": key, "tls_client_ca": garbage}, "tls_client_ca"),
    ):
        with pytest.raises(ConfigError) as refused:
            await serve(make_scorer(), make_settings(**fields))
        assert refused.value.param == param
