"""What every backend answers, whatever its provider: embeddings, rankings, completions, stream chunks.

Only the ``api`` room knows how these look on the wire, per API generation.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from sidecar.core.tasks import ElementType

Vector: TypeAlias = Sequence[float] | npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class SparseEmbedding:
    """Token weights of one input: finite and positive, heaviest first on the wire."""

    tokens: dict[str, float]
    is_truncated: bool = False


@dataclass(frozen=True, slots=True)
class SparseEmbeddings:
    items: tuple[SparseEmbedding, ...]

    @property
    def truncated(self) -> tuple[int, ...]:
        """Positions of the inputs that were longer than the model reads."""
        return tuple(index for index, item in enumerate(self.items) if item.is_truncated)


@dataclass(frozen=True, slots=True)
class DenseEmbeddings:
    """One vector per input. ``byte`` values are integers -128..127; ``bit`` vectors hold eight dimensions a byte.

    ``is_truncated`` says of each input whether it was longer than the model reads; empty where that is not known.
    """

    vectors: tuple[Vector, ...]
    element_type: ElementType = ElementType.FLOAT
    is_truncated: tuple[bool, ...] = ()

    @property
    def truncated(self) -> tuple[int, ...]:
        """Positions of the inputs that were longer than the model reads."""
        return tuple(index for index, is_cut in enumerate(self.is_truncated) if is_cut)

    @property
    def dimensions(self) -> int | None:
        """Dimensions of the first vector, ``None`` when there is none."""
        if not self.vectors:
            return None
        return len(self.vectors[0]) * (8 if self.element_type is ElementType.BIT else 1)


@dataclass(frozen=True, slots=True)
class RankedDocument:
    """``index`` is the 0-based position in the request's input; ``text`` only when documents are returned."""

    index: int
    relevance_score: float
    text: str | None = None


@dataclass(frozen=True, slots=True)
class Ranking:
    """Documents, best first. ``truncated`` are the positions, in the request, of those that were cut when read."""

    documents: tuple[RankedDocument, ...]
    truncated: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Completion:
    results: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class CompletionDelta:
    """Pieces of text that arrived together; one event of a streamed completion."""

    deltas: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ChatChunk:
    """One chunk of a streamed chat completion, in OpenAI's form with null fields left out."""

    body: dict[str, Any]


@dataclass(frozen=True, slots=True)
class StreamStart:
    """The response headers that a service hands through; comes before a stream's first item, if it comes at all."""

    headers: dict[str, str]


@dataclass(frozen=True, slots=True)
class Answer:
    """A result with the response headers a service hands through (Amazon SageMaker's session headers)."""

    result: Result
    headers: dict[str, str] = field(default_factory=dict)


Result: TypeAlias = SparseEmbeddings | DenseEmbeddings | Ranking | Completion
StreamItem: TypeAlias = CompletionDelta | ChatChunk | Completion | StreamStart
