"""The table of settings as a page shows it."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, get_args, get_origin

import orjson
from pydantic import SecretStr
from pydantic.fields import FieldInfo

from sidecar.settings.kinds import Kind
from sidecar.settings.table import PREFIX, Settings

_NAMES: dict[object, str] = {str: "text", int: "number", bool: "true or false", Path: "path", SecretStr: "secret"}


def settings_markdown() -> str:
    """A Markdown table: variable, kind of value, default, meaning; one row per setting, in the table's order."""
    defaults = Settings.model_construct().model_dump(mode="json", warnings=False)
    rows = ["| Variable | Value | Default | Meaning |", "|---|---|---|---|"]
    for name, field in Settings.model_fields.items():
        cells = (f"`{PREFIX}{name.upper()}`", kind(field), _default(defaults[name]), field.description or "")
        rows.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(rows) + "\n"


def kind(field: FieldInfo) -> str:
    """What a value of the setting looks like, in a word or two."""
    optional = get_args(field.annotation)
    annotation = optional[0] if type(None) in optional else field.annotation
    marks = (*field.metadata, *get_args(annotation)[1:])
    named = next((mark.name for mark in marks if isinstance(mark, Kind)), None)
    if named is not None:
        return named
    return "word" if get_origin(annotation) is Literal else _NAMES[annotation]


def is_secret(field: FieldInfo) -> bool:
    """Whether the value is never shown."""
    return kind(field) == "secret"


def _default(value: object) -> str:
    if value is None or value in ([], {}):
        return ""
    text = value if isinstance(value, str) else orjson.dumps(value).decode()
    return f"`{text}`"
