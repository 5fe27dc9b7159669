"""Graders from the one-line specifications that settings hold."""

from __future__ import annotations

from pathlib import Path

from mrt_reward.errors import ConfigError
from mrt_reward.graders.custom import FUNCTION_PATH, FunctionGrader, find_source
from mrt_reward.graders.exact import ExactGrader
from mrt_reward.graders.math import MEMORY_MB, NUM_WORKERS, TIMEOUT_S, MathGrader
from mrt_reward.graders.scores import HTTPScoreGrader, RewardModelGrader
from mrt_reward.protocols import Grader

ACCEPTED = (
    "'math', 'exact', 'module:function' (returns True or False), 'score:module:function' (returns a number in [0, 1]), "
    "'http://…' or 'https://…' (returns scores), or 'model:PATH' (a sequence-classification model)"
)


def build_grader(
    spec: str, *, num_workers: int = NUM_WORKERS, timeout_s: float = TIMEOUT_S, memory_mb: int = MEMORY_MB
) -> Grader:
    """The grader that a specification names.

    Args:
        spec: `math`, `exact`, `module:function`, `score:module:function`, `http(s)://…` or `model:PATH`.
        num_workers: processes, for graders that have them.
        timeout_s: processor time of one item; by the clock up to eight times as much. It is tried at most twice.
        memory_mb: address space of a process.

    Raises:
        ConfigError: it names none.

    """
    if spec == "math":
        return MathGrader(num_workers=num_workers, timeout_s=timeout_s, memory_mb=memory_mb)
    if spec == "exact":
        return ExactGrader()
    if spec.startswith(("http://", "https://")):
        return HTTPScoreGrader(spec)
    if spec.startswith("model:") and spec != "model:":
        return RewardModelGrader(Path(spec.removeprefix("model:")))
    path = spec.removeprefix("score:")
    match = FUNCTION_PATH.fullmatch(path)
    if match is None:
        raise ConfigError(f"expected a grader {ACCEPTED}, got {spec!r}", param="graders")
    if find_source(match["module"]) is None:
        raise ConfigError(f"grader {spec!r}: no module {match['module']!r} can be found on sys.path", param="graders")
    return FunctionGrader(path, scores=path != spec, num_workers=num_workers, timeout_s=timeout_s, memory_mb=memory_mb)
