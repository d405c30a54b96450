"""Settings of local endpoints under Elasticsearch's names: allocations, threads, and the model that answers.

Source: Elasticsearch API reference, "Create an Elasticsearch inference endpoint".
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import orjson

from sidecar.core.errors import ActionRequestValidationError, StatusError
from sidecar.core.javatext import java_text
from sidecar.services.setting_kinds import PositiveInt
from sidecar.services.settings import Listed, Reading, Setting

# stored by the sidecar itself: the local model that really answers, where it is not the one named by model_id
ANSWERED_BY = "answered_by"
MAX_THREADS = 32

_FIXED, _ADAPTIVE = "num_allocations", "adaptive_allocations"
_MIN, _MAX = "min_number_of_allocations", "max_number_of_allocations"
_BOTH_RUNNING = "[number_of_allocations] cannot be set if adaptive allocations is enabled"


@dataclass(frozen=True, slots=True, kw_only=True)
class AdaptiveAllocations(Setting):
    """``{enabled, min_number_of_allocations, max_number_of_allocations}``; ``enabled`` is always stored."""

    java_name: ClassVar[str] = "Map"
    expected: ClassVar[type | tuple[type, ...]] = dict

    def checked(self, value: Any, reading: Reading) -> Any:
        given: dict[str, Any] = {name: item for name, item in value.items() if item is not None}
        complaints = len(reading.messages)
        known = {"enabled": bool, _MIN: int, _MAX: int}
        for name, item in given.items():
            if name not in known:
                reading.complain(f"[{self.name}] does not allow the setting [{name}]")
            elif not isinstance(item, known[name]) or (name != "enabled" and isinstance(item, bool)):
                java_name = "Boolean" if name == "enabled" else "Integer"
                reading.complain(
                    f"field [{name}] is not of the expected type. "
                    f"The value [{java_text(item)}] cannot be converted to a [{java_name}]"
                )
        if len(reading.messages) > complaints:
            return {"enabled": False}  # given, if wrongly: not to be called missing as well
        smallest, largest = given.get(_MIN), given.get(_MAX)
        if smallest is not None and smallest < 0:
            reading.complain(f"[{_MIN}] must be a non-negative integer or null")
        if largest is not None and largest < 1:
            reading.complain(f"[{_MAX}] must be a positive integer or null")
        if smallest is not None and largest is not None and smallest > largest:
            reading.complain(f"[{_MIN}] must not be larger than [{_MAX}]")
        return {"enabled": given.get("enabled", False), **{name: given[name] for name in (_MIN, _MAX) if name in given}}


def check_allocations(settings: dict[str, Any], reading: Reading) -> None:
    if "deployment_id" in settings:
        return
    if _FIXED not in settings and _ADAPTIVE not in settings:
        reading.complain(_neither(reading))
    threads = settings.get("num_threads")
    if threads is None:
        if "num_threads" not in " ".join(reading.messages):
            reading.complain(f"[{reading.scope}] does not contain the required setting [num_threads]")
    elif threads > MAX_THREADS or threads & (threads - 1):
        reading.complain(
            f"[{reading.scope}] Invalid value [{threads}]. "
            f"[num_threads] must be a power of two and at most {MAX_THREADS}"
        )


def check_start(settings: Mapping[str, Any], _: Mapping[str, Any]) -> None:
    """A deployment does not start with a fixed and an adaptive number of allocations.

    Raises:
        ActionRequestValidationError: both are given.
    """
    if "deployment_id" not in settings and _FIXED in settings and _is_adaptive(settings):
        raise ActionRequestValidationError(_BOTH_RUNNING)


def merge_allocations(
    stored: Mapping[str, Any], changes: Mapping[str, Any], body: Mapping[str, Any], reading: Reading
) -> dict[str, Any]:
    """A fixed number of allocations and an adaptive one exclude each other: an update replaces one by the other.

    Up to 8.19 only the fixed number can change, and only where no adaptive one is at work. Source: answers of 8.19.8
    and 9.4.3.
    """
    if not reading.generation.at_least("9.4"):
        return _fixed_allocations(stored, changes, body, reading)
    if "num_threads" in reading.values:
        reading.messages.insert(0, "[num_threads] cannot be updated")
    if not changes:
        reading.complain(_neither(reading))
    if len(changes) > 1:
        reading.complain(f"[{_FIXED}] cannot be set if [{_ADAPTIVE}] is set")
    return {**changes, **{name: value for name, value in stored.items() if name not in (_FIXED, _ADAPTIVE)}}


def _fixed_allocations(
    stored: Mapping[str, Any], changes: Mapping[str, Any], body: Mapping[str, Any], reading: Reading
) -> dict[str, Any]:
    if not reading.messages and _FIXED not in changes:
        raise StatusError(f"Failed to parse [{_FIXED}] of update request [{orjson.dumps(body).decode()}]")
    if _is_adaptive(stored):
        reading.complain(_BOTH_RUNNING)
    return {**stored, **{name: value for name, value in changes.items() if name == _FIXED}}


def _neither(reading: Reading) -> str:
    return f"[{reading.scope}] does not contain one of the required settings [{_FIXED}, {_ADAPTIVE}]"


def _is_adaptive(settings: Mapping[str, Any]) -> bool:
    return bool((settings.get(_ADAPTIVE) or {}).get("enabled"))


def threads_and_allocations() -> tuple[Setting, ...]:
    """The settings that ``elasticsearch`` and ``elser`` share, in reading order."""
    return (
        PositiveInt(
            name=_FIXED,
            mutable=True,
            listed=Listed(
                "Number Allocations",
                "The total number of allocations this model is assigned across machine learning nodes.",
                required=True,
                updatable=True,
                default=1,
            ),
        ),
        PositiveInt(
            name="num_threads",
            listed=Listed(
                "Number Threads",
                "Sets the number of threads used by each model allocation during inference.",
                required=True,
                default=2,
            ),
        ),
        AdaptiveAllocations(name=_ADAPTIVE, mutable=True),
    )
