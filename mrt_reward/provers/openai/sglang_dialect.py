"""Whether a server speaks SGLang's own protocol, found out by asking it once.

As with the completions protocol, nothing is believed from a status alone: what the server rates is compared with the
log-probability that it gives for its own most probable token.
"""

from __future__ import annotations

import math

import structlog

from mrt_reward.errors import ProverError
from mrt_reward.protocols import Tokenizer
from mrt_reward.provers.openai.dialect import TOLERANCE
from mrt_reward.provers.openai.endpoint import Endpoint, is_of_the_question
from mrt_reward.provers.openai.sglang import ModelInfo, SGLangPrompt, SGLangSpeaker, rated_next

INFO_PATHS = ("/model_info", "/get_model_info")
"""The second is the first's name of before 2026."""

PROMPT = "1 + 1 = 2. 2 + 2 = 4. 3 + 3 ="

logger = structlog.stdlib.get_logger(__name__)


async def model_info(endpoint: Endpoint) -> ModelInfo | None:
    """What SGLang says of its model; None where the server is no SGLang.

    Raises:
        ProverUnavailable: it does not answer.
        ProverError: it takes no key, or another one.

    """
    new, old = INFO_PATHS
    return await _fetch(endpoint, new) or await _fetch(endpoint, old)


async def _fetch(endpoint: Endpoint, path: str) -> ModelInfo | None:
    try:
        return await endpoint.fetch(path, ModelInfo)
    except ProverError as error:
        if not is_of_the_question(error):
            raise
        return None


async def sglang_speaker(endpoint: Endpoint, tokenizer: Tokenizer, *, asked_for: bool) -> SGLangSpeaker | None:
    """A speaker of the protocol; None where the server does not speak it.

    Args:
        endpoint: HTTP connections to the server.
        tokenizer: the model's own.
        asked_for: the operator says that it does, so a server that does not is an error.

    Raises:
        ProverUnavailable: it does not answer.
        ProverError: it does not speak it although it should.

    """
    info = await model_info(endpoint)
    if info is None and not asked_for:
        return None
    weights = info.weight_version if info else None
    ids = tokenizer.encode_trusted(PROMPT).tolist()
    problem = ""
    for tail_tokens in (0, 1):
        speaker = SGLangSpeaker(endpoint, weights, tail_tokens)
        try:
            if not (problem := await _contradiction(speaker, ids)):
                logger.info("endpoint_found", endpoint=endpoint.shown, protocol="sglang", likelihood="tail")
                return speaker
        except ProverError as error:
            if not is_of_the_question(error):
                raise
            problem = str(error)
    if asked_for:
        raise ProverError(f"{endpoint.shown} does not answer as SGLang's /generate does: {problem}")
    logger.warning("endpoint_generate_not_used", endpoint=endpoint.shown, problem=problem)
    return None


async def _contradiction(speaker: SGLangSpeaker, ids: list[int]) -> str:
    """In what the server contradicts itself; empty where it does not."""
    greedy = SGLangPrompt(ids, {"max_new_tokens": 1, "temperature": 0.0})
    [wrote], _ = await speaker.generate([greedy], "check")
    rated = wrote.meta_info.output_token_logprobs
    if len(wrote.output_ids) != 1 or not rated or rated[0][0] is None or rated[0][1] != wrote.output_ids[0]:
        return "it does not return the id and log-probability of the one token that it wrote"
    truth, best = rated[0][0], rated[0][1]
    prompts = [speaker.tail([*ids, best], len(ids), [ids[0]]), speaker.tail(ids, len(ids), [best, ids[0]])]
    (tail, next_), _ = await speaker.generate(prompts, "check")
    reported = [("the last token of a prompt", speaker.rated_tail(prompts[0], tail)[0][1])]
    if best not in (named := rated_next(next_)) or ids[0] not in named:
        return "it does not return log-probabilities of named tokens (token_ids_logprob)"
    reported.append(("a named token", named[best]))
    for what, logprob in reported:
        if not math.isclose(logprob, truth, abs_tol=TOLERANCE):
            return f"its own most probable token has log-probability {truth:.3f}, and as {what} {logprob:.3f}"
    return ""
