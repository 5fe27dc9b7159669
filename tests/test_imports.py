from __future__ import annotations

import subprocess
import sys

import pytest

import mrt_reward

HEAVY = ("torch", "transformers", "fastapi", "starlette", "uvicorn", "sympy", "math_verify", "vllm", "matplotlib")


@pytest.mark.parametrize(
    ("statement", "most_s"), [("import mrt_reward", 0.5), ("from mrt_reward import Client, score, advantages", 1.0)]
)
def test_importing_the_package_is_light(statement: str, most_s: float) -> None:
    code = (
        f"import sys, time; start = time.process_time(); {statement}; "
        "taken = time.process_time() - start; "
        f"print(taken, [name for name in {HEAVY!r} if name in sys.modules])"
    )
    best = 9.0
    for _ in range(3):
        done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
        taken, heavy = done.stdout.split(maxsplit=1)
        assert heavy.strip() == "[]"
        best = min(best, float(taken))
    assert best < most_s


def test_the_public_names_are_there_and_others_are_not() -> None:
    assert all(hasattr(mrt_reward, name) for name in mrt_reward.__all__)
    with pytest.raises(AttributeError, match="no attribute 'Server'"):
        mrt_reward.__getattr__("Server")
