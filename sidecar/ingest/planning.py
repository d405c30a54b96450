"""From the maps a person wrote to the plan of a run: endpoints are looked up, combinations checked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from sidecar.core.errors import IllegalArgumentError
from sidecar.core.results import DenseEmbeddings
from sidecar.core.tasks import InputType, TaskType
from sidecar.inference.embedder import Embedder, EndpointProfile
from sidecar.ingest.cutting import cutting_of
from sidecar.ingest.document import Plan, Target
from sidecar.ingest.fieldmap import FieldMap

EMBEDS_TEXT = (TaskType.SPARSE_EMBEDDING, TaskType.TEXT_EMBEDDING, TaskType.EMBEDDING)


async def make_plan(
    embedder: Embedder,
    maps: Sequence[FieldMap],
    *,
    passages: bool = False,
    chunking: Mapping[str, Any] | None = None,
) -> Plan:
    """Asks the endpoints what they make and checks that the maps fit together.

    With ``passages`` every target is a field of a nested parent (``passages.sparse``), all of one parent come from
    one source, and the text is cut as ``chunking`` says, else with the chunking settings of the first of their
    endpoints that has any. Without ``passages`` the vectors of the pieces that ``chunking`` makes are merged. Raises
    ``IllegalArgumentError`` for what does not fit and whatever the embedder raises for an unknown endpoint.
    """
    targets = [await make_target(embedder, field_map) for field_map in maps]
    if chunking and not passages:
        targets = [replace(one, cutting=cutting_of([one.profile], chunking).in_one_piece()) for one in targets]
    given = {target.name: chunking for target in targets} if chunking else None
    return Plan(in_passages(targets, given) if passages else tuple(targets))


async def make_target(embedder: Embedder, field_map: FieldMap) -> Target:
    """One map with what its endpoint makes; raises as :func:`make_plan`."""
    profile = await embedder.profile(field_map.inference_id)
    if profile.task_type not in EMBEDS_TEXT:
        raise IllegalArgumentError(
            f"endpoint [{field_map.inference_id}] has the task type [{profile.task_type}] and makes no vectors"
        )
    if not profile.is_sparse and profile.dimensions is None:
        profile = replace(profile, dimensions=await _dimensions(embedder, profile))
    return Target(field_map, profile)


def in_passages(targets: Sequence[Target], given: Mapping[str, Mapping[str, Any]] | None = None) -> tuple[Target, ...]:
    """The targets as fields of nested passages; all of one parent get the same pieces.

    ``given`` holds, by target, the chunking settings that a binding states; else an endpoint's count.

    Raises:
        IllegalArgumentError: targets do not fit together.
    """
    _check_passages(targets)
    cuttings = {}
    for parent in dict.fromkeys(target.parent for target in targets):
        held = [target for target in targets if target.parent == parent]
        settings = next((given[target.name] for target in held if target.name in given), None) if given else None
        cuttings[parent] = cutting_of([target.profile for target in held], settings)
    return tuple(replace(target, passages=True, cutting=cuttings[target.parent]) for target in targets)


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
