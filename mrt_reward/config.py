"""Settings of the server: flags over environment over TOML file over defaults, with the same names in all four."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, SecretStr, ValidationError
from pydantic_settings import (
    BaseSettings,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
    TomlConfigSettingsSource,
)

from mrt_reward.core.credit_config import PaidValues
from mrt_reward.engine_settings import EngineSettings, Key
from mrt_reward.errors import ConfigError
from mrt_reward.mistakes import mistakes, nearest
from mrt_reward.options import ScoreOptions

CONFIG_VARIABLE = "MRT_REWARD_CONFIG"

NEARLY = 0.75
"""How like a setting's name a variable's must be to be a slip (`difflib`)."""

REMOVED = {
    "weights_marker": "this setting is gone, because trainers write '.complete' and no other marker worked with them: "
    "remove it, and have '.complete' written last",
    "options.waste_threshold": "this option is gone, because no server read it: remove it, and give evaluate or report "
    "--waste-threshold",
}
"""Settings of earlier versions, and what to do without them."""


def _names(given: object) -> object:
    """A flag or a variable has commas; a TOML file, a list."""
    return tuple(part.strip() for part in given.split(",") if part.strip()) if isinstance(given, str) else given


Scope = Literal["score", "admin"]
"""What a key opens: the routes of the public port, or those of the admin port."""

HolderName = Annotated[str, Field(pattern="^[A-Za-z][A-Za-z0-9_-]{0,63}$")]
"""Nothing that an address could be, because callers without a name go by theirs."""


class KeySettings(BaseModel):
    """One caller's key, of which the server knows the hash alone."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    sha256: Annotated[
        str, Field(pattern="^[0-9a-f]{64}$", description="SHA-256 of the key: printf %s KEY | sha256sum.")
    ]
    scopes: Annotated[tuple[Scope, ...], Field(min_length=1, description="What it opens: score, admin or both.")] = (
        "score",
    )
    tokens_per_minute: Annotated[
        int | None, Field(ge=1, description="Prover tokens that its holder may have proved; none is without limit.")
    ] = None


