"""The seams: what the service needs from a tokenizer, a prover and a grader.

A prover is asked about a *trace*, not about a prompt: it gets the trace's tokens once, where to cut them, and what
follows each cut, so that every engine can share the common prefix in its own way. Trusted and untrusted text are told
apart before this seam: what arrives here is token ids, and the untrusted part holds no control token.
"""

from mrt_reward.protocols.abilities import (
    CachesPrefixes,
    EndpointState,
    PrefixHits,
    Reloadable,
    Replicated,
    ShowsProgress,
    Supervised,
    WeightsKind,
)
from mrt_reward.protocols.grading import (
    CountsKills,
    GradeItem,
    Grader,
    Party,
    asking_caller,
    asking_for,
    asking_party,
    asking_together,
    grader_of,
)
from mrt_reward.protocols.proving import (
    Coupling,
    LikelihoodQuery,
    Probe,
    ProbeAnswer,
    Proof,
    Proven,
    Prover,
    ProverInfo,
    Query,
    RolloutQuery,
    SpellingIds,
    public_name,
    trace_name,
)
from mrt_reward.protocols.tokens import TokenizedText, Tokenizer
from mrt_reward.protocols.vouching import WeightsCanary

__all__ = [
    "CachesPrefixes",
    "CountsKills",
    "Coupling",
    "EndpointState",
    "GradeItem",
    "Grader",
    "LikelihoodQuery",
    "Party",
    "PrefixHits",
    "Probe",
    "ProbeAnswer",
    "Proof",
    "Proven",
    "Prover",
    "ProverInfo",
    "Query",
    "Reloadable",
    "Replicated",
    "RolloutQuery",
    "ShowsProgress",
    "SpellingIds",
    "Supervised",
    "TokenizedText",
    "Tokenizer",
    "WeightsCanary",
    "WeightsKind",
    "asking_caller",
    "asking_for",
    "asking_party",
    "asking_together",
    "grader_of",
    "public_name",
    "trace_name",
]
