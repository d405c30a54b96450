"""An inference endpoint: the stored configuration that requests name by its inference id."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from sidecar.core.tasks import TaskType

_VALID_ID = re.compile(r"[a-z0-9](?:[a-z0-9_\-.]*[a-z0-9])?")


def is_valid_inference_id(inference_id: str) -> bool:
    """Lower-case letters, digits, ``-``, ``_`` and ``.``, beginning and ending with a letter or digit."""
    return _VALID_ID.fullmatch(inference_id) is not None and inference_id != "_all"


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A stored endpoint without its secrets, which live apart (see ``sidecar.registry.secrets``).

    ``service_settings`` and ``task_settings`` are the normalised values the service read, including those it keeps
    for itself (``dimensions_set_by_user``, ``api_version``); ``chunking_settings`` is ``None`` where it does not apply.
    ``is_preconfigured`` marks the built-in endpoints whose ids are reserved.
    """

    inference_id: str
    task_type: TaskType
    service: str
    service_settings: Mapping[str, Any] = field(default_factory=dict)
    task_settings: Mapping[str, Any] = field(default_factory=dict)
    chunking_settings: Mapping[str, Any] | None = None
    is_preconfigured: bool = False


class Secrets(Mapping[str, Any]):
    """Secret settings of one endpoint by name; printing, logging or formatting it shows names only.

    Where ``is_readable`` is false they are stored but cannot be opened, and looking at them raises.
    """

    __slots__ = ("_values",)
    is_readable: ClassVar[bool] = True

    def __init__(self, values: Mapping[str, Any] | None = None) -> None:
        self._values = dict(values or {})

    def __getitem__(self, name: str) -> Any:
        return self._values[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __repr__(self) -> str:
        return f"Secrets({', '.join(f'{name}=********' for name in self._values)})"