class ServeSettings(EngineSettings, BaseSettings):
    """What a server is started with, its engine included.

    Every field is also `MRT_REWARD_<NAME>` and a key of the TOML file.
    """

    model_config = SettingsConfigDict(env_prefix="MRT_REWARD_", extra="forbid", env_nested_delimiter="__")

    graders: Annotated[
        dict[str, str], Field(min_length=1, description="Graders by name, the default first; see --grader.")
    ] = {"math": "math"}
    grader_workers: Annotated[int, Field(ge=1, le=256, description="Grading processes per grader.")] = 2
    grader_timeout_s: Annotated[
        float, Field(gt=0, description="Processor time for one answer, in seconds; more by the clock where it is busy.")
    ] = 0.9
    grader_memory_mb: Annotated[int, Field(ge=256, description="Memory of one grading process, in megabytes.")] = 1024
    host: Annotated[str, Field(description="Address to listen on.")] = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535, description="Port; 0 takes a free one.")] = 8000
    admin_host: Annotated[str, Field(description="Address of the admin routes.")] = "127.0.0.1"
    admin_port: Annotated[int, Field(ge=0, le=65535, description="Port of the admin routes; 0 is any free one.")] = 8001
    api_key: Annotated[Key | None, Field(description="Key that callers must send as a bearer token.")] = None
    admin_key: Annotated[Key | None, Field(description="Key of the admin routes; none is the API key.")] = None
    keys: Annotated[
        dict[HolderName, KeySettings],
        Field(description="More keys, by their holders' names, each with its hash, scopes and token budget."),
    ] = {}
    tls_cert: Annotated[
        Path | None, Field(description="PEM file of the certificate, with its chain: both ports speak HTTPS alone.")
    ] = None
    tls_key: Annotated[Path | None, Field(description="PEM file of the certificate's private key.")] = None
    tls_client_ca: Annotated[
        Path | None, Field(description="PEM file of authorities: callers need a certificate that one of them signed.")
    ] = None
    no_key: Annotated[
        bool, Field(description="Let other machines in without any key, where an address is open to them.")
    ] = False
    allowed_hosts: Annotated[
        tuple[str, ...],
        NoDecode,
        BeforeValidator(_names),
        Field(
            description="Without a key: more names that the server is reached under, such as prover, with commas "
            "between; * is any."
        ),
    ] = ()
    weights_root: Annotated[
        str | None, Field(description="Folder below which /admin/weights may load; none loads nothing.")
    ] = None
    cache_path: Annotated[str | None, Field(description="SQLite file for scores; none keeps them in memory.")] = None
    cache_disk_mb: Annotated[
        float, Field(ge=1, description="Size of the cache's file, in megabytes; the oldest scores are forgotten.")
    ] = 1000.0
    cache_url: Annotated[
        SecretStr | None,
        Field(
            description="Redis or Valkey server for scores, which replicas share, such as redis://cache:6379/0, in "
            "place of a file; a password in it belongs in the variable."
        ),
    ] = None
    cache_memory_mb: Annotated[float, Field(gt=0, description="Memory for scores, in megabytes.")] = 64.0
    max_queue_tokens: Annotated[
        int,
        Field(ge=1, description="Prover tokens admitted at once; as many again for callers who have none admitted."),
    ] = 4_000_000
    default_deadline_s: Annotated[
        float, Field(gt=0, description="Longest time for a request, in seconds; callers may ask for less.")
    ] = 600.0
    drain_timeout_s: Annotated[
        float, Field(ge=0, description="Time for requests in flight to finish on SIGTERM, in seconds.")
    ] = 45.0
    canary_every_s: Annotated[
        float,
        Field(
            ge=0,
            description="Time between proofs of a trace with known values, in seconds: where they change, the server "
            "is not ready; 0: never.",
        ),
    ] = 600.0
    max_body_mb: Annotated[float, Field(gt=0, description="Largest request body, decompressed, in megabytes.")] = 32.0
    max_connections: Annotated[
        int, Field(ge=1, description="Connections at once; the system's limit of descriptors may allow fewer.")
    ] = 4096
    alpha: Annotated[float, Field(ge=0, description="Weight of progress in /get_reward.")] = 1.0
    paid_values: Annotated[
        PaidValues,
        Field(description="Values whose progress /get_reward pays: raw, or their posterior along the trace."),
    ] = "raw"
    log_format: Annotated[Literal["console", "json", "off"], Field(description="How to log to stderr.")] = "console"
    options: Annotated[ScoreOptions, Field(description="Scoring options where a request gives none.")] = ScoreOptions()

    @property
    def tokens_per_minute(self) -> dict[str, int | None]:
        """Budgets of all callers who have keys of their own, by name."""
        return {name: key.tokens_per_minute for name, key in self.keys.items()}

    @property
    def plain_cache_url(self) -> str | None:
        """The URL of the cache's server with its password; never log it."""
        return None if self.cache_url is None else self.cache_url.get_secret_value()

    @property
    def plain_api_key(self) -> str | None:
        """The API key itself; never log it."""
        return None if self.api_key is None else self.api_key.get_secret_value()

    @property
    def plain_admin_key(self) -> str | None:
        """The key of the admin routes itself; never log it."""
        return self.plain_api_key if self.admin_key is None else self.admin_key.get_secret_value()

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Flags, then the environment, then the TOML file."""
        del dotenv_settings, file_secret_settings
        path = os.environ.get(CONFIG_VARIABLE)
        if not path:
            return init_settings, env_settings
        if not Path(path).is_file():
            raise ConfigError(f"{CONFIG_VARIABLE} names no file: {path}", param=CONFIG_VARIABLE)
        return init_settings, env_settings, TomlConfigSettingsSource(settings_cls, Path(path))


def load_settings(**flags: object) -> ServeSettings:
    """Settings from all sources, with the flags that are not None on top.

    Raises:
        ConfigError: a setting is wrong, unknown or gone; the message names it, and what was probably meant.

    """
    _refuse_removed_variables()
    given: dict[str, Any] = {name: value for name, value in flags.items() if value is not None}
    try:
        return ServeSettings(**given)
    except ValidationError as error:
        [first, *_] = mistakes(_without_secrets(error), ServeSettings)
        message = REMOVED.get(first.param) or first.message
        raise ConfigError(f"setting {first.param}: {message}", param=first.param) from error
    except SettingsError as error:
        raise ConfigError(f"settings cannot be read: {error}") from error
    except ValueError as error:
        raise ConfigError(f"{os.environ.get(CONFIG_VARIABLE)} is not TOML: {error}", param=CONFIG_VARIABLE) from error


def _refuse_removed_variables() -> None:
    """Variables with unknown names are other programs' own, and read by nobody; these were ours."""
    here = {variable.upper() for variable in os.environ}
    for name, message in REMOVED.items():
        variable = f"MRT_REWARD_{name.replace('.', '__').upper()}"
        if variable in here:
            raise ConfigError(f"variable {variable}: {message}", param=name)


def misspelt_variables() -> list[str]:
    """A warning for each variable that nobody reads and whose name is nearly that of a setting.

    Others that begin alike are left in peace: other programs may have set them, as Kubernetes does for its services.
    """
    prefix = "MRT_REWARD_"
    known = {CONFIG_VARIABLE, *(f"{prefix}{name.upper()}" for name in ServeSettings.model_fields)}
    found: list[str] = []
    for variable in sorted(os.environ):
        name = variable.upper().partition("__")[0]  # what follows are fields of a setting, which are checked
        if not name.startswith(prefix) or name in known:
            continue
        rests = [each.removeprefix(prefix).lower() for each in sorted(known)]
        if near := nearest(name.removeprefix(prefix).lower(), rests, NEARLY):
            found.append(f"variable {variable} is not read: did you mean {prefix}{near.upper()}?")
    return found


def _without_secrets(error: ValidationError) -> list[Any]:
    """What is wrong, with what came only where it is a word out of a few: anything else may be a key or a password."""
    found: list[Any] = [dict(each) for each in error.errors(include_url=False)]
    for each in found:
        if each["type"] not in ("literal_error", "missing"):
            each.pop("input", None)
    return found
