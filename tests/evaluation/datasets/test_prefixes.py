from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pyarrow import parquet
from transformers import AutoTokenizer

from mrt_reward.core.credit import outcome_advantages
from mrt_reward.core.credit_config import CreditConfig
from mrt_reward.evaluation.datasets import parquet as files
from mrt_reward.evaluation.datasets.parquet import write_parquet
from mrt_reward.evaluation.datasets.prefixes import (
    VERL_TEMPLATE,
    PrefixRow,
    PrefixSettings,
    draw_cuts,
    in_turn,
    prefix_rows,
    stop_text,
    summary,
    text_record,
    verl_record,
)
from mrt_reward.mini import MODEL_DIR
from mrt_reward.options import TERMINATORS, Delimiters
from mrt_reward.provers.tokenizer import HFTokenizer
from mrt_reward.training.alignment import PolicyTokens, answer_start
from mrt_reward.training.prefix import prefix_advantages, prefix_metrics
from mrt_reward.training.records import Prefixed, Record, number_of
from mrt_reward.training.responses import Response
from tests.evaluation.datasets.made import scored

A, B = "Let me start with 5.\n\n", "Wait, let me try 7.\n\n"
TAGS = Delimiters()
OPENED = "<|im_start|>user\n6 times 7?<|im_end|>\n<|im_start|>assistant\n<think>\n"


def rows_of(name: str = "t") -> tuple[PrefixRow, PrefixRow]:
    trace = scored(name, [A, B], [0.2, 0.25, 1.0])
    [cut] = draw_cuts([trace], PrefixSettings(min_episodes=1))
    return prefix_rows(cut, OPENED, TERMINATORS["boxed"], TAGS)


def test_prefixes_are_drawn_evenly_and_the_same_ones_again() -> None:
    traces = [scored(str(index), [A] * 4, [0.2, 0.4, None, 0.6, 1.0]) for index in range(600)]
    cuts = draw_cuts(traces, PrefixSettings())
    # Of z[:0] … z[:3] the third has no value; after z[:4] nothing is left to continue.
    drawn = Counter(cut.index for cut in cuts)
    assert set(drawn) == {0, 1, 3}
    assert all(abs(count - 200) < 4 * np.sqrt(600 * 2 / 9) for count in drawn.values())
    assert draw_cuts(traces, PrefixSettings()) == cuts
    assert [cut.index for cut in draw_cuts(traces, PrefixSettings(seed=1))] != [cut.index for cut in cuts]
    # A trace's draw does not depend on its neighbours.
    assert draw_cuts(traces[300:], PrefixSettings()) == cuts[300:]


def test_a_trace_gives_at_most_as_many_prefixes_as_it_has_in_the_range() -> None:
    trace = scored("t", [A] * 4, [0.2, 0.4, 0.5, 0.6, 1.0])
    assert [cut.index for cut in draw_cuts([trace], PrefixSettings(per_trace=9))] == [0, 1, 2, 3]
    assert [cut.index for cut in draw_cuts([trace], PrefixSettings(9, 1, 0.3, 0.5))] == [1, 2]
    none = draw_cuts([trace], PrefixSettings(min_value=0.9))
    assert none == []
    stats = summary(none, [trace])
    assert (stats["traces without such a prefix"], stats["value of a prefix, mean"]) == (1, None)
    with pytest.raises(ValueError, match="min_value must be at most max_value"):
        PrefixSettings(min_value=0.9, max_value=0.1)


def test_stopping_leaves_the_whole_answer_to_the_policy() -> None:
    assert stop_text(A, TERMINATORS["boxed"], TAGS) == "</think>\n\n"
    assert stop_text("", TERMINATORS["qwen3"], TAGS).endswith("directly now.\n</think>\n\n")
    assert stop_text("in mid-line", TERMINATORS["boxed"], TAGS) == "\n\n</think>\n\n"
    assert stop_text(A, TERMINATORS["boxed"], Delimiters("", "")) == TERMINATORS["boxed"].forced


