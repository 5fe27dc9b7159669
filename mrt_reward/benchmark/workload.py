"""Work to measure with: problems, traces of many episodes, and what to ask about them. Speed does not hang on sense."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Annotated

import numpy as np
from annotated_types import Ge, Le

from mrt_reward.benchmark.counting import asked, terminated, unique_tokens
from mrt_reward.graders.exact import ExactGrader
from mrt_reward.graders.spellings import spellings
from mrt_reward.options import Estimator, Likelihood, ParagraphSegmenter, ScoreOptions, TerminatorName
from mrt_reward.protocols import LikelihoodQuery, Tokenizer
from mrt_reward.ranges import check_ranges, option
from mrt_reward.service.jobs import Job, prepare
from mrt_reward.types import TokenIds, Trace

_VOCABULARY = """
so then the place leads to another one which is not an exit and we try again from here with three steps left because
nothing else was found on that side of the map where it all began
"""
WORDS = _VOCABULARY.split()
OPENINGS = ("Wait, ", "Alternatively, ", "But hold on, ", "But let me double-check, ")


@dataclass(frozen=True, slots=True)
class WorkSpec:
    """How much work.

    A trace has one prefix more than episodes, the empty one, which the problem's traces share.

    Raises:
        ValueError: a field is outside its range.

    """

    problems: Annotated[int, Ge(1)] = option(16, "Problems.")
    traces: Annotated[int, Ge(1), Le(64)] = option(4, "Traces of each problem.")
    episodes: Annotated[int, Ge(1), Le(500)] = option(12, "Episodes of each trace.")
    episode_tokens: Annotated[int, Ge(1)] = option(150, "Tokens of each episode, about.")
    seed: Annotated[int, Ge(0)] = option(0, "Seed of the traces' text.")

    def __post_init__(self) -> None:
        check_ranges(self)

    @property
    def num_prefixes(self) -> int:
        """Different terminated prefixes."""
        return self.problems * (self.traces * self.episodes + 1)

    def of_prefixes(self, num_prefixes: int) -> WorkSpec:
        """As many problems as have about this many prefixes."""
        return replace(self, problems=max(1, round(num_prefixes / (self.traces * self.episodes + 1))))


@dataclass(frozen=True, slots=True)
class Work:
    """Traces, and what they come to.

    Attributes:
        traces: as a caller sends them.
        options: how to score them.
        jobs: as the prover sees them.
        seed: of all that was drawn.

    """

    traces: tuple[Trace, ...]
    options: ScoreOptions
    jobs: tuple[Job, ...]
    seed: int

    @property
    def prompts_by_trace(self) -> list[list[TokenIds]]:
        """Terminated prefixes of each trace; one that an earlier trace had too is left out."""
        seen: set[bytes] = set()
        rows: list[list[TokenIds]] = []
        for job in self.jobs:
            fresh = [ids for ids in terminated(job) if ids.tobytes() not in seen]
            seen.update(ids.tobytes() for ids in fresh)
            rows.append(fresh)
        return rows

    @property
    def num_prefixes(self) -> int:
        """Different terminated prefixes."""
        return sum(map(len, self.prompts_by_trace))

    @property
    def needed_tokens(self) -> int:
        """Tokens to run where no beginning is computed twice; sampled answers come on top."""
        return unique_tokens(ids for job in self.jobs for ids in asked(job))

    @property
    def answer_ids(self) -> tuple[int, ...]:
        """Tokens of a gold answer's first spelling and its close."""
        query = self.jobs[0].plan.query
        if not isinstance(query, LikelihoodQuery):
            raise ValueError("expected work that asks for likelihoods, this asks for sampled answers")
        return (*query.spellings[0].ids, query.spellings[0].close[0])

    def first(self, num_traces: int) -> Work:
        """The same of its first traces."""
        return replace(self, traces=self.traces[:num_traces], jobs=self.jobs[:num_traces])


def make_work(
    spec: WorkSpec, tokenizer: Tokenizer, estimator: Estimator | None = None, terminator: TerminatorName = "boxed"
) -> Work:
    """The same work for the same arguments."""
    traces = make_traces(spec, tokenizer)
    options = ScoreOptions(
        segmenter=ParagraphSegmenter("paragraphs", max_episodes=None),
        terminator=terminator,
        estimator=estimator or Likelihood(),
    )
    grader = ExactGrader()
    jobs = tuple(prepare(trace, options, tokenizer, grader, spellings) for trace in traces)
    return Work(tuple(traces), options, jobs, spec.seed)


def make_traces(spec: WorkSpec, tokenizer: Tokenizer) -> list[Trace]:
    """Traces in the order of their problems, answers included."""
    rng = np.random.default_rng(spec.seed)
    words_per_token = _words_per_token(tokenizer)
    num_words = max(1, round(spec.episode_tokens * words_per_token))
    traces: list[Trace] = []
    for problem in range(spec.problems):
        asked_for = f"Problem {spec.seed}.{problem}: {_sentence(rng, 20)}?"
        answer = str(rng.integers(10, 100))
        traces += [
            Trace(
                f"s{spec.seed}-p{problem}-t{number}",
                problem=asked_for,
                completion=f"<think>\n{_thinking(rng, spec.episodes, num_words)}</think>\n\nIt is \\boxed{{{answer}}}.",
                answer=(answer,),
                group=f"s{spec.seed}-p{problem}",
                outcome=1.0,
            )
            for number in range(spec.traces)
        ]
    return traces


def _thinking(rng: np.random.Generator, num_episodes: int, num_words: int) -> str:
    return "".join(f"{rng.choice(OPENINGS)}{_sentence(rng, num_words)}.\n\n" for _ in range(num_episodes))


def _sentence(rng: np.random.Generator, num_words: int) -> str:
    return " ".join(rng.choice(WORDS, num_words).tolist())


def _words_per_token(tokenizer: Tokenizer) -> float:
    num_tokens = len(tokenizer.encode_untrusted(_sentence(np.random.default_rng(0), 400)).ids)
    return 400 / num_tokens


def first_problems(spec: WorkSpec, most: int) -> WorkSpec:
    """The same, of at most so many problems."""
    return replace(spec, problems=min(spec.problems, most))


def apart(spec: WorkSpec, offset: int) -> WorkSpec:
    """Other work of the same size, so that nothing is answered from a cache."""
    return replace(spec, seed=spec.seed + 1000 * (offset + 1))


def all_prompts(work: Work) -> Sequence[TokenIds]:
    """Different terminated prefixes, trace by trace, shortest first."""
    return [ids for row in work.prompts_by_trace for ids in row]
