"""Who uses an inference endpoint: ingest pipelines and ``semantic_text`` fields of indices.

Source: Elasticsearch's API reference, "Delete an inference endpoint" (``dry_run``, ``force``), and answers of 8.16,
8.19 and 9.4 for the messages.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from elastic_transport import ObjectApiResponse
from elasticsearch import AsyncElasticsearch, SerializationError

from sidecar.core.generations import Generation

# System indices are left out, as reading them earns a warning; what lies behind data streams is not.
_INDICES = "*,-.*,.ds-*"
_ID_FIELDS = ("inference_id", "search_inference_id")


@dataclass(frozen=True, slots=True)
class References:
    """Names of the pipelines and indices that use an endpoint, sorted."""

    pipelines: tuple[str, ...] = ()
    indexes: tuple[str, ...] = ()

    def message(self, inference_id: str, generation: Generation) -> str:
        """Why the endpoint should stay, in Elasticsearch's words; empty when nothing uses it."""
        return reference_message(inference_id, self.pipelines, self.indexes, generation)


async def find_references(client: AsyncElasticsearch, inference_id: str) -> References:
    """Looks through all pipelines and mappings of the cluster; hidden and closed indices count, system indices do not.

    Elasticsearch's failures (``ApiError``, ``TransportError``) pass through, and an answer that is not of its form is
    one of them; reading needs the cluster privilege ``read_pipeline`` and the index privilege ``view_index_metadata``.
    """
    pipelines = await client.ingest.get_pipeline()
    mappings = await _mappings(client)
    with _of_its_form():
        return References(
            tuple(sorted(name for name, body in pipelines.body.items() if inference_id in pipeline_endpoints(body))),
            tuple(
                sorted(
                    name for name, body in mappings.body.items() if inference_id in mapping_endpoints(body["mappings"])
                )
            ),
        )


async def find_model_settings(
    client: AsyncElasticsearch, inference_id: str
) -> dict[str, tuple[Mapping[str, Any], ...]]:
    """What filled ``semantic_text`` fields say of the vectors that the endpoint of this id made, by index.

    Elasticsearch's failures pass through as from :func:`find_references`.
    """
    mappings = await _mappings(client)
    found = {}
    with _of_its_form():
        for name, body in sorted(mappings.body.items()):
            fields = [field for field in _fields(body["mappings"]) if field.get("type") == "semantic_text"]
            settings = [
                field["model_settings"]
                for field in fields
                if field.get("inference_id") == inference_id and "model_settings" in field
            ]
            if settings:
                found[name] = tuple(settings)
    return found


async def _mappings(client: AsyncElasticsearch) -> ObjectApiResponse[Any]:
    return await client.indices.get_mapping(index=_INDICES, expand_wildcards="all", filter_path="*.mappings.properties")


@contextmanager
def _of_its_form() -> Iterator[None]:
    """What is read within is Elasticsearch's; what a login page says in its place is a failure of the client's."""
    try:
        yield
    except (AttributeError, IndexError, KeyError, TypeError) as error:
        raise SerializationError(f"what answers there is not of Elasticsearch's form ({error})") from error


def pipeline_endpoints(pipeline: Any) -> set[str]:
    """Ids that ``inference`` processors of a pipeline name as ``model_id``, however deep in other processors."""
    return {str(processor["model_id"]) for processor in _processors(pipeline) if "model_id" in processor}


def mapping_endpoints(mapping: Mapping[str, Any]) -> set[str]:
    """Inference ids of the ``semantic_text`` fields of a mapping, below objects and in multi-fields too."""
    return {
        str(field[name])
        for field in _fields(mapping)
        if field.get("type") == "semantic_text"
        for name in _ID_FIELDS
        if name in field
    }


def reference_message(
    inference_id: str, pipelines: tuple[str, ...], indexes: tuple[str, ...], generation: Generation
) -> str:
    """Elasticsearch's warning about an endpoint in use; empty when nothing uses it."""
    parts = []
    if pipelines:
        parts.append(
            f"Inference endpoint {inference_id} is referenced by pipelines: [{', '.join(pipelines)}]. "
            "Ensure that no pipelines are using this inference endpoint, "
            "or use force to ignore this warning and delete the inference endpoint."
        )
    if indexes:
        parts.append(
            f"Inference endpoint {inference_id} is being used in the mapping for indexes: [{', '.join(indexes)}]. "
            "Ensure that no index mappings are using this inference endpoint, "
            "or use force to ignore this warning and delete the inference endpoint."
        )
    message = " ".join(parts)
    return f" {message}" if indexes and not pipelines and generation.index_text_has_leading_space else message


def _processors(value: Any) -> Iterator[Mapping[str, Any]]:
    # `foreach` holds a processor, `on_failure` lists them, at any depth: every object is looked into.
    if isinstance(value, Mapping):
        for name, below in value.items():
            if name == "inference" and isinstance(below, Mapping):
                yield below
            yield from _processors(below)
    elif isinstance(value, list):
        for below in value:
            yield from _processors(below)


def _fields(mapping: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    for name in ("properties", "fields"):
        for field in mapping.get(name, {}).values():
            yield field
            yield from _fields(field)
