"""The small contract by which ingest and search ask for vectors and rankings, whatever stands behind it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from sidecar.core.chunking import TokenCounter
from sidecar.core.errors import RejectedExecutionError
from sidecar.core.results import DenseEmbeddings, Ranking, SparseEmbeddings
from sidecar.core.tasks import ElementType, InputType, Similarity, TaskType


@dataclass(frozen=True, slots=True)
class EndpointProfile:
    """What a writer of vectors must know of an endpoint before the first text is embedded.

    ``revision`` changes whenever the endpoint's vectors do: another model, another size, another pooling.
    ``dimensions`` and ``similarity`` are ``None`` for sparse and rerank endpoints. ``batch_size`` is how many texts a
    call may carry to the endpoint's provider, ``None`` where a local model cuts batches itself. ``token_counter``
    counts as the model does, ``None`` where it is not here.
    """

    inference_id: str
    task_type: TaskType
    revision: str
    dimensions: int | None = None
    similarity: Similarity | None = None
    element_type: ElementType = ElementType.FLOAT
    chunking_settings: Mapping[str, Any] | None = None
    batch_size: int | None = None
    service: str = ""
    token_counter: TokenCounter | None = field(default=None, compare=False)

    @property
    def is_sparse(self) -> bool:
        return self.task_type is TaskType.SPARSE_EMBEDDING

    @property
    def model(self) -> str:
        """The marker's form of the model: endpoint id, ``@``, revision."""
        return f"{self.inference_id}@{self.revision}"


class QueryEmbedder(Protocol):
    """Embeds and ranks by inference id: all that a search needs."""

    async def embed(
        self, inference_id: str, texts: Sequence[str], input_type: InputType
    ) -> SparseEmbeddings | DenseEmbeddings:
        """One embedding per text, in order."""
        ...

    async def rerank(self, inference_id: str, query: str, texts: Sequence[str]) -> Ranking:
        """A relevance score for every text, best first; ``index`` is the text's position."""
        ...


class Embedder(QueryEmbedder, Protocol):
    """Embeds and ranks by inference id, and knows the endpoints; raises the errors of ``sidecar.core.errors``."""

    async def profile(self, inference_id: str) -> EndpointProfile:
        """What is known of the endpoint; ``ResourceNotFoundError`` when there is none of that id."""
        ...


class EndpointChangedError(RejectedExecutionError):
    """An endpoint is another one by now than what was planned with; clients send what it befell again by themselves."""

    def __init__(self, inference_id: str) -> None:
        super().__init__(f"Inference endpoint [{inference_id}] was changed while texts were on their way to it")


async def embed_as_planned(
    embedder: Embedder, profile: EndpointProfile, texts: Sequence[str]
) -> SparseEmbeddings | DenseEmbeddings:
    """One embedding per text to be stored, of the endpoint that ``profile`` is of.

    Nothing is awaited between the look and the call, which goes to the endpoint that is there then.

    Raises:
        EndpointChangedError: of its id there is another model now, whose vectors would be taken for those of the first.
        SidecarError: it is not there any more, or could not answer.
    """
    found = await embedder.profile(profile.inference_id)
    if (found.model, found.task_type) != (profile.model, profile.task_type):
        raise EndpointChangedError(profile.inference_id)
    return await embedder.embed(profile.inference_id, texts, InputType.INGEST)
