"""The texts of a request into vectors: each different text once per endpoint, calls side by side, failures alone."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import structlog

from sidecar.core.errors import SidecarError, StatusError
from sidecar.core.results import SparseEmbeddings
from sidecar.elastic.version import ServerVersion
from sidecar.inference.embedder import Embedder, EndpointChangedError, EndpointProfile, embed_as_planned
from sidecar.ingest.embedding import cut_into_calls, texts_per_call
from sidecar.ingest.vector import UnusableVectorError, dense_values, sparse_values

_log = structlog.stdlib.get_logger(__name__)

# Statuses that one text may be to blame for: the others of its call are asked for without it.
_OF_THE_TEXT = frozenset({400, 413, 422})
# Refusals in a row after which an endpoint is taken to refuse everything.
_MOST_REFUSALS = 8

Made = Any
"""A vector as it is stored, or the ``SidecarError`` that stands in its place."""


@dataclass(slots=True)
class Vectors:
    """What became of texts, per endpoint, and when; ``truncated`` holds those that the endpoint said it cut."""

    made: dict[str, dict[str, Made]] = field(default_factory=dict)
    truncated: set[tuple[str, str]] = field(default_factory=set)
    at: datetime = field(default_factory=lambda: datetime.now(UTC))

    def add(self, other: Vectors) -> None:
        """Takes over what another request made."""
        for inference_id, made in other.made.items():
            self.made.setdefault(inference_id, {}).update(made)
        self.truncated |= other.truncated
        self.at = other.at

    def is_cut(self, inference_id: str, text: str) -> bool:
        """Whether the endpoint said that it did not read the text to its end."""
        return (inference_id, text) in self.truncated

    def of(self, inference_id: str, text: str) -> Made:
        """The vector of a text or its error."""
        return self.made[inference_id][text]


class RequestEmbedder:
    """Embeds for one request; what it has made once it knows."""

    def __init__(self, embedder: Embedder, version: ServerVersion) -> None:
        self._embedder = embedder
        self._version = version

    async def embed(self, wanted: Mapping[str, tuple[EndpointProfile, Sequence[str]]]) -> Vectors:
        """``wanted`` holds per inference id the endpoint and the texts it is to embed, in any number."""
        vectors = Vectors()
        calls = []
        for inference_id, (profile, texts) in wanted.items():
            known = vectors.made.setdefault(inference_id, {})
            different = list(dict.fromkeys(texts))
            refusals = _Refusals()
            calls += [
                self._fill(profile, call, known, vectors, refusals)
                for call in cut_into_calls(different, texts_per_call(profile))
            ]
        await asyncio.gather(*calls)
        vectors.at = datetime.now(UTC)
        return vectors

    async def _fill(
        self,
        profile: EndpointProfile,
        texts: Sequence[str],
        known: dict[str, Made],
        vectors: Vectors,
        refusals: _Refusals,
    ) -> None:
        try:
            answer = await embed_as_planned(self._embedder, profile, texts)
            items: Sequence[Any] = answer.items if isinstance(answer, SparseEmbeddings) else answer.vectors
            if len(items) != len(texts):
                raise StatusError(
                    f"endpoint [{profile.inference_id}] answered [{len(items)}] embeddings for [{len(texts)}] texts",
                    status=500,
                )
        except SidecarError as error:
            refusals.count += 1
            is_hopeless = error.status not in _OF_THE_TEXT and refusals.count > _MOST_REFUSALS
            is_of_the_endpoint = error.status in (401, 403, 404) or isinstance(error, EndpointChangedError)
            if len(texts) == 1 or is_hopeless or is_of_the_endpoint:
                _log.warning(
                    "inference_failed", inference_id=profile.inference_id, texts=len(texts), cause=error.reason
                )
                known.update(dict.fromkeys(texts, error))
                return
            middle = len(texts) // 2
            await self._fill(profile, texts[:middle], known, vectors, refusals)
            await self._fill(profile, texts[middle:], known, vectors, refusals)
            return
        refusals.count = 0
        known.update(zip(texts, self._values(profile, items), strict=True))
        vectors.truncated.update((profile.inference_id, texts[position]) for position in answer.truncated)

    def _values(self, profile: EndpointProfile, items: Sequence[Any]) -> list[Made]:
        made = sparse_values(items, self._version) if profile.is_sparse else dense_values(items, profile)
        return [
            StatusError(f"endpoint [{profile.inference_id}]: {value}", status=500)
            if isinstance(value, UnusableVectorError)
            else value
            for value in made
        ]


@dataclass(slots=True)
class _Refusals:
    """How many calls in a row an endpoint refused."""

    count: int = 0


def inference_failure(inference_id: str, field_name: str, cause: SidecarError) -> SidecarError:
    """What Elasticsearch says of a document whose inference failed; the status is that of ``cause``."""
    return InferenceFailedError(
        f"Exception when running inference id [{inference_id}] on field [{field_name}]",
        status=cause.status,
        cause=cause,
    )


class InferenceFailedError(StatusError):
    """A document's text could not be embedded."""

    type = "inference_exception"
