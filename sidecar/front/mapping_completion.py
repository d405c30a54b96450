"""What a mapping leaves to an endpoint that a cluster without a licence cannot ask, written out before it is sent.

- ``semantic_text`` with ``index_options`` on vectors: Elasticsearch checks the options against ``model_settings`` and,
  where they are not in the mapping, asks its own endpoint of that name.
- ``dense_vector`` with ``"dims": null``, which a client library sends that leaves the size to the model: Elasticsearch
  refuses it. The bound endpoint's size is put there; without a binding ``dims`` is left out, and the first vector
  decides.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from typing import Any

from sidecar.core.errors import SidecarError
from sidecar.elastic.bindings import SEMANTIC_TEXT, bindings_of
from sidecar.inference.embedder import EndpointProfile
from sidecar.ingest.semantic_field import model_settings

Profiles = Callable[[str], Awaitable[EndpointProfile | None]]


async def complete(mapping: dict[str, Any], profiles: Profiles) -> bool:
    """Completes ``mapping`` in place; whether anything was changed.

    ``profiles`` gives ``None`` for endpoints that are not the sidecar's.
    """
    changed = False
    for name, field in list(_fields(mapping)):
        if field.get("type") == SEMANTIC_TEXT and field.get("index_options") and not field.get("model_settings"):
            profile = await profiles(str(field.get("inference_id")))
            if profile is not None and not profile.is_sparse and profile.dimensions is not None:
                field["model_settings"] = model_settings(profile)
                changed = True
        elif field.get("type") == "dense_vector" and "dims" in field and field["dims"] is None:
            profile = await _bound(mapping, name, profiles)
            if profile is not None and profile.dimensions is not None:
                field["dims"] = profile.dimensions
            else:
                del field["dims"]
            changed = True
    return changed


async def _bound(mapping: dict[str, Any], name: str, profiles: Profiles) -> EndpointProfile | None:
    try:
        found = [binding.inference_id for binding in bindings_of(mapping) if binding.target == name]
    except SidecarError:
        return None  # Who reads the binding says what is wrong with it.
    return await profiles(found[0]) if found else None


def _fields(mapping: dict[str, Any], above: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    for key in ("properties", "fields"):
        inner = mapping.get(key)
        for name, field in inner.items() if isinstance(inner, dict) else ():
            if isinstance(field, dict):
                yield above + name, field
                yield from _fields(field, f"{above}{name}.")
