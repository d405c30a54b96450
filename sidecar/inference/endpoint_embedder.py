"""The embedder that ingestion and search use: the endpoints of this sidecar."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

from sidecar.core.endpoint import Endpoint
from sidecar.core.errors import StatusError
from sidecar.core.requests import InferenceRequest
from sidecar.core.results import DenseEmbeddings, Ranking, SparseEmbeddings
from sidecar.core.tasks import ElementType, InputType, Similarity, TaskType
from sidecar.inference.embedder import EndpointProfile
from sidecar.inference.facade import Inference

# commands wait for their own work rather than fail; a provider's calls have their own limits
PATIENCE_SECONDS = 600.0

# settings that say how a provider is called, not what it answers
_INDIFFERENT = frozenset(
    {"rate_limit", "batch_size", "max_batch_size", "client_id", "scopes", "token_url", "tenant_id"}
)
_ELEMENT_TYPES = {
    "byte": ElementType.BYTE,
    "int8": ElementType.BYTE,
    "bit": ElementType.BIT,
    "binary": ElementType.BIT,
}


class EndpointEmbedder:
    """Asks endpoints through the facade; see :class:`sidecar.inference.embedder.Embedder`."""

    def __init__(self, inference: Inference) -> None:
        self._inference = inference

    async def profile(self, inference_id: str) -> EndpointProfile:
        """What is known of the endpoint; a local model's revision, or a digest of what decides a provider's vectors.

        Raises:
            ResourceNotFoundError: there is no such endpoint.
        """
        endpoint = await self._inference.find(inference_id)
        settings = endpoint.service_settings
        model = self._inference.local_model(endpoint)
        dimensions = model.dimensions if model else settings.get("dimensions")
        similarity = settings.get("similarity", "cosine" if model else None)
        is_dense = endpoint.task_type in (TaskType.TEXT_EMBEDDING, TaskType.EMBEDDING)
        return EndpointProfile(
            inference_id=inference_id,
            task_type=endpoint.task_type,
            revision=model.revision if model else _digest(endpoint),
            dimensions=dimensions if is_dense else None,
            similarity=Similarity(similarity) if is_dense and similarity else None,
            element_type=element_type(settings),
            chunking_settings=endpoint.chunking_settings,
            batch_size=self._inference.batch_size(endpoint),
            service=endpoint.service,
            token_counter=self._inference.token_counter(endpoint) if model else None,
        )

    async def embed(
        self, inference_id: str, texts: Sequence[str], input_type: InputType
    ) -> SparseEmbeddings | DenseEmbeddings:
        """One embedding per text, in order.

        Raises:
            SidecarError: the endpoint embeds nothing, or could not answer.
        """
        internal = InputType.INTERNAL_SEARCH if input_type.public is InputType.SEARCH else InputType.INTERNAL_INGEST
        request = InferenceRequest(
            input=tuple(texts), input_type=internal, timeout=PATIENCE_SECONDS, timeout_text=f"{PATIENCE_SECONDS:g}s"
        )
        endpoint = await self._inference.find(inference_id)
        result = (await self._inference.perform(endpoint, request)).result
        if not isinstance(result, SparseEmbeddings | DenseEmbeddings):
            raise StatusError(f"[{inference_id}] is a {endpoint.task_type} endpoint; it makes no embeddings")
        return result

    async def rerank(self, inference_id: str, query: str, texts: Sequence[str]) -> Ranking:
        """A relevance score for every text, best first.

        Raises:
            SidecarError: the endpoint ranks nothing, or could not answer.
        """
        endpoint = await self._inference.find(inference_id)
        request = InferenceRequest(input=tuple(texts), query=query, return_documents=False)
        result = (await self._inference.perform(endpoint, request)).result
        if not isinstance(result, Ranking):
            raise StatusError(f"[{inference_id}] is a {endpoint.task_type} endpoint; it ranks nothing")
        return result


def element_type(settings: Mapping[str, Any]) -> ElementType:
    """What the endpoint's vectors are made of, as services name it: ``embedding_type`` or ``element_type``."""
    name = settings.get("embedding_type") or settings.get("element_type") or "float"
    return _ELEMENT_TYPES.get(str(name), ElementType.FLOAT)


def _digest(endpoint: Endpoint) -> str:
    """Changes whenever a setting does that may change the vectors."""
    decisive = {name: value for name, value in endpoint.service_settings.items() if name not in _INDIFFERENT}
    text = json.dumps([endpoint.service, decisive, dict(endpoint.task_settings)], sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:12]
