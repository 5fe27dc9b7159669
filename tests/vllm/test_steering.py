"""What steers sampling, without an engine: rows come, move and go, and each keeps its own steering."""

from __future__ import annotations

from dataclasses import asdict
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

pytestmark = pytest.mark.asyncio(loop_scope="session")


def control() -> Any:
    import torch  # noqa: PLC0415 - not in the core tests

    from mrt_reward.provers.vllm.steering import AnswerControl  # noqa: PLC0415 - an optional engine

    config: Any = SimpleNamespace(additional_config={"mrt_braces": {"3": "{", "4": "}", "5": "}{"}})
    return AnswerControl(config, torch.device("cpu"), False)


def added(row: int, output_ids: list[int], **steering: object) -> tuple[int, Any, None, list[int]]:
    return row, SimpleNamespace(extra_args=steering or None), None, output_ids


def batch(size: int, *rows: Any, removed: tuple[int, ...] = (), moved: tuple[Any, ...] = ()) -> Any:
    return SimpleNamespace(batch_size=size, added=list(rows), removed=list(removed), moved=list(moved))


def chosen(processor: Any, num_rows: int, num_tokens: int = 8) -> list[int | None]:
    """The only token each row may take; None where all may."""
    import torch  # noqa: PLC0415

    logits = processor.apply(torch.linspace(-1, 1, num_rows * num_tokens).reshape(num_rows, num_tokens))
    return [int(row.argmax()) if int(row.isfinite().sum()) == 1 else None for row in logits]


async def test_rows_keep_their_steering_when_they_move() -> None:
    from vllm.v1.sample.logits_processor import MoveDirectionality  # noqa: PLC0415

    processor = control()
    assert not processor.is_argmax_invariant()
    forced: list[int] = []
    processor.update_state(batch(2, added(0, forced, mrt_forced=[6, 7]), added(1, [])))
    assert chosen(processor, 2) == [6, None]
    forced.append(6)
    processor.update_state(batch(2, moved=((0, 1, MoveDirectionality.SWAP),)))
    assert chosen(processor, 2) == [None, 7]
    forced.append(7)
    processor.update_state(None)
    assert chosen(processor, 2) == [None, None]
    processor.update_state(batch(1, removed=(1,)))
    assert chosen(processor, 1) == [None]


async def test_an_answer_ends_once_its_braces_balance() -> None:
    processor = control()
    output: list[int] = [4]  # closes nothing
    processor.update_state(batch(1, added(0, output, mrt_end_at_close=2)))
    assert chosen(processor, 1) == [None]
    output += [3, 3, 4]
    assert chosen(processor, 1) == [None]
    output.append(-1)  # sampled, and not known yet
    assert chosen(processor, 1) == [None]
    output[-1] = 5  # closes the outer brace and opens another
    assert chosen(processor, 1) == [2]


async def test_draws_depend_on_seed_sample_and_step_only() -> None:
    query = {"num_samples": 3, "temperature": 1.0, "top_p": 1.0, "max_tokens": 9, "stop_at_close": False}
    processor = control()
    first: list[int] = []
    processor.update_state(batch(1, added(0, first, mrt_drawn={"seed": 5, "sample": 1, "query": query})))
    alone: list[int | None] = []
    for _ in range(6):
        # A step whose token is thrown away does not use the draw up.
        assert chosen(processor, 1) == chosen(processor, 1)
        [token] = chosen(processor, 1)
        assert token is not None
        alone.append(token)
        first.append(token)
    uniforms = np.random.Generator(np.random.PCG64(5)).random((6, 3))[:, 1]
    assert processor._noise[0]._uniforms == pytest.approx(uniforms.tolist())


async def test_coupled_draws_are_those_of_the_other_engines() -> None:
    import torch  # noqa: PLC0415

    from mrt_reward.protocols import RolloutQuery  # noqa: PLC0415
    from mrt_reward.provers.draws import draw_coupled  # noqa: PLC0415 - needs torch
    from mrt_reward.provers.noise import Address  # noqa: PLC0415

    query = RolloutQuery(3, 1.0, 1.0, 9, stop_at_close=False, coupled=True)
    processor = control()
    outputs: list[list[int]] = [[], []]
    drawn = {"seed": 5, "sample": 1, "query": asdict(query)}
    processor.update_state(batch(2, *(added(row, ids, mrt_drawn=drawn) for row, ids in enumerate(outputs))))
    logits_RV = torch.linspace(-1, 1, 16).reshape(2, 8)
    for position in range(6):
        tokens = chosen(processor, 2)
        expected = draw_coupled(logits_RV, [0, 1], [Address(5, 1, position)] * 2, query)
        assert tokens == chosen(processor, 2) == expected.tolist()
        for ids in outputs:
            ids.append(int(expected[0]))