def test_both_rows_of_a_prefix_share_group_and_value() -> None:
    stop, go = rows_of()
    assert (stop.prompt, go.prompt) == (f"{OPENED}{A}</think>\n\n", f"{OPENED}{A}")
    assert stop.columns == {**go.columns, "mrt_stop": True}
    assert go.columns == {
        "mrt_group": "t@1",
        "mrt_value_prefix": 0.25,
        "mrt_stop": False,
        "mrt_trace": "t",
        "mrt_episodes": 1,
    }
    assert [row.stop for row in in_turn([rows_of(), rows_of()])] == [True, False, True, False]
    # OpenRLHF's agents see one column, so all is in it; TRL's reward functions see all columns.
    assert text_record(go) == {
        "prompt": go.prompt,
        "answer": "42",
        "label": {"label": "42", **go.columns},
        **go.columns,
    }


def trained(row: PrefixRow, said: str, outcome: float, columns: dict[str, Any], prompt_ids: list[int]) -> Any:
    """One sampled response to a row, as the trainers' adapters read it."""
    tokens, tokenizer = PolicyTokens.of(None, MODEL_DIR), HFTokenizer(MODEL_DIR)
    ids = tokenizer.encode_trusted(said).tolist()
    response = Response(prompt_ids, ids, [], [], None)
    start = answer_start(response, tokens, TAGS) if columns["mrt_stop"] else 0
    prefixed = Prefixed(number_of(columns["mrt_group"]), columns["mrt_value_prefix"], columns["mrt_stop"], start)
    return Record(prefixed, outcome=outcome, num_tokens=len(ids))


def test_rows_are_written_a_few_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "ROWS_AT_ONCE", 3)
    rows = [verl_record(row, at, "island") for at, row in enumerate([*rows_of("one"), *rows_of("two")])]
    write_parquet(tmp_path / "train.parquet", iter(rows))
    read: list[dict[str, Any]] = parquet.read_table(tmp_path / "train.parquet").to_pylist()
    assert read == rows
    assert parquet.ParquetFile(tmp_path / "train.parquet").num_row_groups == 2


def test_rows_go_through_a_trainers_prefix_mode(tmp_path: Path) -> None:
    rows = list(rows_of("one")) + list(rows_of("two"))
    write_parquet(tmp_path / "train.parquet", [verl_record(row, at, "island") for at, row in enumerate(rows)])
    read: list[dict[str, Any]] = parquet.read_table(tmp_path / "train.parquet").to_pylist()
    assert [record["reward_model"] for record in read] == [{"style": "rule", "ground_truth": "42"}] * 4
    assert read[3]["extra_info"] == {"index": 3}
    tokenizer = HFTokenizer(MODEL_DIR)
    # veRL templates every prompt; with VERL_TEMPLATE the text is left as it is, and the thinking is where it was.
    loaded: Any = AutoTokenizer.from_pretrained(MODEL_DIR)
    loaded.chat_template = VERL_TEMPLATE
    readings = []
    for row, record, (said, outcome) in zip(
        rows,
        read,
        [
            ("The final answer is \\boxed{42}<|im_end|>", 1.0),
            (f"{B}</think>\n\nThe final answer is \\boxed{{7}}<|im_end|>", 0.0),
        ]
        * 2,
        strict=True,
    ):
        prompt_ids = loaded.apply_chat_template(
            record["prompt"], add_generation_prompt=True, tokenize=True, return_dict=False
        )
        assert tokenizer.locate(np.array(prompt_ids, np.int32))[0] == row.prompt
        readings.append(trained(row, said, outcome, record, prompt_ids))
    # Both halves are normalised together, and all tokens of a stopped row's answer are trained.
    right, wrong = outcome_advantages(np.array([1.0, 0.0]), CreditConfig())
    paid = prefix_advantages(readings, CreditConfig(), termination=False)
    assert [values.tolist() for values in paid] == [
        pytest.approx([advantage] * reading.num_tokens)
        for advantage, reading in zip([right, wrong] * 2, readings, strict=True)
    ]
    # Against the termination baseline: 1 - 0.25 and 0 - 0.25.
    against = prefix_advantages(readings, CreditConfig(), termination=True)
    assert [values[-1] for values in against] == pytest.approx([0.75, -0.25] * 2)
    metrics = prefix_metrics(readings)
    assert (metrics["mrt/prefix/stop/rows"], metrics["mrt/prefix/continue/rows"]) == (2, 2)
    assert metrics["mrt/prefix/value"] == 0.25
    assert metrics["mrt/failed/unsupported"] == 0
