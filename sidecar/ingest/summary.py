"""What a run did: counters for the progress bar while it runs, the table at its end."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

EXAMPLES = 5


@dataclass(slots=True)
class FailureGroup:
    """Failures of one reason: how many, and the first few documents."""

    count: int = 0
    examples: list[str] = field(default_factory=list)


@dataclass(slots=True)
class Summary:
    """Counts of documents. A document read again after a conflict counts once in ``read`` and ``written``."""

    total: int | None = None
    read: int = 0
    written: int = 0
    cleared: int = 0
    up_to_date: int = 0
    no_text: int = 0
    gone: int = 0
    conflicts: int = 0
    unsettled: int = 0
    passes: int = 0
    embedded_texts: int = 0
    truncated_texts: int = 0
    bulks: int = 0
    retried_bulks: int = 0
    seconds: float = 0.0
    interrupted: bool = False
    stopped: str | None = None
    dry_run: bool = False
    failures: dict[str, FailureGroup] = field(default_factory=dict)
    notes: Counter[str] = field(default_factory=Counter)

    @property
    def failed(self) -> int:
        return sum(group.count for group in self.failures.values())

    @property
    def settled(self) -> int:
        """Documents of the first pass about which nothing is left to do."""
        return self.written + self.up_to_date + self.no_text + self.gone + self.failed

    @property
    def ok(self) -> bool:
        """True when every document that was read is right now."""
        return not (self.failed or self.unsettled or self.stopped or self.interrupted)

    def fail(self, document: str, reason: str) -> None:
        """Records that ``document`` (its id, or a line number) failed for ``reason``."""
        group = self.failures.setdefault(reason, FailureGroup())
        group.count += 1
        if len(group.examples) < EXAMPLES:
            group.examples.append(document)
