from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from mrt_reward.errors import ConfigError
from mrt_reward.protocols import ProverInfo, Tokenizer
from mrt_reward.provers.scripted import ScriptedProver, ScriptedTokenizer
from mrt_reward.training.servers import check_servers, check_without_server
from mrt_reward.training.settings import TrainingSettings
from tests.server.conftest import VALUES, threaded_server


def test_every_server_says_who_proves(capsys: pytest.CaptureFixture[str]) -> None:
    with threaded_server() as url:
        check_servers(TrainingSettings(url=[url, url]), "reward.mrt")
    assert capsys.readouterr().out.count(f"[mrt] {url} proves with") == 2


class Uncoupled(ScriptedProver):
    """As an endpoint whose seed does not couple."""

    @property
    def info(self) -> ProverInfo:
        return replace(super().info, coupled="none")


def test_coupled_answers_need_a_prover_that_couples() -> None:
    with threaded_server(Uncoupled(VALUES)) as url:
        for alone in (TrainingSettings(url=url, coupled=True), TrainingSettings(url=url, estimator="rollouts")):
            check_servers(alone, "--mrt")
        with pytest.raises(ConfigError, match=r"--mrt\.coupled needs a prover that couples answers") as caught:
            check_servers(TrainingSettings(url=url, estimator="rollouts", coupled=True), "--mrt")
    assert caught.value.param == "--mrt.coupled"


class OtherTokens(ScriptedTokenizer):
    @property
    def sha256(self) -> str:
        return "0" * 64


class Another(ScriptedProver):
    """A prover of another family."""

    @property
    def tokenizer(self) -> Tokenizer:
        return OtherTokens()


def test_servers_whose_tokenizers_differ_are_not_one_prover() -> None:
    reported = r"mrt\.url: http.* and http.*, whose tokenizers differ: name servers of one prover"
    with (
        threaded_server() as url,
        threaded_server(Another(VALUES)) as other,
        pytest.raises(ConfigError, match=reported) as e,
    ):
        check_servers(TrainingSettings(url=[url, other]), "mrt")
    assert e.value.param == "mrt.url"


def test_one_that_does_not_answer_is_reported_with_what_to_do() -> None:
    settings = TrainingSettings(url="http://127.0.0.1:9")
    with pytest.raises(ConfigError, match=r"no progress server answers at --mrt\.url=http://127\.0\.0\.1:9.*serve"):
        check_servers(settings, "--mrt")


def test_one_that_answers_and_refuses_is_not_said_to_be_away() -> None:
    with (
        threaded_server(api_key="secret") as url,
        pytest.raises(ConfigError, match=r"^--mrt\.url=http://\S+: no key came"),
    ):
        check_servers(TrainingSettings(url=url), "--mrt")
    with pytest.raises(ConfigError, match=r"^--mrt\.url=polcy: expected the URL of a server"):
        check_servers(TrainingSettings(url="polcy"), "--mrt")


@pytest.mark.parametrize("url", ["policy", ["http://127.0.0.1:9", "policy"]])
def test_a_trainer_whose_policy_is_elsewhere_is_reported_to_use_a_server(url: str | list[str]) -> None:
    with pytest.raises(ConfigError, match=r"reward\.mrt\.url=.*policy.* start `mrt-reward serve`.*follow_steps"):
        check_servers(TrainingSettings(url=url), "reward.mrt")


@pytest.mark.parametrize(
    ("name", "value"),
    [("follow_steps", 2), ("admin_url", "http://127.0.0.1:9"), ("admin_key_env", "KEY"), ("api_key_env", "KEY")],
)
def test_settings_of_servers_contradict_a_policy_that_proves(name: str, value: object) -> None:
    given: dict[str, Any] = {"url": "policy", name: value}
    with pytest.raises(ConfigError, match=rf"mrt\.url=policy asks no server, and mrt\.{name}={value} .*: leave it out"):
        check_without_server(TrainingSettings(**given), "mrt")


def test_nothing_is_proved_from_prefixes() -> None:
    check_without_server(TrainingSettings(url="policy"), "mrt")
    with pytest.raises(ConfigError, match=r"mrt\.mode=prefix asks no prover: leave mrt\.url=policy out"):
        check_without_server(TrainingSettings(url="policy", mode="prefix"), "mrt")


@pytest.mark.parametrize("url", ["rollout", ["http://127.0.0.1:9", "rollout"]])
def test_engines_of_a_trainer_prove_in_verl_and_in_trl_with_a_server(url: str | list[str]) -> None:
    with pytest.raises(
        ConfigError, match=r"mrt\.url=.*rollout.*in veRL .* and in TRL with a vLLM server.* Start `mrt-reward serve`"
    ):
        check_servers(TrainingSettings(url=url), "mrt")
    assert TrainingSettings(url=url).by_rollout == (url == "rollout")


def test_an_address_with_the_version_in_it_is_named_with_its_setting() -> None:
    with pytest.raises(ConfigError, match=r"mrt\.url=http://127\.0\.0\.1:9/v1: .* leave /v1 out"):
        check_servers(TrainingSettings(url="http://127.0.0.1:9/v1"), "mrt")


def test_what_to_do_is_said_once() -> None:
    with pytest.raises(ConfigError) as caught:
        check_servers(TrainingSettings(url="http://127.0.0.1:9"), "mrt")
    assert str(caught.value).count("mrt-reward serve") == 1
