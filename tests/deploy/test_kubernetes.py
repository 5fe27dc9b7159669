"""Engines behind llm-d's router: what one file says fits the others, and all of it fits the schemas."""

from __future__ import annotations

import importlib
import importlib.util
import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
import yaml

from mrt_reward.config import ServeSettings, load_settings
from mrt_reward.errors import ConfigError
from mrt_reward.provers.openai.endpoint import SESSION_HEADERS
from mrt_reward.training.settings import TrainingSettings
from mrt_reward.version import __version__
from mrt_reward.wiring import build_scorer
from tests.deploy.kit import DEPLOY, ROOT, loaded
from tests.deploy.test_helm import CHART, SCHEMA, VALUES, helm, needs_helm, pod, rendered

PAGE = (DEPLOY / "kubernetes" / "README.md").read_text(encoding="utf-8")
ENGINES, POLICY, ROUTER_POLICY = yaml.safe_load_all(
    (DEPLOY / "kubernetes" / "engines.yaml").read_text(encoding="utf-8")
)
POD: dict[str, Any] = ENGINES["spec"]["template"]
[VLLM] = POD["spec"]["containers"]
MODELS: dict[str, Any] = loaded("kubernetes/models.yaml")
ROUTER: dict[str, Any] = loaded("kubernetes/router.yaml")["router"]
PROVER: dict[str, Any] = loaded("kubernetes/prover.yaml")
CONFIGS = {name: yaml.safe_load(text) for name, text in ROUTER["epp"]["pluginsCustomConfig"].items()}
CONFIG_SCHEMA = json.loads((ROOT / "tests/deploy/endpoint_picker_config.schema.json").read_text(encoding="utf-8"))
RELEASE = "router"
"""Of the router: the address of its service, and the label of its pods, are made of it."""

ROUTER_CHART = os.environ.get("LLM_D_ROUTER_CHART")
"""Folder of llm-d's chart, its dependency built (`helm dependency update`): no package index has it."""

KUBECTL = os.environ.get("KUBECTL") or shutil.which("kubectl")


def flag(name: str) -> str:
    """What vLLM gets for a flag."""
    [value] = [arg.partition("=")[2] for arg in VLLM["args"] if arg.startswith(f"--{name}=")]
    return value


def plugin(config: str, kind: str) -> dict[str, Any]:
    [found] = [each for each in CONFIGS[config]["plugins"] if each["type"] == kind]
    return found["parameters"]


EVENTS: dict[str, Any] = json.loads(flag("kv-events-config"))
PRODUCER = plugin("by-cache-state.yaml", "precise-prefix-cache-producer")


@pytest.mark.skipif(
    importlib.util.find_spec("kubernetes_validate") is None, reason="kubernetes-validate is not installed (PyPI)"
)
@pytest.mark.parametrize("manifest", [ENGINES, POLICY, ROUTER_POLICY, MODELS])
def test_engines_are_what_kubernetes_takes(manifest: dict[str, Any]) -> None:
    kubernetes: Any = importlib.import_module("kubernetes_validate")
    kubernetes.validate(manifest, "1.30", strict=True)


