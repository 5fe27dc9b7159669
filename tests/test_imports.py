from __future__ import annotations

import os
import subprocess
import sys

import pytest

import mrt_reward

HEAVY = ("torch", "transformers", "fastapi", "starlette", "uvicorn", "sympy", "math_verify", "vllm", "matplotlib")


LIBRARIES = "import httpx, numpy, pydantic, pydantic_settings"


NUM_ROUNDS = 4
MOST_PACKAGE, MOST_NAMES = 0.5, 2
"""Shares of what the libraries take."""


def _cpu_s(statement: str) -> float:
    """Of one process; coverage, which follows every child, would be most of it."""
    code = (
        f"import sys, time; start = time.process_time(); {statement}; "
        "taken = time.process_time() - start; "
        f"print(taken, [name for name in {HEAVY!r} if name in sys.modules])"
    )
    untraced = {key: value for key, value in os.environ.items() if not key.startswith(("COV_", "COVERAGE_"))}
    done = subprocess.run([sys.executable, "-c", code], env=untraced, check=True, capture_output=True, text=True)
    taken, heavy = done.stdout.split(maxsplit=1)
    assert heavy.strip() == "[]"
    return float(taken)


def test_importing_the_package_costs_little_beside_the_libraries_it_stands_on() -> None:
    statements = (LIBRARIES, "import mrt_reward", "from mrt_reward import Client, score, advantages")
    # In turn, and compared within a round: what else the machine does falls on all three, and seldom on all rounds.
    least_package = least_names = float("inf")
    for _ in range(NUM_ROUNDS):
        libraries, package, names = (_cpu_s(statement) for statement in statements)
        least_package, least_names = min(least_package, package / libraries), min(least_names, names / libraries)
        if least_package < MOST_PACKAGE and least_names < MOST_NAMES:
            break  # Further rounds cannot change that.
    assert least_package < MOST_PACKAGE
    assert least_names < MOST_NAMES


def test_the_public_names_are_there_and_others_are_not() -> None:
    assert all(hasattr(mrt_reward, name) for name in mrt_reward.__all__)
    with pytest.raises(AttributeError, match="no attribute 'Server'"):
        mrt_reward.__getattr__("Server")


def test_the_command_line_starts_where_only_the_base_packages_are_installed() -> None:
    extras = ("torch", "transformers", "tokenizers", "safetensors", "jinja2", "pyarrow", "matplotlib", "vllm")
    code = (
        f"import sys; sys.modules.update(dict.fromkeys({extras!r})); "
        "from mrt_reward.cli import main; sys.argv = ['mrt-reward', '--version']; main()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.strip() == mrt_reward.__version__
