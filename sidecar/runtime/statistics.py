"""What the runtime tells about its work; telemetry reads it, the runtime exports nothing itself."""

from __future__ import annotations

from dataclasses import dataclass, field
from threading import Lock

from sidecar.runtime.config import Lane


@dataclass(frozen=True, slots=True)
class BatchReport:
    """One batch that ran; ``queue_seconds`` is the longest wait of its texts, ``padded_tokens`` what was computed."""

    model: str
    lane: Lane
    items: int
    unique_items: int
    tokens: int
    padded_tokens: int
    queue_seconds: float
    run_seconds: float


@dataclass(slots=True)
class Counters:
    """Sums since the model was first used."""

    batches: int = 0
    items: int = 0
    tokens: int = 0
    padded_tokens: int = 0
    queue_seconds: float = 0.0
    run_seconds: float = 0.0
    tokenise_seconds: float = 0.0
    truncated: int = 0
    failures: int = 0
    _lock: Lock = field(default_factory=Lock)

    def ran(self, report: BatchReport) -> None:
        with self._lock:
            self.batches += 1
            self.items += report.items
            self.tokens += report.tokens
            self.padded_tokens += report.padded_tokens
            self.queue_seconds += report.queue_seconds
            self.run_seconds += report.run_seconds

    def tokenised(self, seconds: float, truncated: int) -> None:
        with self._lock:
            self.tokenise_seconds += seconds
            self.truncated += truncated

    def failed(self) -> None:
        with self._lock:
            self.failures += 1


@dataclass(frozen=True, slots=True)
class ModelStatistics:
    """State and sums of one model at work."""

    model: str
    deployments: tuple[str, ...]
    threads: int
    workers: int
    is_loaded: bool
    queued_items: int
    queued_tokens: int
    refused: int
    dropped: int
    batches: int
    items: int
    tokens: int
    padded_tokens: int
    queue_seconds: float
    run_seconds: float
    tokenise_seconds: float
    truncated: int
    failures: int
