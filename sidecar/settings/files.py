"""A settings file: TOML or YAML, with the names of the table in either form (``port`` or ``SIDECAR_PORT``)."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import yaml
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource

from sidecar.core.user_error import UserError

_TOML_PLACE = re.compile(r"\(at line (\d+), column (\d+)\)")


def read_file(path: Path) -> dict[str, Any]:
    """Values by lower-case name without prefix. Raises :class:`UserError` when the file cannot be used."""
    try:
        text = path.read_text("utf-8")
        values = tomllib.loads(text) if path.suffix == ".toml" else yaml.safe_load(text)
    except OSError as error:
        raise UserError(f"SIDECAR_CONFIG_FILE: cannot read {path}: {error.strerror or error}.") from None
    except (tomllib.TOMLDecodeError, yaml.YAMLError, UnicodeDecodeError) as error:
        kind = "TOML" if path.suffix == ".toml" else "YAML"
        raise UserError(f"SIDECAR_CONFIG_FILE: {path} is not valid {kind}{_place(error)}.") from None
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise UserError(f"SIDECAR_CONFIG_FILE: {path} must hold names and values, such as: port: 9800.")
    return {str(name).lower().removeprefix("sidecar_"): value for name, value in values.items()}


def _place(error: Exception) -> str:
    """Where a file cannot be read, without its words: the parsers quote the line, which may hold a secret."""
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark is not None:
        return f": line {error.problem_mark.line + 1}, column {error.problem_mark.column + 1}"
    found = _TOML_PLACE.search(str(error)) if isinstance(error, tomllib.TOMLDecodeError) else None
    if found is not None:
        return f": line {found[1]}, column {found[2]}"
    return ": it is not UTF-8" if isinstance(error, UnicodeDecodeError) else ""


class FileSource(PydanticBaseSettingsSource):
    """The settings file as a source for pydantic-settings; empty without a path."""

    def __init__(self, settings_cls: type[BaseSettings], path: Path | None) -> None:
        super().__init__(settings_cls)
        self._values = read_file(path) if path is not None else {}

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        """The file's value of one field, not to be decoded any further."""
        return self._values.get(field_name), field_name, False

    def __call__(self) -> dict[str, Any]:
        return {name: self._values[name] for name in self.settings_cls.model_fields if name in self._values}
