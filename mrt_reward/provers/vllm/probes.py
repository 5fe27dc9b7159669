"""One trace's probes as engine requests: what fills the cache goes first and is awaited, then everything else at once.

Longest prefix first is enough where the engine keeps every block. The blocks of window and recurrent layers are kept
only where a request ends, so that shorter prefixes find nothing then. Shortest first, the trace is run from cut to cut,
each request ending at the last full block before a cut. `selfcheck` finds out which order computes less.

Dimension key: P probes of a trace · S spellings · M sampled answers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, cast

from vllm import SamplingParams
from vllm.lora.request import LoRARequest
from vllm.outputs import RequestOutput
from vllm.sampling_params import MAX_LOGPROB_TOKEN_IDS

from mrt_reward.errors import ProverError
from mrt_reward.protocols import LikelihoodQuery, Probe, ProbeAnswer, Proof, RolloutQuery
from mrt_reward.provers.likelihood import BROKEN, spelling_logprobs, spelling_tree
from mrt_reward.provers.stops import Stops
from mrt_reward.provers.together import together
from mrt_reward.provers.vllm.engine import Engine
from mrt_reward.provers.vllm.forced import ForcedPath, Step, forced_paths, steps_lookup
from mrt_reward.provers.vllm.steering import DRAWN, END_AT_CLOSE, FORCED


def blocks_needed(proof: Proof, engine: Engine) -> int:
    """Cache blocks of a trace and of all its answers at once, as many of them as may run."""
    query = proof.query
    if isinstance(query, LikelihoodQuery):
        paths = forced_paths(spelling_tree(query.spellings))
        num_tails, tail = len(paths) * len(proof.probes), max(len(path.ids) for path in paths) + 1
    else:
        num_tails, tail = query.num_samples * len(proof.probes), query.max_tokens
    suffix = max(len(probe.suffix) for probe in proof.probes)
    # A tail starts within the block where its prefix ends, and does not share that one.
    blocks_per_tail = 1 + -(-(suffix + tail) // engine.block_size)
    return -(-len(proof.token_ids) // engine.block_size) + min(num_tails, engine.max_num_seqs) * blocks_per_tail


@dataclass(slots=True)
class Ways:
    """How one engine is asked; its self-check finds out.

    Attributes:
        forced: answers can be forced; otherwise every token of a spelling is a request of its own.
        longest_first: the longest prefix fills the cache; otherwise all do, one after the other, shortest first.
        cached: prefixes are read from the cache.

    """

    forced: bool = True
    longest_first: bool = True
    cached: bool = True


class ProbeRunner:
    """Runs traces' probes on one engine, with one version of the weights.

    Args:
        engine: runs the requests.
        stops: what ends an answer.
        version: of the weights; prefixes are cached under it.
        adapter: weights to add to the engine's own.
        ways: how requests are made; shared by whoever asks the same engine.

    """

    def __init__(
        self,
        engine: Engine,
        stops: Stops,
        version: str,
        adapter: LoRARequest | None = None,
        *,
        ways: Ways | None = None,
    ) -> None:
        self._engine = engine
        self._stops = stops
        self._version = version
        self._adapter = adapter
        self.ways = ways or Ways()

    def asking(self, version: str, **changes: bool) -> ProbeRunner:
        """One that asks in other ways, and shares no prefix with any other version."""
        return type(self)(self._engine, self._stops, version, self._adapter, ways=replace(self.ways, **changes))

    async def prove(self, proof: Proof) -> tuple[tuple[ProbeAnswer, ...], int]:
        """Answers of all probes, and the number of tokens run through the network.

        Raises:
            ProverError: the engine failed, or gave numbers that cannot be right.

        """
        ids = cast("list[int]", proof.token_ids.tolist())
        prompts = [[*ids[: probe.cut], *probe.suffix] for probe in proof.probes]
        longest = max(range(len(prompts)), key=lambda index: proof.probes[index].cut)
        filled = 0 if self.ways.longest_first else await self._filled(ids, proof.probes)
        leader = longest if self.ways.longest_first else None
        if isinstance(proof.query, LikelihoodQuery):
            answers, num_tokens = await self._likelihoods(prompts, leader, proof.query)
        else:
            answers, num_tokens = await self._rollouts(prompts, leader, proof.probes, proof.query)
        return answers, filled + num_tokens

    async def _filled(self, ids: Sequence[int], probes: Sequence[Probe]) -> int:
        """Run the trace on from cut to cut, shortest first; returns the number of tokens run.

        The last token of a prompt is run whatever is cached, so a request that ends right after a full block leaves it.
        """
        size = self._engine.block_size
        num_tokens = 0
        for end in sorted({probe.cut // size * size for probe in probes} - {0}):
            num_tokens += await self.generate_token([*ids[:end], probes[0].suffix[0]])
        return num_tokens

    async def generate_token(self, prompt: Sequence[int] = (0,)) -> int:
        """Generate one token; returns the number of tokens run."""
        return computed(await self._ask(prompt, SamplingParams(temperature=0.0, max_tokens=1, ignore_eos=True)))

    async def forced_steps(self, prompt: Sequence[int], path: ForcedPath) -> tuple[list[Step], int]:
        """Log-probabilities after each beginning of a forced answer, and the number of tokens run.

        Raises:
            ProverError: the engine failed, or did not emit the forced tokens.

        """
        if not self.ways.forced:
            steps = [self._single_step(prompt, path, index) for index in range(len(path.ids) + 1)]
            steps_of = await together(steps)
            return [step for step, _ in steps_of], sum(num_tokens for _, num_tokens in steps_of)
        parts = await together([self._forced(prompt, path.ids, watched) for watched in _parts(path.watched)])
        merged: list[Step] = [
            {token: logprob for step in steps for token, logprob in step.items()}
            for steps in zip(*[steps for steps, _ in parts], strict=True)
        ]
        return merged, sum(num_tokens for _, num_tokens in parts)

    async def _forced(
        self, prompt: Sequence[int], ids: tuple[int, ...], watched: Sequence[int]
    ) -> tuple[list[Step], int]:
        params = SamplingParams(
            temperature=0.0,
            max_tokens=len(ids) + 1,
            ignore_eos=True,
            logprob_token_ids=list(watched),
            flat_logprobs=True,
            extra_args={FORCED: list(ids)},
        )
        output = await self._ask(prompt, params)
        emitted = tuple(output.outputs[0].token_ids)
        if len(emitted) != len(ids) + 1 or emitted[:-1] != ids:
            raise ProverError(f"the engine had to emit {ids} and one more token, and emitted {emitted}", code=BROKEN)
        return read_steps(output), computed(output)

    async def _single_step(self, prompt: Sequence[int], path: ForcedPath, index: int) -> tuple[Step, int]:
        """One step of a forced answer, with what comes before it as part of the prompt."""
        watched = sorted({*path.watched, *path.ids[index : index + 1]})
        before = [*prompt, *path.ids[:index]]
        parts = await together([self._forced(before, (), part) for part in _parts(watched)])
        step = {token: logprob for [one], _ in parts for token, logprob in one.items()}
        return step, sum(num_tokens for _, num_tokens in parts)

    async def _likelihoods(
        self, prompts: Sequence[Sequence[int]], leader: int | None, query: LikelihoodQuery
    ) -> tuple[tuple[ProbeAnswer, ...], int]:
        tree = spelling_tree(query.spellings)
        paths = forced_paths(tree)
        first = [] if leader is None else [(leader, paths[0])]
        others = [(index, path) for index in range(len(prompts)) for path in paths if (index, path) not in first]
        answered = [await self.forced_steps(prompts[index], path) for index, path in first]
        answered += await together([self.forced_steps(prompts[index], path) for index, path in others])
        steps_of: list[list[tuple[ForcedPath, list[Step]]]] = [[] for _ in prompts]
        for (index, path), (steps, _) in zip([*first, *others], answered, strict=True):
            steps_of[index].append((path, steps))
        logprob_PS = [spelling_logprobs(tree, steps_lookup(steps)) for steps in steps_of]
        answers = tuple(ProbeAnswer(spelling_logprobs=tuple(logprobs.tolist())) for logprobs in logprob_PS)
        return answers, sum(num_tokens for _, num_tokens in answered)

    async def _rollouts(
        self, prompts: Sequence[Sequence[int]], leader: int | None, probes: Sequence[Probe], query: RolloutQuery
    ) -> tuple[tuple[ProbeAnswer, ...], int]:
        # An answer may be long; one token of it is enough to have the trace in the cache.
        num_tokens = 0 if leader is None else await self.generate_token(prompts[leader])
        # At temperature 0 one answer stands for all M.
        num_different = 1 if query.temperature == 0 else query.num_samples
        pairs = [(index, sample) for index in range(len(prompts)) for sample in range(num_different)]
        outputs = await together(
            [
                self._ask(prompts[index], self._sampling(query, probes[index], sample, len(prompts[index])))
                for index, sample in pairs
            ]
        )
        completions: list[list[tuple[int, ...]]] = [[] for _ in prompts]
        logprobs: list[list[float]] = [[] for _ in prompts]
        for (index, _), output in zip(pairs, outputs, strict=True):
            ids = self._stops.trimmed(output.outputs[0].token_ids, at_close=query.stop_at_close)
            completions[index] += [ids] * (query.num_samples // num_different)
            if query.logprobs:
                logprobs[index] += [_mean_logprob(output, ids, query)] * (query.num_samples // num_different)
        return (
            tuple(
                ProbeAnswer(completions=tuple(ids), completion_logprobs=tuple(steps_of))
                for ids, steps_of in zip(completions, logprobs, strict=True)
            ),
            num_tokens + sum(computed(output) for output in outputs),
        )

    def _sampling(self, query: RolloutQuery, probe: Probe, sample: int, num_prompt: int) -> SamplingParams:
        steering: dict[str, Any] = {}
        if query.temperature > 0:
            steering[DRAWN] = {"seed": probe.seed, "sample": sample, "query": asdict(query)}
        if query.stop_at_close and self._stops.end_ids:
            steering[END_AT_CLOSE] = min(self._stops.end_ids)
        return SamplingParams(
            temperature=0.0,  # the engine's own; ours is in the steering
            max_tokens=min(query.max_tokens, self._engine.max_model_len - num_prompt),
            stop_token_ids=sorted(self._stops.end_ids),
            ignore_eos=True,
            extra_args=steering or None,
            logprobs=0 if query.logprobs else None,
            flat_logprobs=query.logprobs,
        )

    async def _ask(self, prompt: Sequence[int], params: SamplingParams) -> RequestOutput:
        if not self.ways.cached:
            params.skip_reading_prefix_cache = True
        return await self._engine.ask(prompt, params, self._version, self._adapter)


def _parts(watched: Sequence[int]) -> list[Sequence[int]]:
    """As many tokens at a time as vLLM takes; one empty part where nothing is watched."""
    starts = range(0, max(len(watched), 1), MAX_LOGPROB_TOKEN_IDS)
    return [watched[start : start + MAX_LOGPROB_TOKEN_IDS] for start in starts]


def _mean_logprob(output: RequestOutput, ids: Sequence[int], query: RolloutQuery) -> float:
    """Of an answer's tokens, and of the end of turn where it was drawn and not forced on a boxed answer."""
    emitted = output.outputs[0].token_ids
    steps = read_steps(output)[: len(ids) if query.stop_at_close and ids else len(emitted)]
    drawn = [step[token] for step, token in zip(steps, emitted, strict=False)]
    return min(0.0, sum(drawn) / len(drawn))


def computed(output: RequestOutput) -> int:
    """Tokens run through the network for a request: what was not cached, and all but the last of each answer."""
    num_prompt = len(output.prompt_token_ids or ()) - (output.num_cached_tokens or 0)
    return sum(num_prompt + max(0, len(answer.token_ids) - 1) for answer in output.outputs)


def read_steps(output: RequestOutput) -> list[Step]:
    """Log-probabilities that came with each sampled token."""
    flat = cast("Any", output.outputs[0].logprobs)
    if flat is None or len(flat) != len(output.outputs[0].token_ids):
        raise ProverError("the engine gave tokens without their log-probabilities", code=BROKEN)
    bounds = zip(flat.start_indices, flat.end_indices, strict=True)
    return [dict(zip(flat.token_ids[start:end], flat.logprobs[start:end], strict=True)) for start, end in bounds]
