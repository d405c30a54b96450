"""Elasticsearch's own inference endpoints that point at the sidecar: what to put, and which ones are there.

One sidecar endpoint for embeddings becomes two of Elasticsearch's, since its requests do not say why it calls: one for
documents, and one for questions (``-search``), to be named as ``search_inference_id``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from elasticsearch import AsyncElasticsearch, NotFoundError

from sidecar.core.tasks import TaskType
from sidecar.elastic.version import ServerVersion

PREFIX = "sidecar-"
SEARCH = "-search"
_LANES = (("ingest", ""), ("search", SEARCH))
_DENSE = (TaskType.TEXT_EMBEDDING, TaskType.EMBEDDING)
# Elasticsearch's own limit is 3,000 a minute: the sidecar has a queue, and says when it is full.
_RATE_LIMIT = {"requests_per_minute": 60_000}


@dataclass(frozen=True, slots=True)
class Source:
    """An endpoint of the sidecar; ``dimensions`` and ``similarity`` of dense ones only."""

    inference_id: str
    task_type: TaskType
    dimensions: int | None = None
    similarity: str | None = None


@dataclass(frozen=True, slots=True)
class OutwardEndpoint:
    """An endpoint of Elasticsearch to be: ``PUT _inference/{task_type}/{inference_id}`` with ``body``."""

    inference_id: str
    task_type: TaskType
    body: Mapping[str, Any]

    @property
    def url(self) -> str:
        return str(self.body["service_settings"]["url"])

    @property
    def request(self) -> str:
        """The request as it is sent."""
        return f"PUT /_inference/{self.task_type}/{self.inference_id}\n{json.dumps(self.body, indent=2)}"


def outward_name(inference_id: str, prefix: str = PREFIX) -> str:
    """``sidecar-elser-2-elasticsearch`` for ``.elser-2-elasticsearch``."""
    return prefix + inference_id.lstrip(".")


def outward_endpoints(
    source: Source, url: str, version: ServerVersion, prefix: str = PREFIX
) -> tuple[OutwardEndpoint, ...]:
    """What Elasticsearch needs to use ``source`` of the sidecar at ``url``; none for tasks it cannot use so."""
    name = outward_name(source.inference_id, prefix)
    base = url.rstrip("/")
    if source.task_type is TaskType.RERANK:
        return (OutwardEndpoint(name, TaskType.RERANK, _rerank(source, base, version)),)
    if source.task_type is TaskType.SPARSE_EMBEDDING:
        path = f"{base}/compat/hf/{source.inference_id}/sparse"
        return tuple(
            OutwardEndpoint(name + end, TaskType.SPARSE_EMBEDDING, _hugging_face(f"{path}/{lane}"))
            for lane, end in _LANES
        )
    if source.task_type in _DENSE:
        return tuple(
            OutwardEndpoint(name + end, TaskType.TEXT_EMBEDDING, _dense(source, base, version, lane))
            for lane, end in _LANES
        )
    return ()


def field_mapping(source: Source, prefix: str = PREFIX) -> dict[str, Any]:
    """The ``semantic_text`` field that uses both endpoints of an embedding."""
    name = outward_name(source.inference_id, prefix)
    return {"type": "semantic_text", "inference_id": name, "search_inference_id": name + SEARCH}


async def existing(client: AsyncElasticsearch, inference_id: str) -> Mapping[str, Any] | None:
    """The cluster's endpoint of that id."""
    try:
        found = (await client.inference.get(inference_id=inference_id)).body["endpoints"]
    except NotFoundError:
        return None
    return found[0] if found else None


async def pointing_at(client: AsyncElasticsearch, url: str, prefix: str = PREFIX) -> list[Mapping[str, Any]]:
    """The cluster's endpoints whose ``url`` is below ``url`` and whose id begins with ``prefix``."""
    base = url.rstrip("/") + "/"
    endpoints = (await client.inference.get()).body["endpoints"]
    return [e for e in endpoints if e["inference_id"].startswith(prefix) and address(e).startswith(base)]


def address(endpoint: Mapping[str, Any]) -> str:
    """Where an endpoint of the cluster sends its requests; empty for services of a fixed address."""
    return str((endpoint.get("service_settings") or {}).get("url") or "")


def _has_custom(version: ServerVersion) -> bool:
    return version.since((8, 19), (9, 1))


def _hugging_face(url: str) -> dict[str, Any]:
    settings = {"api_key": "any", "url": url, "rate_limit": _RATE_LIMIT}
    return {"service": "hugging_face", "service_settings": settings}


def _custom(url: str, request: str, parser: Mapping[str, str], **more: Any) -> dict[str, Any]:
    settings = {"secret_parameters": {"api_key": "any"}, "url": url, "request": request}
    settings |= {"response": {"json_parser": dict(parser)}, "rate_limit": _RATE_LIMIT}
    return {"service": "custom", "service_settings": settings | more}


def _dense(source: Source, base: str, version: ServerVersion, lane: str) -> dict[str, Any]:
    if not _has_custom(version) or source.task_type is not TaskType.TEXT_EMBEDDING:
        return _hugging_face(f"{base}/compat/hf/{source.inference_id}/embed/{lane}")
    shape = {"similarity": source.similarity or "cosine"}
    return _custom(
        f"{base}/_inference/{source.task_type}/{source.inference_id}",
        f'{{"input": ${{input}}, "input_type": "{lane}"}}',
        {"text_embeddings": "$.text_embedding[*].embedding[*]"},
        **(shape if source.dimensions is None else shape | {"dimensions": source.dimensions}),
    )


def _rerank(source: Source, base: str, version: ServerVersion) -> dict[str, Any]:
    if not _has_custom(version):
        url = f"{base}/compat/cohere/{source.inference_id}/rerank"
        settings = {"api_key": "any", "url": url, "model_id": source.inference_id}
        return {"service": "cohere", "service_settings": settings}
    return _custom(
        f"{base}/_inference/rerank/{source.inference_id}",
        '{"query": ${query}, "input": ${input}}',
        {"reranked_index": "$.rerank[*].index", "relevance_score": "$.rerank[*].relevance_score"},
    )
