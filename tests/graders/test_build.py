from __future__ import annotations

from pathlib import Path

import pytest

from mrt_reward.errors import ConfigError
from mrt_reward.graders.build import build_grader
from mrt_reward.graders.custom import FunctionGrader
from mrt_reward.graders.exact import ExactGrader
from mrt_reward.graders.math import MathGrader
from mrt_reward.graders.scores import HTTPScoreGrader


@pytest.mark.parametrize(
    ("spec", "kind", "binary"),
    [
        ("math", MathGrader, True),
        ("exact", ExactGrader, True),
        ("https://judge.example/score", HTTPScoreGrader, False),
        ("tests.graders.functions:equal", FunctionGrader, True),
        ("score:tests.graders.functions:length", FunctionGrader, False),
    ],
)
async def test_a_specification_names_its_grader(spec: str, kind: type, binary: bool) -> None:
    grader = build_grader(spec, num_workers=1, timeout_s=0.5, memory_mb=512)
    assert isinstance(grader, kind)
    assert grader.binary is binary
    await grader.close()


@pytest.mark.parametrize("spec", ["", "maths", "model:", "ftp://x", "a b:c", ":f", "m:"])
def test_an_unknown_specification_is_refused_with_what_is_accepted(spec: str) -> None:
    with pytest.raises(ConfigError, match=r"'math', 'exact', 'module:function'"):
        build_grader(spec)


def test_a_module_that_is_not_there_is_named() -> None:
    with pytest.raises(ConfigError, match="no module 'no_such_module'"):
        build_grader("no_such_module:f")


def test_a_model_that_is_not_there_is_named(tmp_path: Path) -> None:
    pytest.importorskip("transformers", reason="transformers is not installed")
    with pytest.raises(ConfigError, match="sequence-classification"):
        build_grader(f"model:{tmp_path}")
