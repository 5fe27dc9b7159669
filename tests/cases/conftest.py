"""A server as a user starts it, with the bundled model; one for all cases."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.serving import Server


class Api:
    """Calls the server, and gives parsed replies."""

    def __init__(self, url: str) -> None:
        self._http = httpx.Client(base_url=url, timeout=300)

    def post(self, path: str, body: object) -> Any:
        response = self._http.post(path, json=body)
        assert response.status_code == 200, response.text
        return response.json()

    def score(self, *traces: Mapping[str, object], **options: object) -> list[dict[str, Any]]:
        return self.post("/v1/score", {"traces": list(traces), **({"options": options} if options else {})})["traces"]

    def close(self) -> None:
        self._http.close()


@pytest.fixture(scope="package")
def api(tmp_path_factory: pytest.TempPathFactory) -> Generator[Api]:
    server = Server(Path(tmp_path_factory.mktemp("weights")))
    server.start()
    try:
        server.wait()
        api = Api(server.url)
        yield api
        api.close()
    finally:
        server.kill()
