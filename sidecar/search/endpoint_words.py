"""Whether a body may hold clauses that name an endpoint, and which ids it names, before it is understood."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from sidecar.search.wrapped_queries import unwrapped

_ALWAYS = re.compile(
    rb'"(semantic|sparse_vector|text_expansion|query_vector_builder|retriever|inference_id|wrapper)"|\\u00|\\/'
)
_BY_MAPPING = re.compile(rb'"match"')


def may_need_rewriting(body: bytes) -> bool:
    """True when a body holds a word of a clause that names an endpoint or hides one, whatever the indices are."""
    return _ALWAYS.search(body) is not None


def may_match_semantic_text(body: bytes) -> bool:
    """True when a body holds a ``match``, which only the mapping tells from a semantic query."""
    return _BY_MAPPING.search(body) is not None


def named_endpoints(value: Any) -> Iterator[str]:
    """Every text under ``inference_id`` or ``model_id`` anywhere in a body."""
    waiting = [value]
    while waiting:
        item = waiting.pop()
        if isinstance(item, dict):
            for name in ("inference_id", "model_id"):
                if isinstance(item.get(name), str):
                    yield item[name]
            waiting.extend(item.values())
            waiting.append(unwrapped(item.get("wrapper")))
        elif isinstance(item, list):
            waiting.extend(item)
