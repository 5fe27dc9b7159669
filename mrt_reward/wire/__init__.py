"""The HTTP contract: request and response models, shared by server and client."""

from mrt_reward.wire.routes import (
    AdvantageGroup,
    AdvantageOut,
    AdvantagesRequest,
    AdvantagesResponse,
    EpisodesOut,
    EpisodesResponse,
    ErrorBody,
    GetRewardRequest,
    GetRewardResponse,
    ProverOut,
    ScoredIn,
    ScoreRequest,
    ScoreResponse,
    StatusOut,
    StreamedTrace,
    VersionOut,
)
from mrt_reward.wire.traces import MessageIn, Model, TraceIn, TraceOut

__all__ = [
    "AdvantageGroup",
    "AdvantageOut",
    "AdvantagesRequest",
    "AdvantagesResponse",
    "EpisodesOut",
    "EpisodesResponse",
    "ErrorBody",
    "GetRewardRequest",
    "GetRewardResponse",
    "MessageIn",
    "Model",
    "ProverOut",
    "ScoreRequest",
    "ScoreResponse",
    "ScoredIn",
    "StatusOut",
    "StreamedTrace",
    "TraceIn",
    "TraceOut",
    "VersionOut",
]
