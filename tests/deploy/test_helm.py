"""The chart: its values and their schema, and what it renders to, as Kubernetes' own schemas and the server take it."""

from __future__ import annotations

import importlib
import importlib.util
import json
import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
import yaml

from mrt_reward.config import ServeSettings
from mrt_reward.version import __version__
from tests.deploy.kit import DEPLOY, exported, loaded

CHART = DEPLOY / "helm" / "mrt-reward"
HELM = os.environ.get("HELM") or shutil.which("helm")
needs_helm = pytest.mark.skipif(HELM is None, reason="no helm: install it, or name it in HELM")
VALUES: dict[str, Any] = loaded("helm/mrt-reward/values.yaml")
SCHEMA: dict[str, Any] = json.loads((CHART / "values.schema.json").read_text(encoding="utf-8"))

ALL = {
    "autoscaling": {"enabled": True},
    "serviceMonitor": {"enabled": True, "labels": {"release": "prometheus"}},
    "cacheUrl": {"secret": "cache", "key": "url"},
    "engineKey": {"secret": "engines", "key": "api-key"},
    "hfToken": {"secret": "huggingface", "key": "token"},
    "adminKey": {"secret": "mrt-reward", "key": "admin-key"},
    "networkPolicy": {
        "from": [{"podSelector": {"matchLabels": {"role": "trainer"}}}],
        "metricsFrom": [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}}],
        "adminFrom": [{"podSelector": {"matchLabels": {"role": "trainer"}}}],
    },
    "models": {"claim": "models"},
    "image": {"pullSecrets": [{"name": "registry"}]},
    "podAnnotations": {"note": "a"},
    "nodeSelector": {"gpu": "h100"},
    "settings": {"gpu_memory_utilization": 0.9, "engine_args": {"enable_lora": True}, "canary_every_s": 600},
}
"""With these everything is rendered that can be."""


def helm(*words: str) -> subprocess.CompletedProcess[str]:
    assert HELM is not None
    return subprocess.run([HELM, *words], capture_output=True, text=True, timeout=120, check=False)


