"""What the runtime is told: where models are, how much may wait, how many threads may work."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path


class Lane(enum.Enum):
    """Which of the two waiting lines a call stands in; ``SEARCH`` (queries, reranking) overtakes ``INGEST``."""

    SEARCH = "search"
    INGEST = "ingest"


class Precision(enum.StrEnum):
    """How a model computes.

    ``exact`` takes the fp32 graph where there is one and computes a sparse encoder's vocabulary head exactly;
    ``int8`` takes a quantised graph where there is one and computes that head in 8-bit integers. The other two are
    never asked for: they say what was found where a directory has nothing else.
    """

    EXACT = "exact"
    INT8 = "int8"
    FP16 = "fp16"
    INT4 = "int4"


@dataclass(frozen=True, slots=True)
class AdaptiveAllocations:
    """Bounds between which the number of workers follows the queue; ``minimum`` 0 unloads an idle model."""

    minimum: int = 0
    maximum: int = 32


@dataclass(frozen=True, slots=True)
class Allocation:
    """How much of the machine a deployment gets.

    ``num_allocations`` workers run batches side by side, each with ``num_threads`` threads. ``adaptive`` replaces
    the fixed number of workers. However many are asked for, all together get no more than the machine's cores.
    Source: Elasticsearch API reference, "Create an Elasticsearch inference endpoint".
    """

    num_allocations: int = 1
    num_threads: int = 1
    adaptive: AdaptiveAllocations | None = None

    def __post_init__(self) -> None:
        if self.num_allocations < 1 or self.num_threads < 1:
            raise ValueError("num_allocations and num_threads must be positive")
        if self.adaptive is not None and not 0 <= self.adaptive.minimum <= max(1, self.adaptive.maximum):
            raise ValueError("adaptive allocations need 0 <= minimum <= maximum")

    @property
    def minimum(self) -> int:
        """Workers that are always there."""
        return self.num_allocations if self.adaptive is None else self.adaptive.minimum

    @property
    def maximum(self) -> int:
        """Workers that may be there under load."""
        return self.num_allocations if self.adaptive is None else max(1, self.adaptive.maximum)


@dataclass(frozen=True, slots=True)
class RuntimeConfig:
    """Everything the runtime needs to know; it reads no environment and no file of settings itself.

    Sizes: a text of 200 words is about 270 tokens, and two AVX2 cores run 5,000 to 25,000 tokens a second. So
    ``queue_tokens`` of 400,000 is 15 to 80 seconds of work, about as long as any caller waits; more would only
    keep callers from learning that they should go elsewhere.
    """

    models_dir: Path | None = None
    """Directory of further model directories, each named ``NAME`` or ``ORG/NAME``."""
    aliases: Mapping[str, str] = field(default_factory=dict)
    """Model id to model name or path; comes before the built-in map (see ``catalog.ALIASES``)."""
    allow_paths: bool = True
    """Whether a model id may be an absolute path. Targets of ``aliases`` may always be paths."""
    precision: Mapping[str, Precision] = field(default_factory=dict)
    """Precision by model name; names are case-insensitive, ``*`` stands for all others."""
    dimensions: Mapping[str, int] = field(default_factory=dict)
    """Length to which a model's vectors are cut, by model name (case-insensitive), for models trained for it."""
    call_items: int = 4096
    """Texts of one call before it is refused with 413."""
    queue_items: int = 8192
    """Texts that may wait per model and lane before calls are refused with 429."""
    queue_tokens: int = 400_000
    """Tokens that may wait per model and lane before calls are refused with 429."""
    batch_tokens: int = 512
    """Tokens of one batch, padding included. Larger ones fall out of a core's cache and keep searches waiting."""
    batch_items: int = 64
    """Texts of one batch."""
    default_allocation: Allocation = field(default_factory=lambda: Allocation(adaptive=AdaptiveAllocations(0, 32)))
    """Allocation of a model used by name, without a deployment."""
    idle_seconds: float = 60.0
    """After this time without work an adaptive worker ends; with the last one a model with minimum 0 is unloaded."""
    cpus: int | None = None
    """Cores that models may fill; default: those this process may use (affinity and cgroup quota)."""

    def precision_of(self, name: str) -> Precision | None:
        """The precision set for a model, ``None`` when the model's own default applies."""
        by_name = {key.lower(): value for key, value in self.precision.items()}
        return by_name.get(name.lower(), by_name.get("*"))

    def dimensions_of(self, name: str) -> int | None:
        """The length set for a model's vectors, ``None`` when the model's own applies."""
        return {key.lower(): value for key, value in self.dimensions.items()}.get(name.lower())
