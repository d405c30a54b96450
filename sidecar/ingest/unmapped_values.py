"""Values that stand where targets are to be mapped.

A mapping that is not dynamic, or was not when documents were written, or that ignored fields beyond a limit, lets
documents hold what it does not know. Once ``meta.d`` is mapped, ``meta`` is an object, and a document with a text there
cannot be written any more, by nobody; and what stood in ``meta.d`` would be overwritten. So such documents are looked
for before.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from elasticsearch import AsyncElasticsearch

from sidecar.elastic.fields import field_at
from sidecar.elastic.source import kind_of, values_at
from sidecar.ingest.reader import Fields, Hit, PointInTime, Slice, read_slice
from sidecar.ingest.stop import WrongFieldError

_PAGE = 500


@dataclass(frozen=True, slots=True)
class Unknown:
    """What a mapping lacks though documents may hold it: ``parents`` are to become objects, ``targets`` vectors."""

    parents: tuple[str, ...] = ()
    targets: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.targets)


def unknown_to(mapping: Mapping[str, Any], targets: Sequence[str]) -> Unknown:
    """Which of ``targets`` and of their parents documents may hold without ``mapping`` saying so.

    Those are all that it lacks: whether a mapping was ever other than dynamic, nothing tells.
    """
    unmapped = [path for path in targets if field_at(mapping, path) is None]
    parents = [parent for path in unmapped for parent in _parents(path) if field_at(mapping, parent) is None]
    return Unknown(tuple(dict.fromkeys(parents)), tuple(unmapped))


def _parents(path: str) -> list[str]:
    names = path.split(".")
    return [".".join(names[:length]) for length in range(1, len(names))]


async def require_free(client: AsyncElasticsearch, index: str, unknown: Unknown) -> None:
    """Raises :class:`WrongFieldError` for a document of ``index`` that the new mapping would shut out or overwrite.

    Arrays of objects and ``null`` can stand in a parent, and ``null`` in a target, as before.
    """
    fields = Fields((*unknown.parents, *unknown.targets))
    async with PointInTime(client, index) as view:
        async for page in read_slice(view, {"match_all": {}}, fields, _PAGE, Slice(0, 1)):
            for hit in page:
                _require_free(index, hit, unknown)


async def require_room(client: AsyncElasticsearch, index: str, paths: Sequence[str]) -> None:
    """As :func:`require_free` for fields at ``paths``, of every index behind ``index`` that is there already."""
    answer = await client.indices.get_mapping(index=index, ignore_unavailable=True)
    for name, value in answer.items():
        if unknown := unknown_to(value["mappings"], paths):
            await require_free(client, name, unknown)


def _require_free(index: str, hit: Hit, unknown: Unknown) -> None:
    if hit.unreadable is not None:
        raise WrongFieldError(f"document [{hit.ref.id}] of index [{index}] cannot be read: {hit.unreadable}")
    where = f"document [{hit.ref.id}] of index [{index}] holds"
    for path in unknown.parents:
        for value in values_at(hit.source, path):
            if value is not None and not isinstance(value, Mapping):
                raise WrongFieldError(
                    f"{where} {kind_of(value)} in [{path}], which is not mapped: with a field below it mapped, such"
                    " documents could not be written any more; choose a target outside"
                )
    for path in unknown.targets:
        for value in values_at(hit.source, path):
            if value is not None:
                raise WrongFieldError(
                    f"{where} {kind_of(value)} in [{path}], which is not mapped and would become a vector; choose"
                    " another target"
                )
