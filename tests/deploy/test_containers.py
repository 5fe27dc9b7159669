"""Images and the compose file, as far as that shows without a container engine."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from mrt_reward.config import ServeSettings
from tests.deploy.kit import DEPLOY, ROOT, loaded
from tests.server.conftest import threaded_server

DOCKERFILES = sorted(DEPLOY.glob("Dockerfile*"))
COMPOSE: dict[str, Any] = loaded("compose.yaml")
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]


def instructions(path: Path) -> list[tuple[str, str]]:
    """Of a Dockerfile, in order: the word and the rest, with continued lines joined."""
    text = re.sub(r"^\s*#.*\n", "", path.read_text(encoding="utf-8"), flags=re.M).replace("\\\n", " ")
    return [(line.split(None, 1)[0], line.split(None, 1)[1]) for line in text.splitlines() if line.strip()]


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: path.name)
def test_every_image_runs_as_a_user_who_owns_what_volumes_are_mounted_on(path: Path) -> None:
    found = instructions(path)
    stages = [index for index, (word, _) in enumerate(found) if word == "FROM"]
    # A stage that only others are made from has no user yet.
    final = [found[start:end] for start, end in zip(stages, [*stages[1:], len(found)], strict=True)][
        1 if len(stages) > 1 else 0 :
    ]
    for stage in final:
        assert ("USER", "prover") in stage
        assert all(word not in {"RUN", "COPY"} for word, _ in stage[stage.index(("USER", "prover")) :])
    making = next(rest for word, rest in found if word == "RUN" and "useradd" in rest)
    assert re.search(r"--uid 1000 prover", making)
    assert "install -d -o prover -g prover /models /cache" in making


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: path.name)
def test_every_image_copies_what_there_is_and_writes_below_tmp_or_a_volume_alone(path: Path) -> None:
    found = instructions(path)
    for rest in (rest for word, rest in found if word == "COPY"):
        assert all((ROOT / source).exists() for source in rest.split()[:-1])
    settings = dict(pair.split("=", 1) for word, rest in found if word == "ENV" for pair in rest.split())
    for name in ("HOME", "HF_HOME", "XDG_CACHE_HOME", "TRITON_CACHE_DIR", "TORCHINDUCTOR_CACHE_DIR", "VLLM_CACHE_ROOT"):
        assert settings[name].startswith(("/tmp", "/models", "/cache"))
    ours = {name.removeprefix("MRT_REWARD_").lower() for name in settings if name.startswith("MRT_REWARD_")}
    assert ours <= set(ServeSettings.model_fields)
    assert settings["MRT_REWARD_HOST"] == "0.0.0.0"


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: path.name)
def test_the_health_check_succeeds_on_a_server_and_fails_where_there_is_none(path: Path) -> None:
    [check] = [rest.split("CMD", 1)[1] for word, rest in instructions(path) if word == "HEALTHCHECK"]
    program, *arguments = json.loads(check)
    assert program == "python3"

    def status(port: str) -> int:
        reported = [argument.replace(":8000", f":{port}") for argument in arguments]
        return subprocess.run([sys.executable, *reported], capture_output=True, timeout=60, check=False).returncode

    with threaded_server() as url:
        port = url.rsplit(":", 1)[1]
        assert status(port) == 0
    assert status(port) == 1


def pins(name: str) -> dict[str, tuple[str, int]]:
    """Version and number of hashes of each package that a list of `constraints/` has for Python 3.11 on Linux."""
    text = (ROOT / "constraints" / name).read_text(encoding="utf-8").replace("\\\n", " ")
    found: dict[str, tuple[str, int]] = {}
    for line in re.findall(r"^[^#\s].*", text, re.M):
        requirement = Requirement(line.partition("--hash")[0])
        if requirement.marker is None or requirement.marker.evaluate({"python_full_version": "3.11.7"}):
            found[canonicalize_name(requirement.name)] = (str(requirement.specifier), line.count("--hash=sha256:"))
    return found


@pytest.mark.parametrize("name", ["base.txt", "transformers.txt"])
def test_the_hashed_lists_have_every_hash_and_the_versions_that_ci_runs(name: str) -> None:
    tried, found = pins("cpu.txt"), pins(name)
    assert all(hashes > 0 for _, hashes in found.values())
    # pip freeze, which writes the list of CI, leaves setuptools out.
    versions = {package: version for package, (version, _) in found.items() if package != "setuptools"}
    assert versions == {package: tried[package][0] for package in versions}
    [cpu] = [path for path in DOCKERFILES if path.name == "Dockerfile.cpu"]
    assert "--require-hashes -r /src/constraints/transformers.txt" in cpu.read_text(encoding="utf-8")
    assert found.keys() <= pins("transformers.txt").keys()


def test_every_container_has_a_read_only_root_and_no_rights_to_gain() -> None:
    for service in SERVICES.values():
        assert service["read_only"] is True
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]
        assert "privileged" not in service


def test_nothing_listens_beyond_this_machine_and_no_secret_has_a_default() -> None:
    text = (DEPLOY / "compose.yaml").read_text(encoding="utf-8")
    assert all(port.startswith("127.0.0.1:") for service in SERVICES.values() for port in service["ports"])
    secrets = [name for name in re.findall(r"\$\{(\w+)", text) if re.search("KEY|PASSWORD", name)]
    assert len(secrets) == 2
    assert all(re.search(rf"\$\{{{name}:\?[^}}]+\}}", text) for name in secrets)


def test_whatever_is_mounted_is_there_or_is_a_volume_and_images_are_pinned() -> None:
    for service in SERVICES.values():
        for mount in service["volumes"]:
            source, _, mode = (*mount.split(":"), "")[:3]
            if source.startswith("."):
                assert (DEPLOY / source).exists(), source
                assert mode == "ro"
            else:
                assert source in COMPOSE["volumes"]
        if "image" in service:
            assert re.search(r":v?\d+\.\d+\.\d+$", service["image"])
        else:
            assert (DEPLOY / service["build"]["context"] / service["build"]["dockerfile"]).is_file()


def test_the_provers_command_is_one_that_serve_takes_and_it_may_drain() -> None:
    prover = SERVICES["prover"]
    flags = {word.removeprefix("--").replace("-", "_") for word in prover["command"] if word.startswith("--")}
    assert flags <= set(ServeSettings.model_fields)
    assert prover["command"][prover["command"].index("--cache-path") + 1].startswith("/cache/")
    grace_s = int(prover["stop_grace_period"].removesuffix("s"))
    assert grace_s > ServeSettings.model_fields["drain_timeout_s"].default
    assert any(mount.startswith("/tmp:exec") for mount in prover["tmpfs"]), "compiled kernels are run from there"
