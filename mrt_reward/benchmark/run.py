"""All of it for one engine and model: in this process, then through our server, then the peers."""

from __future__ import annotations

import importlib.util

from mrt_reward.benchmark.forwards import WITH_FORWARD
from mrt_reward.benchmark.ours import CountsByWork, InProcess, rounds_of_size, through_server
from mrt_reward.benchmark.plan import BenchPlan, Targets, measure
from mrt_reward.benchmark.recording import RecordingProver
from mrt_reward.benchmark.results import BenchResults
from mrt_reward.benchmark.rows import Way
from mrt_reward.benchmark.serving import our_server
from mrt_reward.client import AsyncClient
from mrt_reward.config import ServeSettings
from mrt_reward.errors import ConfigError
from mrt_reward.install import install_command
from mrt_reward.mini import MODEL_DIR
from mrt_reward.protocols import Tokenizer
from mrt_reward.provers.checkpoints import resolve_folder
from mrt_reward.provers.tokenizer import HFTokenizer
from mrt_reward.wiring import build_prover, build_scorer


def tokenizer_of(settings: ServeSettings) -> HFTokenizer:
    """The prover's, without the prover."""
    name = settings.tokenizer or settings.model or MODEL_DIR
    return HFTokenizer(resolve_folder(str(name), settings.revision), trust_remote_code=settings.trust_remote_code)


def num_steps(engine: str, plan: BenchPlan, targets: Targets) -> int:
    """How often `tell` is called."""
    ours = plan.rounds * len(plan.estimators) + sum(map(rounds_of_size, plan.sizes))
    if targets.url is not None:
        return ours
    forwards = plan.rounds * len(plan.estimators) if engine in WITH_FORWARD else 0
    in_process = (1 + ours + forwards + 1) if targets.in_process else 0
    server = (1 + ours) if targets.server else 0
    peers = (2 * (1 + 3 * plan.rounds) + 1) if targets.peers else 0
    return in_process + server + peers


async def bench(settings: ServeSettings, plan: BenchPlan, targets: Targets, results: BenchResults) -> None:
    """Measure, in the order of the table; what fails is written down beside what was measured.

    Args:
        settings: the engine that is measured.
        plan: what to measure.
        targets: where.
        results: rows are added to these.

    Raises:
        ConfigError: the peers need vLLM, or the running server is another model's.

    """
    if targets.url is not None:
        await _running_server(targets.url, settings, plan, results)
        return
    if targets.peers and importlib.util.find_spec("vllm") is None:
        raise ConfigError(f"the peers run on vLLM: {install_command('vllm')}, or leave out --peers", param="peers")
    counts: CountsByWork = {}
    if targets.in_process:
        results.tell(f"{settings.engine}, in process: starting")
        with results.surviving(Way("ours", "the engine", "in process", settings.engine, "likelihood")):
            await _in_process(settings, plan, counts, results)
    if targets.server:
        results.tell(f"{settings.engine}, server: starting ours")
        with results.surviving(Way("ours", "our server", "server", settings.engine, "likelihood")):
            async with our_server(settings) as url, AsyncClient(url, api_key=settings.plain_api_key) as client:
                await measure(await through_server(client, tokenizer_of(settings), plan, counts), results)
    if targets.peers:
        from mrt_reward.benchmark.vllm_peers import measure_authors, measure_over_http  # noqa: PLC0415 - loads vLLM

        await measure_over_http(settings, tokenizer_of(settings), plan, results)
        await measure_authors(settings, tokenizer_of(settings), plan, results)


async def _in_process(settings: ServeSettings, plan: BenchPlan, counts: CountsByWork, results: BenchResults) -> None:
    prover = RecordingProver(build_prover(settings))
    scorer = build_scorer(settings, prover)
    try:
        await measure(await InProcess(scorer, prover, plan, counts).measurements(), results)
    finally:
        await scorer.close()


async def _running_server(url: str, settings: ServeSettings, plan: BenchPlan, results: BenchResults) -> None:
    tokenizer: Tokenizer = tokenizer_of(settings)
    async with AsyncClient(url, api_key=settings.plain_api_key) as client:
        served = await client.prover()
        if served.tokenizer != tokenizer.sha256:
            raise ConfigError(
                f"{url} serves {served.model}, whose tokenizer is not the one of "
                f"{settings.tokenizer or settings.model or 'mini'}: name its model with --model",
                param="model",
            )
        await measure(await through_server(client, tokenizer, plan, {}, elsewhere=True), results)
