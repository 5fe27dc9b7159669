"""What a caller can choose about scoring, as frozen records with tested defaults.

The same records serve the Python API, the wire and the settings file, so a choice has one name everywhere.
Ranges and descriptions stand at the fields, where the wire, the OpenAPI document, trainers and `--help` read them. What
a trainer's settings share with the wire's records stands in bases of both.
"""

from mrt_reward.options.estimators import MAX_SAMPLES, Estimator, EstimatorName, Likelihood, Rollouts, SamplingOptions
from mrt_reward.options.priors import PathPrior
from mrt_reward.options.scoring import AnswerOptions, ScoreOptions
from mrt_reward.options.segmenters import (
    AUTHORS_SEGMENTERS,
    MODEL_MARKERS,
    MRT_MARKERS,
    BalancedSegmenter,
    Delimiters,
    EpisodeLimit,
    EpisodeTokens,
    ExplicitSegmenter,
    MarkerSegmenter,
    ParagraphSegmenter,
    Segmenter,
    TextSegmenter,
    TokenSegmenter,
)
from mrt_reward.options.terminators import TERMINATORS, Terminator, TerminatorName
from mrt_reward.ranges import Strict

__all__ = [
    "AUTHORS_SEGMENTERS",
    "MAX_SAMPLES",
    "MODEL_MARKERS",
    "MRT_MARKERS",
    "TERMINATORS",
    "AnswerOptions",
    "BalancedSegmenter",
    "Delimiters",
    "EpisodeLimit",
    "EpisodeTokens",
    "Estimator",
    "EstimatorName",
    "ExplicitSegmenter",
    "Likelihood",
    "MarkerSegmenter",
    "ParagraphSegmenter",
    "PathPrior",
    "Rollouts",
    "SamplingOptions",
    "ScoreOptions",
    "Segmenter",
    "Strict",
    "Terminator",
    "TerminatorName",
    "TextSegmenter",
    "TokenSegmenter",
]
