"""Parameters of the address that a search has beyond Elasticsearch's."""

from __future__ import annotations

from collections.abc import Mapping

from sidecar.core.errors import IllegalArgumentError

PLAN, EXPLAIN = "sidecar.plan", "sidecar.explain"
OWN_PARAMETERS = frozenset({PLAN, EXPLAIN})


def is_asked_for(name: str, parameters: Mapping[str, str]) -> bool:
    """Whether the parameter ``name`` is there, alone or as ``true``.

    Raises:
        IllegalArgumentError: it has another value than ``true`` and ``false``.
    """
    value = parameters.get(name, "false")
    if value not in ("", "true", "false"):
        raise IllegalArgumentError(f"Failed to parse value [{value}] as only [true] or [false] are allowed.")
    return value != "false"
