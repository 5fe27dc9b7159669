"""The way to ask a model that is right is found, and what is wrong is refused with the reason."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import pytest
import torch
import transformers

from mrt_reward.errors import ConfigError
from mrt_reward.provers.hf.decoding import MIN_ROWS
from mrt_reward.provers.hf.kv_cache import ATTENTION
from mrt_reward.provers.hf.model import PackedModel
from mrt_reward.provers.hf.selfcheck import proved
from mrt_reward.provers.hf.walking import WalkedModel
from mrt_reward.provers.hf.windows import FULL
from mrt_reward.provers.stops import Stops
from mrt_reward.provers.tokenizer import HFTokenizer
from tests.provers.hf.families import WINDOW, save_family
from tests.provers.hf.plain import make_proof, rollouts

STOPS = Stops(frozenset({347}), {})


def load(folder: Path) -> Any:
    return cast("Any", transformers.AutoModelForCausalLM).from_pretrained(folder, dtype=torch.float32).eval()


@pytest.fixture(scope="module")
def windowed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_family(tmp_path_factory.mktemp("gemma"), "gemma3_text")


def test_full_attention_is_packed_and_windows_are_packed_for_likelihoods(qwen_dir: Path, windowed: Path) -> None:
    full = proved(load(qwen_dir), 512, STOPS, HFTokenizer(qwen_dir))
    assert (type(full.likelihood), type(full.rollouts)) == (PackedModel, PackedModel)
    mixed = proved(load(windowed), 512, STOPS, HFTokenizer(windowed))
    assert (type(mixed.likelihood), type(mixed.rollouts)) == (PackedModel, WalkedModel)
    assert (full.overhead, mixed.overhead) == (1.0, 1.0)
    # What was cut short for the check is as it was.
    assert cast("Any", mixed.model).config.sliding_window == WINDOW
    assert cast("PackedModel", mixed.likelihood).windows == {"full_attention": None, "sliding_attention": WINDOW}


def test_capped_scores_without_windows_are_packed_for_likelihoods_alone(tmp_path: Path) -> None:
    folder = save_family(tmp_path / "gemma2", "gemma2", layer_types=["full_attention"] * 3)
    found = proved(load(folder), 512, STOPS, HFTokenizer(folder))
    assert (type(found.likelihood), type(found.rollouts)) == (PackedModel, WalkedModel)
    assert cast("PackedModel", found.likelihood).windows == {"full_attention": None}


def test_where_packing_is_wrong_the_model_is_asked_cut_by_cut_with_its_own_attention(
    windowed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As if the window were forgotten.
    monkeypatch.setattr("mrt_reward.provers.hf.selfcheck.windows_of", lambda _: FULL)
    found = proved(load(windowed), 512, STOPS, HFTokenizer(windowed))
    assert (type(found.likelihood), type(found.rollouts)) == (WalkedModel, WalkedModel)
    assert cast("Any", found.model).config._attn_implementation == "sdpa"


def test_sampled_answers_are_checked_as_well(qwen_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = WalkedModel.prove

    def forgetful(self: WalkedModel, proof: Any, pause: Any) -> Any:
        answers, num_tokens = wrong(self, proof, pause)
        return [
            type(a)(a.spelling_logprobs, a.completions, tuple(p - 1 for p in a.completion_logprobs)) for a in answers
        ], num_tokens

    monkeypatch.setattr("mrt_reward.provers.hf.selfcheck.windows_of", lambda _: None)
    monkeypatch.setattr(WalkedModel, "prove", forgetful)
    with pytest.raises(ConfigError, match="cut by cut: mean log-probabilities of sampled answers are 1 nats away"):
        proved(load(qwen_dir), 512, STOPS, HFTokenizer(qwen_dir))


def test_packed_passes_of_full_attention_are_as_many_as_ever(qwen_dir: Path) -> None:
    found = proved(load(qwen_dir), 4096, STOPS, HFTokenizer(qwen_dir))
    calls: list[int] = []
    handle = found.model.register_forward_pre_hook(
        lambda _module, _args, kwargs: calls.append(kwargs["input_ids"].shape[1]), with_kwargs=True
    )
    proof = make_proof([100, 2000, 3000])
    found.prove(proof, lambda: None)
    # Two chunks of the trace, and one packed row: suffixes of 4, 5 and 4 tokens, and 4 nodes after each.
    assert calls == [2048, 952, 25]
    calls.clear()
    found.prove(make_proof([100, 200], rollouts(4, max_tokens=3)), lambda: None)
    # The trace, the suffixes of both probes, and 2 steps of 8 rows at most: the third token is drawn, not run.
    assert calls[:2] == [200, 9]
    assert calls[2:] in ([], [MIN_ROWS], [MIN_ROWS] * 2)
    handle.remove()


def test_a_window_as_long_as_the_trace_changes_no_bit(qwen_dir: Path) -> None:
    model = load(qwen_dir)
    model.set_attn_implementation(ATTENTION)
    proof = make_proof([10, 60, 100])
    full, _ = PackedModel(model, 512, STOPS).prove(proof, lambda: None)
    wide, _ = PackedModel(model, 512, STOPS, {"all": 4096}).prove(proof, lambda: None)
    assert full == wide
