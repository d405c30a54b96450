"""From the maps a person wrote to the plan of a run: endpoints are looked up, combinations checked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import orjson

from sidecar.core.chunking import DEFAULT_CHUNKING
from sidecar.core.errors import IllegalArgumentError
from sidecar.core.results import DenseEmbeddings
from sidecar.core.tasks import InputType, TaskType
from sidecar.inference.embedder import Embedder, EndpointProfile
from sidecar.ingest.document import Plan, Target
from sidecar.ingest.fieldmap import FieldMap
from sidecar.ingest.pieces import splitter

_EMBEDS_TEXT = (TaskType.SPARSE_EMBEDDING, TaskType.TEXT_EMBEDDING, TaskType.EMBEDDING)


async def make_plan(embedder: Embedder, maps: Sequence[FieldMap], *, passages: bool = False) -> Plan:
    """Asks the endpoints what they make and checks that the maps fit together.

    With ``passages`` every target is a field of a nested parent (``passages.sparse``), all of one parent come from
    one source, and the text is cut with the chunking settings of the first endpoint that has any. Raises
    ``IllegalArgumentError`` for what does not fit and whatever the embedder raises for an unknown endpoint.
    """
    targets = [await make_target(embedder, field_map) for field_map in maps]
    return passages_plan(targets) if passages else Plan(tuple(targets))


async def make_target(embedder: Embedder, field_map: FieldMap) -> Target:
    """One map with what its endpoint makes; raises as :func:`make_plan`."""
    profile = await embedder.profile(field_map.inference_id)
    if profile.task_type not in _EMBEDS_TEXT:
        raise IllegalArgumentError(
            f"endpoint [{field_map.inference_id}] has the task type [{profile.task_type}] and makes no vectors"
        )
    if not profile.is_sparse and profile.dimensions is None:
        profile = replace(profile, dimensions=await _dimensions(embedder, profile))
    return Target(field_map, profile)


def passages_plan(targets: Sequence[Target]) -> Plan:
    """The plan of fields in nested passages; raises ``IllegalArgumentError`` for those that do not fit together."""
    _check_passages(targets)
    settings = next((t.profile.chunking_settings for t in targets if t.profile.chunking_settings), DEFAULT_CHUNKING)
    circumstances = orjson.dumps(dict(settings), option=orjson.OPT_SORT_KEYS).decode()
    return Plan(tuple(targets), splitter(settings), (circumstances,))


async def _dimensions(embedder: Embedder, profile: EndpointProfile) -> int | None:
    """Asks an endpoint that was created without dimensions for one vector."""
    answer = await embedder.embed(profile.inference_id, ["how big"], InputType.INGEST)
    return answer.dimensions if isinstance(answer, DenseEmbeddings) else None


def _check_passages(targets: Sequence[Target]) -> None:
    sources: dict[str, str] = {}
    for target in targets:
        if not target.parent:
            raise IllegalArgumentError(
                f"target [{target.name}] needs a parent for its passages, such as [passages.{target.name}]"
            )
        if target.name.rpartition(".")[2] in ("text", "start"):
            raise IllegalArgumentError(f"target [{target.name}] is kept for the passage itself")
        source = sources.setdefault(target.parent, target.map.source)
        if source != target.map.source:
            raise IllegalArgumentError(
                f"passages [{target.parent}] would be cut from two fields, [{source}] and [{target.map.source}]"
            )