def test_engines_have_no_rights() -> None:
    assert VLLM["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert POD["spec"]["securityContext"]["runAsNonRoot"] is True
    assert POD["spec"]["automountServiceAccountToken"] is False
    assert VLLM["image"] == f"mrt-reward:{__version__}"


def test_only_the_router_reaches_the_engines_and_only_our_servers_the_router() -> None:
    router = {"podSelector": {"matchLabels": {"llm-d-router-standalone": f"{RELEASE}-epp"}}}
    assert POLICY["spec"]["podSelector"]["matchLabels"] == POD["metadata"]["labels"]
    [rule] = POLICY["spec"]["ingress"]
    assert rule["from"] == [router]
    assert [port["port"] for port in rule["ports"]] == [port["name"] for port in VLLM["ports"]]
    assert ROUTER_POLICY["spec"]["podSelector"] == router["podSelector"]
    ask, read = ROUTER_POLICY["spec"]["ingress"]
    assert ask["from"] == [{"podSelector": {"matchLabels": {"app.kubernetes.io/name": CHART.name}}}]
    assert PROVER["settings"]["engine_url"].endswith(f":{ask['ports'][0]['port']}")
    assert read["ports"] == [{"port": 9090}]


@pytest.mark.parametrize("name", CONFIGS)
def test_the_routers_configuration_has_fields_that_it_knows_and_plugins_that_are_there(name: str) -> None:
    config = CONFIGS[name]
    jsonschema_rs.Draft7Validator(CONFIG_SCHEMA).validate(config)
    there = [each["type"] for each in config["plugins"]]
    assert len(set(there)) == len(there)
    used = re.findall(r"pluginRef: ([\w-]+)", ROUTER["epp"]["pluginsCustomConfig"][name])
    # What nothing refers to does nothing, but for the tokens, which whoever wants them finds by their kind.
    assert set(used) == set(there) - {"token-producer"}


def test_a_field_that_the_router_does_not_know_is_refused() -> None:
    config = json.loads(json.dumps(CONFIGS["by-cache-state.yaml"]).replace("blockSizeTokens", "block_size"))
    assert not jsonschema_rs.Draft7Validator(CONFIG_SCHEMA).is_valid(config)


def test_one_of_the_configurations_is_chosen_and_the_page_names_both() -> None:
    assert ROUTER["epp"]["pluginsConfigFile"] == "by-cache-state.yaml"
    assert all(name in PAGE for name in CONFIGS)


def test_the_router_finds_the_engines_and_their_ports() -> None:
    assert ROUTER["modelServers"]["matchLabels"].items() <= POD["metadata"]["labels"].items()
    ports = {port["name"]: port["containerPort"] for port in VLLM["ports"]}
    assert ROUTER["modelServers"]["targetPorts"] == [{"number": ports["http"]}]
    assert flag("port") == str(ports["http"])
    assert PRODUCER["kvEventsConfig"]["podDiscoveryConfig"] == {"socketPort": ports["kv-events"]}
    assert EVENTS["endpoint"] == f"tcp://*:{ports['kv-events']}"


def test_events_are_published_under_the_name_by_which_requests_ask_for_the_model() -> None:
    assert EVENTS["enable_kv_cache_events"] is True
    assert EVENTS["publisher"] == "zmq"
    assert EVENTS["topic"].startswith(PRODUCER["kvEventsConfig"]["topicFilter"])
    # The router reads kv@POD@MODEL, and takes the model's name into each key.
    _, engine, model = EVENTS["topic"].split("@")
    assert engine == f"$(POD_IP):{flag('port')}"
    assert "POD_IP" in {each["name"] for each in VLLM["env"]}
    assert model == flag("served-model-name") == PROVER["settings"]["model"]


def test_blocks_have_one_size_and_one_seed() -> None:
    processor = PRODUCER["tokenProcessorConfig"]
    assert processor["blockSizeTokens"] == int(flag("block-size"))
    seeds = {each["name"]: each.get("value") for each in VLLM["env"]}
    assert processor.get("hashSeed") == seeds.get("PYTHONHASHSEED")


def test_the_scorer_reads_what_the_events_say_and_a_cached_prefix_outweighs_the_load() -> None:
    scorer = plugin("by-cache-state.yaml", "prefix-cache-scorer")
    assert scorer["prefixMatchInfoProducerName"] == "precise-prefix-cache-producer"
    [source] = CONFIGS["by-cache-state.yaml"]["dataLayer"]["sources"]
    assert source == {
        "pluginRef": "endpoint-notification-source",
        "extractors": [{"pluginRef": "precise-prefix-cache-producer"}],
    }
    [profile] = CONFIGS["by-cache-state.yaml"]["schedulingProfiles"]
    weights = {each["pluginRef"]: each["weight"] for each in profile["plugins"]}
    assert weights.pop("prefix-cache-scorer") > sum(weights.values())


def test_sessions_are_read_from_the_header_that_every_request_carries() -> None:
    [source] = plugin("by-session.yaml", "session-affinity-filter")["sessionIdConfig"]["sources"]
    assert source["header"] in {header.lower() for header in SESSION_HEADERS}


def merged(values: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    """As helm does it: tables field by field, and null takes a field away."""
    out = dict(values)
    for name, value in over.items():
        if value is None:
            out.pop(name, None)
        else:
            out[name] = merged(out.get(name, {}), value) if isinstance(value, dict) else value
    return out


def test_the_servers_values_are_what_the_chart_takes_and_what_the_server_takes() -> None:
    values = merged(VALUES, PROVER)
    jsonschema_rs.Draft7Validator(SCHEMA).validate(values)
    settings = ServeSettings(**values["settings"])
    assert settings.engine == "openai"
    assert settings.engine_urls == (f"http://{RELEASE}-epp:8081",)
    assert settings.tokenizer == VLLM["args"][0]
    assert str(settings.max_model_len) == flag("max-model-len")
    keys = {each["name"]: each["valueFrom"]["secretKeyRef"] for each in VLLM["env"] if "secretKeyRef" in str(each)}
    assert keys["VLLM_API_KEY"] == {"name": values["engineKey"]["secret"], "key": values["engineKey"]["key"]}


@needs_helm
def test_the_server_is_rendered_without_a_gpu(tmp_path: Path) -> None:
    [container] = pod(rendered(tmp_path, PROVER))["containers"]
    assert "nvidia.com/gpu" not in container["resources"]["limits"]
    [key] = [each for each in container["env"] if each["name"] == "MRT_REWARD_ENGINE_API_KEY"]
    assert key["valueFrom"]["secretKeyRef"] == {"name": "engines", "key": "api-key"}


def test_one_claim_stands_for_the_engines_own_folders() -> None:
    kustomization = loaded("kubernetes/kustomization.yaml")
    assert kustomization["resources"] == ["models.yaml", "engines.yaml"]
    [patch] = [yaml.safe_load(each["patch"]) for each in kustomization["patches"]]
    assert (patch["kind"], patch["metadata"]["name"]) == (ENGINES["kind"], ENGINES["metadata"]["name"])
    [volume] = patch["spec"]["template"]["spec"]["volumes"]
    [replaced] = [each for each in POD["spec"]["volumes"] if each["name"] == volume["name"]]
    assert {name for name, value in volume.items() if value is None} == set(replaced) - {"name"}
    assert volume["persistentVolumeClaim"] == {"claimName": MODELS["metadata"]["name"]}


@pytest.mark.skipif(KUBECTL is None, reason="no kubectl: install it, or name it in KUBECTL")
def test_kubectl_builds_the_engines_with_the_claim_and_changes_nothing_else() -> None:
    run = subprocess.run(
        [str(KUBECTL), "kustomize", str(DEPLOY / "kubernetes")],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    built = {f"{each['kind']}/{each['metadata']['name']}": each for each in yaml.safe_load_all(run.stdout)}
    volumes = built["Deployment/engines"]["spec"]["template"]["spec"].pop("volumes")
    assert {"name": "models", "persistentVolumeClaim": {"claimName": "models"}} in volumes
    own = POD["spec"]["volumes"]
    assert [each for each in volumes if each["name"] != "models"] == [each for each in own if each["name"] != "models"]
    without = {name: value for name, value in POD["spec"].items() if name != "volumes"}
    assert built["Deployment/engines"]["spec"]["template"]["spec"] == without
    assert built["PersistentVolumeClaim/models"] == MODELS


def test_the_page_points_trainers_at_what_the_chart_makes() -> None:
    block, policy = (yaml.safe_load(text) for text in re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL))
    values = merged(VALUES, PROVER)
    [key] = block["env"]
    assert key["name"] == TrainingSettings.api_key_env
    assert key["valueFrom"]["secretKeyRef"] == {"name": values["apiKey"]["secret"], "key": values["apiKey"]["key"]}
    jsonschema_rs.Draft7Validator(SCHEMA).validate(merged(values, policy))
    urls = re.findall(r"http://prover-mrt-reward-(\d)\.prover-mrt-reward-pods\.rl:8000", PAGE)
    assert urls == [str(number) for number in range(PROVER["replicas"])]


@needs_helm
def test_the_chart_lists_the_urls_of_the_page_and_lets_in_whom_it_names(tmp_path: Path) -> None:
    _, policy = (yaml.safe_load(text) for text in re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL))
    [ask] = rendered(tmp_path, merged(PROVER, policy))["NetworkPolicy/prover-mrt-reward"]["spec"]["ingress"]
    assert ask["from"] == policy["networkPolicy"]["from"]
    values = str(DEPLOY / "kubernetes" / "prover.yaml")
    run = helm("install", "prover", str(CHART), "--namespace", "rl", "--values", values, "--dry-run=client")
    assert run.returncode == 0, run.stderr
    notes = run.stdout.partition("NOTES:")[2]
    assert f"[{','.join(re.findall(r'http://[^ ]+:8000', notes))}]" in PAGE


def test_engine_openai_loads_no_weights_as_the_page_says(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot load weights into them"):
        build_scorer(load_settings(**PROVER["settings"], weights_root=str(tmp_path)))
    assert "A server with that engine and `weights_root` does not start" in PAGE


def test_the_image_has_one_tag_wherever_it_is_built_or_run() -> None:
    for path in (*DEPLOY.rglob("*.md"), DEPLOY / "Dockerfile"):
        text = path.read_text(encoding="utf-8")
        tags = re.findall(r"(?:-t|--tag) (mrt-reward\S*)", text) + re.findall(r"mrt-reward:\d[\w.]*", text)
        assert set(tags) <= {f"mrt-reward:{__version__}"}, path


def test_the_page_installs_what_the_files_are_for() -> None:
    version = re.findall(r"llm-d-router (v[\d.]+)", CONFIG_SCHEMA["title"])
    assert set(re.findall(r"llm-d-router-standalone --version (v[\d.]+)", PAGE)) == set(version)
    assert f"helm install {RELEASE} oci://" in PAGE
    assert "namespace" not in ENGINES["metadata"]
    for name in re.findall(r"deploy/kubernetes/(\w+\.yaml)", PAGE):
        assert (DEPLOY / "kubernetes" / name).is_file()


@needs_helm
@pytest.mark.skipif(ROUTER_CHART is None, reason="LLM_D_ROUTER_CHART names no folder of llm-d's chart")
def test_llm_ds_own_chart_renders_the_service_and_the_label_that_the_others_name() -> None:
    values = DEPLOY / "kubernetes" / "router.yaml"
    run = helm("template", RELEASE, str(ROUTER_CHART), "--namespace", "rl", "--values", str(values))
    assert run.returncode == 0, run.stderr
    found = {f"{each['kind']}/{each['metadata']['name']}": each for each in yaml.safe_load_all(run.stdout) if each}
    service, deployment = found[f"Service/{RELEASE}-epp"], found[f"Deployment/{RELEASE}-epp"]
    assert {"http": 8081, "http-metrics": 9090}.items() <= {
        port["name"]: port["port"] for port in service["spec"]["ports"]
    }.items()
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    assert POLICY["spec"]["ingress"][0]["from"][0]["podSelector"]["matchLabels"].items() <= labels.items()
    assert found[f"ConfigMap/{RELEASE}-epp"]["data"].items() >= ROUTER["epp"]["pluginsCustomConfig"].items()
    assert all(not kind.endswith("Pool") and not kind.startswith("Cluster") for kind in found)