def rendered(tmp_path: Path, values: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """What the chart becomes, by kind and name."""
    file = tmp_path / "values.yaml"
    file.write_text(yaml.safe_dump(dict(values)))
    run = helm("template", "prover", str(CHART), "--namespace", "rl", "--values", str(file))
    assert run.returncode == 0, run.stderr
    return {f"{each['kind']}/{each['metadata']['name']}": each for each in yaml.safe_load_all(run.stdout) if each}


def pod(found: Mapping[str, dict[str, Any]]) -> dict[str, Any]:
    return found["StatefulSet/prover-mrt-reward"]["spec"]["template"]["spec"]


def test_the_values_are_as_their_schema_says_and_name_settings_of_the_server() -> None:
    jsonschema_rs.Draft7Validator(SCHEMA).validate(VALUES)
    assert set(VALUES["settings"]) <= set(ServeSettings.model_fields)
    own = set(SCHEMA["properties"]["settings"]["propertyNames"]["not"]["enum"])
    assert own <= set(ServeSettings.model_fields)
    assert VALUES["settings"]["max_queue_tokens"] == ServeSettings.model_fields["max_queue_tokens"].default
    assert VALUES["settings"]["drain_timeout_s"] == ServeSettings.model_fields["drain_timeout_s"].default


@pytest.mark.parametrize(
    "wrong",
    [
        {"replicaCount": 2},
        {"replicas": 0},
        {"settings": {**VALUES["settings"], "api_key": "in the open"}},
        {"settings": {**VALUES["settings"], "engine_api_key": "in the open"}},
        {"settings": {**VALUES["settings"], "MAX_MODEL_LEN": 1}},
        {"apiKey": {"secret": "without its key"}},
        {"sharedMemory": "8 GB"},
        {"preStopSeconds": 0},
    ],
)
def test_values_that_are_wrong_are_refused(wrong: dict[str, Any]) -> None:
    assert not jsonschema_rs.Draft7Validator(SCHEMA).is_valid({**VALUES, **wrong})


def test_the_chart_is_of_this_release() -> None:
    assert loaded("helm/mrt-reward/Chart.yaml")["appVersion"] == __version__


@needs_helm
def test_helm_finds_nothing_wrong() -> None:
    run = helm("lint", "--strict", str(CHART))
    assert run.returncode == 0, run.stdout + run.stderr


@needs_helm
@pytest.mark.skipif(
    importlib.util.find_spec("kubernetes_validate") is None, reason="kubernetes-validate is not installed (PyPI)"
)
@pytest.mark.parametrize("values", [{}, ALL], ids=["as it is", "all of it"])
def test_what_it_renders_is_what_kubernetes_takes(tmp_path: Path, values: dict[str, Any]) -> None:
    kubernetes: Any = importlib.import_module("kubernetes_validate")
    found = rendered(tmp_path, values)
    for each in found.values():
        if each["kind"] != "ServiceMonitor":  # Of an operator, not of Kubernetes.
            kubernetes.validate(each, "1.30", strict=True)
    assert ("ServiceMonitor/prover-mrt-reward" in found) == bool(values)


@needs_helm
def test_the_server_takes_every_variable_that_the_pod_gets(tmp_path: Path) -> None:
    found = rendered(tmp_path, ALL)
    [container] = pod(found)["containers"]
    [token] = [each for each in container["env"] if each["name"] == "HF_TOKEN"]
    assert token["valueFrom"]["secretKeyRef"] == {"name": "huggingface", "key": "token"}
    ours = [each for each in container["env"] if each is not token]
    variables = {each["name"]: each.get("value", "redis://x") for each in ours}
    names = {name.removeprefix("MRT_REWARD_").lower() for name in variables}
    assert names <= set(ServeSettings.model_fields)
    settings = ServeSettings(
        **{  # type: ignore[arg-type]
            name: json.loads(text) if name in {"engine_args"} else text
            for name, text in ((name.removeprefix("MRT_REWARD_").lower(), text) for name, text in variables.items())
        }
    )
    assert settings.max_queue_tokens == 4_000_000
    assert settings.engine_args == {"enable_lora": True}
    assert settings.gpu_memory_utilization == 0.9
    assert settings.host == settings.admin_host == "0.0.0.0"
    secrets = {each["name"] for each in ours if "valueFrom" in each}
    assert secrets == {f"MRT_REWARD_{name}" for name in ("API_KEY", "ADMIN_KEY", "ENGINE_API_KEY", "CACHE_URL")}
    assert pod(found)["enableServiceLinks"] is False, "a service called mrt-reward would set MRT_REWARD_PORT"


@needs_helm
def test_a_pod_has_no_rights_and_time_to_drain_and_is_asked_at_the_routes_that_there_are(tmp_path: Path) -> None:
    found = rendered(tmp_path, {})
    [container] = pod(found)["containers"]
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert pod(found)["securityContext"]["runAsNonRoot"] is True
    assert pod(found)["automountServiceAccountToken"] is False
    stop_s = container["lifecycle"]["preStop"]["sleep"]["seconds"]
    assert pod(found)["terminationGracePeriodSeconds"] > stop_s + VALUES["settings"]["drain_timeout_s"]
    paths = {probe: container[f"{probe}Probe"]["httpGet"]["path"] for probe in ("startup", "liveness", "readiness")}
    assert paths == {"startup": "/readyz", "liveness": "/livez", "readiness": "/readyz"}
    assert [port["name"] for port in container["ports"]] == ["http"], "no admin port without its key"


@needs_helm
def test_it_grows_by_a_metric_that_the_server_exports(tmp_path: Path) -> None:
    found = rendered(tmp_path, ALL)
    [metric] = found["HorizontalPodAutoscaler/prover-mrt-reward"]["spec"]["metrics"]
    assert metric["pods"]["metric"]["name"] in exported(tmp_path)
    assert int(metric["pods"]["target"]["averageValue"]) <= VALUES["settings"]["max_queue_tokens"]
    assert "replicas" not in found["StatefulSet/prover-mrt-reward"]["spec"], "the autoscaler's own"
    monitor, pods = found["ServiceMonitor/prover-mrt-reward"], found["Service/prover-mrt-reward-pods"]
    assert monitor["spec"]["selector"]["matchLabels"].items() <= pods["metadata"]["labels"].items()
    alone = found["Service/prover-mrt-reward"]["metadata"]["labels"]
    assert not monitor["spec"]["selector"]["matchLabels"].items() <= alone.items(), "each pod is read once"


@needs_helm
def test_the_admin_port_is_open_to_those_alone_who_are_named(tmp_path: Path) -> None:
    ask, admin = rendered(tmp_path, ALL)["NetworkPolicy/prover-mrt-reward"]["spec"]["ingress"]
    assert (ask["ports"], len(ask["from"])) == ([{"port": "http"}], 2)
    assert (admin["ports"], admin["from"]) == ([{"port": "admin"}], ALL["networkPolicy"]["adminFrom"])


@needs_helm
@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["apiKey=null"], "apiKey"),
        (["apiKey.secret=null", "apiKey.key=null"], "name a secret with the key"),
        (["autoscaling.enabled=true", "autoscaling.queueTokens=4000001"], "beyond which a replica refuses work"),
        (["autoscaling.enabled=true", "autoscaling.minReplicas=9"], "expected minReplicas of at most maxReplicas"),
        (["adminKey.secret=a", "adminKey.key=b"], "networkPolicy.adminFrom"),
        (["settings.port=9000"], "invalid propertyName 'port'"),
    ],
)
def test_what_cannot_work_is_refused_with_the_value_named(words: list[str], message: str) -> None:
    run = helm("template", "prover", str(CHART), *(part for word in words for part in ("--set", word)))
    assert run.returncode != 0
    assert message in run.stderr
