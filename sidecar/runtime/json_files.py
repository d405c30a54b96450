"""The JSON files of a model directory, read with the type that each value must have."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from sidecar.runtime.errors import UnusableModelError

_SHOWN = 60


@dataclass(frozen=True, slots=True)
class JsonObject:
    """A JSON object and where it stands; empty when there is no such file.

    The readers return their default for a missing key or ``null`` and raise ``UnusableModelError``, which names file
    and key, for a value of another type.
    """

    where: str
    """File and directory, for messages."""
    values: Mapping[str, Any] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.values)

    def integer(self, key: str, default: int | None = None) -> int | None:
        """A whole number; ``1e30`` and ``512.0`` are ones too, as transformers writes them."""
        value = self.values.get(key)
        if value is None:
            return default
        if isinstance(value, bool) or not isinstance(value, int | float) or value != value // 1:
            raise self._wrong(key, "a whole number")
        return int(value)

    def text(self, key: str, default: str = "") -> str:
        value = self.values.get(key)
        if value is None:
            return default
        if not isinstance(value, str):
            raise self._wrong(key, "a text")
        return value

    def flag(self, key: str, *, default: bool = False) -> bool:
        value = self.values.get(key)
        if value is None:
            return default
        if not isinstance(value, bool):
            raise self._wrong(key, "true or false")
        return value

    def object(self, key: str) -> JsonObject:
        value = self.values.get(key)
        if value is None:
            return JsonObject(self.where)
        if not isinstance(value, dict):
            raise self._wrong(key, "an object")
        return JsonObject(f"[{key}] of {self.where}", value)

    def texts(self, key: str) -> tuple[str, ...]:
        """A list of texts."""
        value = self.values.get(key)
        if value is None:
            return ()
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            raise self._wrong(key, "a list of texts")
        return tuple(value)

    def _wrong(self, key: str, expected: str) -> UnusableModelError:
        shown = json.dumps(self.values[key], ensure_ascii=False)
        shown = shown if len(shown) <= _SHOWN else f"{shown[:_SHOWN]}..."
        return UnusableModelError(f"{self.where} has {shown} as [{key}], where {expected} belongs")


@dataclass(frozen=True, slots=True)
class ModelFiles:
    """The files of one model directory."""

    path: Path
    read: set[Path] = field(default_factory=set, compare=False)
    """Files whose content was asked for; those that there are decide what the model gives."""

    def below(self, folder: str) -> ModelFiles:
        """The files of a folder, which count as read of the directory. Raises ``UnusableModelError``."""
        return ModelFiles(self.file(folder), self.read) if folder else self

    def object(self, name: str) -> JsonObject:
        """An object out of a file, empty when there is no such file. Raises ``UnusableModelError``."""
        value = self._load(name)
        if value is not None and not isinstance(value, dict):
            raise UnusableModelError(f"{self.where(name)} is not a JSON object")
        return JsonObject(self.where(name), value or {})

    def objects(self, name: str) -> tuple[JsonObject, ...] | None:
        """A list of objects out of a file, ``None`` when there is no such file. Raises ``UnusableModelError``."""
        value = self._load(name)
        if value is None:
            return None
        if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
            raise UnusableModelError(f"{self.where(name)} is not a list of JSON objects")
        return tuple(JsonObject(self.where(name), item) for item in value)

    def file(self, name: str) -> Path:
        """Where a file is, or would be. Raises ``UnusableModelError`` for a name that leads out of the directory."""
        parts = PurePosixPath(name)
        if parts.is_absolute() or ".." in parts.parts or not re.fullmatch(r"[^\\\0]*", name):
            raise UnusableModelError(f"Model directory [{self.path}] names a file outside of it: [{name}]")
        return self.path / parts

    def has(self, name: str) -> bool:
        return self.file(name).is_file()

    def where(self, name: str) -> str:
        return f"[{name}] of model directory [{self.path}]"

    def _load(self, name: str) -> Any:
        file = self.file(name)
        if not file.is_file():
            return None
        self.read.add(file)
        try:
            return json.loads(file.read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError) as error:
            raise UnusableModelError(f"{self.where(name)} is not readable: {error}") from error
