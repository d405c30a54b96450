"""The table of settings: name, type, default, help, and whether it is a secret (its type is ``SecretStr``).

The command line, the environment, validation and ``docs/settings.md`` all read it.
"""

from __future__ import annotations

import unicodedata
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, SecretStr, field_validator, model_validator
from pydantic_settings import (
    BaseSettings,
    DotEnvSettingsSource,
    EnvSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from sidecar.core.addresses import masked_address
from sidecar.core.generations import DEFAULT_GENERATION, OLDEST_VERSION, generation_of
from sidecar.settings.files import FileSource
from sidecar.settings.kinds import (
    BaseUrlMap,
    Bytes,
    LengthMap,
    LowerCase,
    Names,
    PrecisionMap,
    Seconds,
    TextMap,
    Urls,
    is_loopback,
)

PREFIX = "SIDECAR_"
MASK = "********"


AUTO = "auto"
"""The generation that the configured cluster speaks."""


def _known_generation(name: str) -> str:
    if name.strip().lower() == AUTO:
        return AUTO
    generation = generation_of(name)
    if generation is None:
        raise ValueError(f"a version of Elasticsearch from {OLDEST_VERSION} on, or auto")
    return generation.name


class Settings(BaseSettings):
    """Effective settings; read them with :func:`sidecar.settings.load_settings`.

    Order of precedence: arguments (flags of the command line), environment, ``.env``, file, defaults.
    """

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        env_file=".env",
        env_file_encoding="utf-8",
        env_ignore_empty=True,
        extra="ignore",
        frozen=True,
        validate_default=True,
        hide_input_in_errors=True,
    )

    config_file: Path | None = Field(None, description="File of settings, TOML or YAML, with the names below.")

    # --- server
    host: str = Field("127.0.0.1", description="Address to listen on; 0.0.0.0 for all interfaces.")
    port: int = Field(9800, ge=0, le=65535, description="Port to listen on; 0 takes a free one.")
    data_dir: Path = Field(
        Path("~/.local/share/inference-sidecar"),
        description="Directory of the endpoint store, its local copy and the generated secret key.",
    )
    api_generation: Annotated[str, AfterValidator(_known_generation)] = Field(
        DEFAULT_GENERATION.name,
        description="Version of Elasticsearch whose Inference API to speak, from 8.11 on; auto: that of the cluster.",
    )
    # Elasticsearch's http.max_content_length.
    max_body_size: Bytes = Field(100 * 2**20, ge=1, description="Largest request body taken; larger ones get 413.")
    # Bodies are in memory two or three times while they are read.
    max_bodies_size: Bytes = Field(
        200 * 2**20, ge=1, description="Request bodies in memory at once, decompressed; more get 429."
    )
    body_timeout: Seconds = Field(
        30.0, gt=0, description="Time for a request body to arrive, and 1 s more for each 1,000 bytes of it; then 408."
    )
    # Above the usual 60 s of load balancers, which would send a request into a connection that is being closed.
    idle_timeout: Seconds = Field(
        75.0, gt=0, description="Time after which a caller's connection without a whole request header is closed."
    )
    write_timeout: Seconds = Field(
        60.0, gt=0, description="Time after which the connection of a caller that does not read its answer is closed."
    )
    # Below the 30 s that Kubernetes leaves between SIGTERM and SIGKILL.
    shutdown_timeout: Seconds = Field(25.0, ge=0, description="Time for requests in flight to finish at shutdown.")

    # --- logs
    log_format: Annotated[Literal["auto", "json", "console"], LowerCase] = Field(
        "auto", description="Form of the log: json, console, or auto (console on a terminal, else json)."
    )
    log_level: Annotated[Literal["debug", "info", "warning", "error"], LowerCase] = Field(
        "info", description="Least level that is logged: debug, info, warning or error."
    )

    # --- Elasticsearch
    elasticsearch_url: Urls | None = Field(
        None, description="Elasticsearch that keeps the endpoints, several addresses by commas; unset: a SQLite file."
    )
    elasticsearch_api_key: SecretStr | None = Field(None, description="API key for Elasticsearch, encoded form.")
    elasticsearch_username: str | None = Field(None, description="User for Elasticsearch.")
    elasticsearch_password: SecretStr | None = Field(None, description="Password of that user.")
    elasticsearch_ca_certs: Path | None = Field(None, description="CA file that signed Elasticsearch's certificate.")
    elasticsearch_verify_certs: bool = Field(True, description="Whether Elasticsearch's certificate is checked.")
    elasticsearch_timeout: Seconds = Field(30.0, gt=0, description="Time for one call to Elasticsearch.")
    front: bool = Field(
        False,
        description="Stand in front of the cluster: what is not the sidecar's is forwarded to it; needs"
        " SIDECAR_ELASTICSEARCH_URL.",
    )
    # Replicas must see each other's endpoints within seconds; a poll is one search of ids and sequence numbers.
    registry_poll_interval: Seconds = Field(
        1.0, ge=0.05, description="How often changes made by other replicas are looked for."
    )

    # Off where several sidecars serve the same callers: a rollout must not put one that knows no endpoints in the
    # place of one that does.
    ready_without_endpoints: bool = Field(
        False,
        description="Whether a sidecar that starts while Elasticsearch is away, without a local copy of the endpoints,"
        " is ready with its built-in models.",
    )

    # --- secrets of endpoints
    secret_key: SecretStr | None = Field(
        None,
        description="Key that encrypts the endpoints' secrets (sidecar secrets new-key); several by commas: the first"
        " encrypts, all decrypt; unset: a key file in the data directory.",
    )
    allow_unreadable_secrets: bool = Field(
        False, description="Start although some stored secrets were encrypted with a key that is lost."
    )

    # --- local models
    models_dir: Path | None = Field(
        None, description="Directory of further local models; unset: models in the data directory."
    )
    model_aliases: TextMap = Field(
        {}, description="JSON object from model id to the name or directory of the local model that answers."
    )
    model_precision: PrecisionMap = Field(
        {}, description="exact, int8, or a JSON object from model name to one of them; unset: the model's own default."
    )
    model_dimensions: LengthMap = Field(
        {}, description="JSON object from model name to the length to which its vectors are cut (Matryoshka models)."
    )
    model_threads: int = Field(1, ge=1, le=1024, description="Threads of one worker of a model without a deployment.")
    preload_models: Names = Field((), description="Models loaded before the sidecar is ready, by commas.")
    # More than any client's own batch (OpenAI's limit is 2,048); beyond it answers would take minutes to make.
    call_items: int = Field(4096, ge=1, description="Texts of one call to a local model; more get 413.")
    queue_items: int = Field(
        8192, ge=1, description="Texts that may wait per model, for ingestion and for searches each; more get 429."
    )
    # 400,000 tokens are 15 to 80 seconds of work on two cores, longer than callers wait.
    queue_tokens: int = Field(
        400_000, ge=1, description="Tokens that may wait per model, for ingestion and for searches each; more get 429."
    )
    batch_tokens: int = Field(512, ge=1, description="Tokens of one batch, padding included.")

    # --- embeddings made before
    # 64 MiB hold some 40,000 vectors of 384 dimensions.
    cache_size: Bytes = Field(
        64 * 2**20, ge=0, description="Memory for embeddings made before, to answer equal texts again; 0 keeps none."
    )
    cache_disk_size: Bytes = Field(
        0,
        ge=0,
        description="Size of a file of embeddings in the data directory, shared by service and commands; 0: no file.",
    )

    # --- clients of OpenAI's and Cohere's forms
    model_names: TextMap = Field(
        {}, description="JSON object from model names that clients use to the inference ids that answer."
    )

    # --- model providers; delays and queue as in Elasticsearch's xpack.inference.http settings
    retry_initial_delay: Seconds = Field(1.0, ge=0, description="First delay between attempts at a provider.")
    retry_max_delay: Seconds = Field(5.0, ge=0, description="Longest delay between attempts at a provider.")
    retry_timeout: Seconds = Field(30.0, ge=0, description="Time after which a failing call is not attempted again.")
    # Per host, so that a provider that hangs takes none from the others.
    max_connections: int = Field(100, ge=1, description="Connections to one host of a provider open at once.")
    # Providers of reasoning models are silent for a minute or two.
    stream_idle_timeout: Seconds = Field(
        120.0, gt=0, description="Longest silence of a provider within a stream; then the stream ends with an error."
    )
    upstream_queue_capacity: int = Field(
        2000, ge=0, description="Calls that may wait per rate-limit group; 0 for no limit."
    )
    max_response_size: Bytes = Field(100 * 2**20, ge=1, description="Largest answer of a provider that is read.")
    upstream_overrides: BaseUrlMap = Field(
        {},
        description="JSON object from host, host pattern or * to a base URL that replaces scheme, host and port of"
        " calls to providers; for tests, and refused unless SIDECAR_HOST is a loopback address.",
    )

    @field_validator("elasticsearch_api_key", "elasticsearch_password", "elasticsearch_username", mode="after")
    @classmethod
    def _one_line(cls, value: SecretStr | str | None) -> SecretStr | str | None:
        """Without the line end that files and ``$(cat ...)`` leave; an HTTP header can hold no other."""
        if value is None:
            return None
        text = value.get_secret_value() if isinstance(value, SecretStr) else value
        text = text.rstrip("\r\n")
        if any(unicodedata.category(character) == "Cc" for character in text):
            raise ValueError("one line without control characters")
        return SecretStr(text) if isinstance(value, SecretStr) else text

    @model_validator(mode="after")
    def _fit_together(self) -> Settings:
        if self.upstream_overrides and not is_loopback(self.host):
            raise ValueError(
                f"SIDECAR_UPSTREAM_OVERRIDES redirects calls that carry secrets and is refused while SIDECAR_HOST is"
                f" {self.host}: unset it or listen on 127.0.0.1"
            )
        if self.elasticsearch_api_key is not None and self.elasticsearch_username is not None:
            raise ValueError("Set either SIDECAR_ELASTICSEARCH_API_KEY or SIDECAR_ELASTICSEARCH_USERNAME, not both")
        if self.front and self.elasticsearch_url is None:
            raise ValueError("SIDECAR_FRONT needs a cluster to stand in front of: set SIDECAR_ELASTICSEARCH_URL")
        if (self.elasticsearch_username is None) != (self.elasticsearch_password is None):
            raise ValueError("Set SIDECAR_ELASTICSEARCH_USERNAME and SIDECAR_ELASTICSEARCH_PASSWORD together")
        if self.elasticsearch_ca_certs is not None and not self.elasticsearch_ca_certs.expanduser().is_file():
            raise ValueError(f"SIDECAR_ELASTICSEARCH_CA_CERTS: there is no file {self.elasticsearch_ca_certs}")
        if self.max_bodies_size < self.max_body_size:
            raise ValueError("SIDECAR_MAX_BODIES_SIZE must not be below SIDECAR_MAX_BODY_SIZE")
        if self.retry_max_delay < self.retry_initial_delay:
            raise ValueError("SIDECAR_RETRY_MAX_DELAY must not be below SIDECAR_RETRY_INITIAL_DELAY")
        return self

    @property
    def data_path(self) -> Path:
        """The data directory with ``~`` resolved; not created here."""
        return self.data_dir.expanduser()

    @property
    def models_path(self) -> Path:
        """Where further local models lie; need not exist."""
        return self.models_dir.expanduser() if self.models_dir else self.data_path / "models"

    @property
    def elasticsearch_urls(self) -> list[str]:
        """The configured addresses, none when endpoints live in SQLite."""
        return self.elasticsearch_url.split(",") if self.elasticsearch_url else []

    def effective(self) -> dict[str, Any]:
        """Every setting by variable name, as plain JSON values in the form a variable takes, secrets masked."""
        plain = self.model_dump(mode="json")
        for name in type(self).model_fields:
            if isinstance(getattr(self, name), SecretStr):
                plain[name] = MASK
            elif isinstance(plain[name], dict):
                plain[name] = {key: masked_address(value) for key, value in plain[name].items()}
        return {f"{PREFIX}{name.upper()}": value for name, value in plain.items()}

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Flags, environment, ``.env``, then the file that one of these names."""
        named = init_settings().get("config_file")
        for source in (env_settings, dotenv_settings):
            if named is None and isinstance(source, (EnvSettingsSource, DotEnvSettingsSource)):
                named = source.env_vars.get(f"{PREFIX}config_file".lower()) or None
        file = FileSource(settings_cls, Path(str(named)).expanduser() if named else None)
        return init_settings, env_settings, dotenv_settings, file
