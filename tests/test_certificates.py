from __future__ import annotations

import ssl
from pathlib import Path

import pytest

from mrt_reward.certificates import certificates
from mrt_reward.client import AsyncClient


async def test_clients_read_them_once(monkeypatch: pytest.MonkeyPatch) -> None:
    certificates()

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("read again")

    monkeypatch.setattr(ssl.SSLContext, "load_verify_locations", refuse)
    for port in (1, 2):
        async with AsyncClient(f"http://127.0.0.1:{port}"):
            pass


def test_those_of_another_file_are_others(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    usual = certificates()
    assert certificates() is usual
    assert usual.get_ca_certs()
    one = tmp_path / "ca.pem"
    one.write_text(ssl.DER_cert_to_PEM_cert(usual.get_ca_certs(binary_form=True)[0]), encoding="ascii")
    with monkeypatch.context() as changed:
        changed.setenv("SSL_CERT_FILE", str(one))
        assert len(certificates().get_ca_certs()) == 1
    assert certificates() is usual
