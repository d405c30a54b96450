"""What a run did: counters for the progress bar while it runs, the table at its end."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from sidecar.elastic.source import well_formed
from sidecar.ingest.document import Verdict

EXAMPLES = 5
MOST_KINDS = 50
OTHER_KINDS = "other reasons"

_OF_ONE_DOCUMENT = re.compile(
    r"""
    \[\d+:\d+\]\s                                                     # line and column
    | \sin\ document\ with\ id\ '.*?'(?=[.\s)]|$)
    | [.]?\ Preview\ of\ [^:]*:\ (?:'.*?'(?=[.;)]|\s\(|$)|\[[^\]]*\])
    """,
    re.DOTALL | re.VERBOSE,
)
_QUOTED = re.compile(r'"[^"]*"')
_NUMBERS = re.compile(r"[0-9a-fA-F]{8,}(?:-[0-9a-fA-F]{4,})*|\d+(?:\.\d+)?(?:[eE][-+]?\d+)?")


def kind_of_failure(reason: str) -> str:
    """A reason without what only one document can say of itself: its id, the place in it, a preview of its value."""
    return _QUOTED.sub('"..."', _OF_ONE_DOCUMENT.sub("", reason))


@dataclass(frozen=True, slots=True)
class FailedDocument:
    """One line of the list of failures."""

    document: str
    index: str | None
    reason: str
    for_good: bool


@dataclass(slots=True)
class FailureGroup:
    """Failures of one kind: how many, how many of them for good, and the first few documents."""

    count: int = 0
    for_good: int = 0
    examples: list[str] = field(default_factory=list)


@dataclass(slots=True)
class Summary:
    """Counts of documents. A document read again after a conflict counts once in ``read`` and ``written``.

    ``withheld`` would lose their vectors because their text is gone, and wait for a word. ``known_texts`` of the
    embedded ones came out of the cache. ``listed`` is told every failure as it happens.
    """

    total: int | None = None
    read: int = 0
    written: int = 0
    cleared: int = 0
    withheld: int = 0
    up_to_date: int = 0
    no_text: int = 0
    own: int = 0
    kept: int = 0
    failed_before: int = 0
    repeated: int = 0
    gone: int = 0
    conflicts: int = 0
    unsettled: int = 0
    passes: int = 0
    embedded_texts: int = 0
    truncated_texts: int = 0
    known_texts: int = 0
    saved_tokens: int = 0
    bulks: int = 0
    retried_bulks: int = 0
    seconds: float = 0.0
    interrupted: bool = False
    stopped: str | None = None
    dry_run: bool = False
    failures: dict[str, FailureGroup] = field(default_factory=dict)
    notes: Counter[str] = field(default_factory=Counter)
    listed: Callable[[FailedDocument], None] | None = None
    _kinds: dict[str, str] = field(default_factory=dict)

    @property
    def failed(self) -> int:
        return sum(group.count for group in self.failures.values())

    @property
    def failed_for_good(self) -> int:
        """Failures that the same run would only repeat, those of earlier runs included."""
        return self.failed_before + sum(group.for_good for group in self.failures.values())

    @property
    def settled(self) -> int:
        """Documents of the first pass about which nothing is left to do."""
        skipped = self.up_to_date + self.no_text + self.own + self.kept + self.failed_before + self.repeated
        skipped += self.withheld
        return self.written + skipped + self.gone + self.failed

    @property
    def ok(self) -> bool:
        """True when every document that was read is right now."""
        left = self.failed or self.failed_before or self.own or self.kept or self.unsettled or self.withheld
        return not (left or self.stopped or self.interrupted)

    @property
    def has_begun(self) -> bool:
        """False for a run that was stopped before its first document: there is nothing to count."""
        return not self.stopped or bool(self.read or self.settled)

    @property
    def commonest_failure(self) -> str:
        """The kind of most failures, in words."""
        return max(self.failures.items(), key=lambda item: item[1].count, default=("", None))[0]

    def skip(self, verdict: Verdict) -> None:
        """Counts a document that needs or gets nothing."""
        match verdict:
            case Verdict.UP_TO_DATE:
                self.up_to_date += 1
            case Verdict.OWN:
                self.own += 1
            case Verdict.KEPT:
                self.kept += 1
            case Verdict.FAILED_BEFORE:
                self.failed_before += 1
            case Verdict.CLEAR:
                pass  # withheld, and counted there
            case _:
                self.no_text += 1

    def fail(self, document: str, reason: str, *, index: str | None = None, for_good: bool = False) -> None:
        """Records that ``document`` (its id, or a line number) failed for ``reason``.

        Failures are kept by their kind, at most :data:`MOST_KINDS` of them, with a few documents each.
        """
        document, reason = well_formed(document), well_formed(reason)
        kind = kind_of_failure(reason)
        alike = _NUMBERS.sub("#", kind)
        if alike not in self._kinds and len(self._kinds) < MOST_KINDS:
            self._kinds[alike] = kind
        group = self.failures.setdefault(self._kinds.get(alike, OTHER_KINDS), FailureGroup())
        group.count += 1
        group.for_good += for_good
        if len(group.examples) < EXAMPLES:
            group.examples.append(document)
        if self.listed is not None:
            self.listed(FailedDocument(document, index, reason, for_good))
