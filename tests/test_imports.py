from __future__ import annotations

import subprocess
import sys

HEAVY = ("torch", "transformers", "fastapi", "starlette", "uvicorn", "sympy", "math_verify", "vllm", "matplotlib")


def test_importing_the_package_is_light() -> None:
    code = (
        "import sys, time; start = time.process_time(); import mrt_reward; taken = time.process_time() - start; "
        f"print(taken, [name for name in {HEAVY!r} if name in sys.modules])"
    )
    best = 9.0
    for _ in range(3):
        done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
        taken, heavy = done.stdout.split(maxsplit=1)
        assert heavy.strip() == "[]"
        best = min(best, float(taken))
    assert best < 0.5
