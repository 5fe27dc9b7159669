"""What a server says of itself, and what an operator asks of it."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from mrt_reward.errors import ErrorInfo
from mrt_reward.options import ScoreOptions
from mrt_reward.protocols import Coupling, EndpointState, WeightsCanary
from mrt_reward.wire.traces import Model


class ProverOut(Model):
    """Who proves, and how when a request does not say. A server of an earlier version leaves out what has a default.

    Attributes:
        model: name of the model.
        version: changes with any byte of its weights.
        engine: what runs it.
        max_tokens: longest context, answer included.
        note: a caveat for whoever reads the values; empty where there is none.
        coupled: whether answers of neighbouring prefixes can be drawn with the same noise.
        tokenizer: sha256 of its tokenizer.json.
        graders: names of what judges answers, the default first.
        options: scoring options where a request gives none.

    """

    model: str
    version: str
    engine: str
    max_tokens: int
    note: str
    coupled: Coupling = "unknown"
    computed_per_needed: Annotated[
        float | None,
        Field(
            description="Tokens that the engine's self-check ran through the network, per token that had to be; above "
            "1.5 prefixes share too little, and the server's log says what to set. Null: not measured."
        ),
    ] = None
    endpoints: Annotated[
        list[EndpointState], Field(description="Servers that prove; none where the engine is in the server itself.")
    ] = Field(default_factory=list[EndpointState])
    tokenizer: str
    graders: list[str]
    options: ScoreOptions


class StatusOut(Model):
    """A short answer of the server about itself.

    Attributes:
        status: always ok: what is not is an error.

    """

    status: Literal["ok"] = "ok"


class DrainRequest(Model):
    """Whether new work is refused from now on.

    Attributes:
        draining: false takes a drain back.

    """

    draining: bool = True


class WeightsRequest(Model):
    """Weights to serve from now on."""

    path: Annotated[
        str, Field(min_length=1, max_length=4096, description="Their folder, absolute or below the server's root.")
    ]
    kind: Annotated[
        Literal["checkpoint", "lora"], Field(description="All weights, or an adapter to the checkpoint that is served.")
    ] = "checkpoint"
    canary: Annotated[
        WeightsCanary | None,
        Field(description="What the sender says of them; where the server says something else, they are not taken."),
    ] = None


class WeightsLoading(Model):
    """The weights are being loaded still: send the same request again to wait on.

    Attributes:
        status: always "loading".

    """

    status: Literal["loading"] = "loading"


class WeightsResponse(Model):
    """Who proves from now on.

    Attributes:
        model: name of what proves.
        version: of its weights.

    """

    model: str
    version: str


class VersionOut(Model):
    """Which release answers.

    Attributes:
        version: of this package.

    """

    version: str


class ProgressBin(Model):
    """Episodes whose progress lies in a range.

    Attributes:
        low: it is above this; null for the first bin.
        high: it is at most this; null for the last bin.
        episodes: how many, since the server started.

    """

    low: float | None
    high: float | None
    episodes: int


class RecentError(Model):
    """What went wrong, without a word of a caller's.

    Attributes:
        where: a route, or `trace` for one that was not scored in an answer that was.
        code: status of the answer, or the trace's error code.
        count: such errors in a row.
        seconds_ago: since the last of them.

    """

    where: str
    code: str
    count: int
    seconds_ago: float


class OverviewOut(Model):
    """How busy the server is, and what it gave since it started.

    Attributes:
        queued_tokens: admitted and not answered.
        queue_limit_tokens: that are admitted at once.
        running: proofs that the engine has.
        waiting: proofs that wait for their turn.
        traces: scored, by status.
        progress: of their episodes, from the lowest bin.
        errors: the last ones, newest first; refusals for want of a key, or of unknown routes, are left out.

    """

    queued_tokens: int
    queue_limit_tokens: int
    running: int
    waiting: int
    traces: dict[str, int]
    progress: list[ProgressBin]
    errors: list[RecentError]


class ErrorBody(Model):
    """The OpenAI shape of an error.

    Attributes:
        error: what went wrong.

    """

    error: ErrorInfo
