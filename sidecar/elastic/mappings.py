"""Mappings and index templates, carried as JSON files.

In the repository they lie in ``mappings/``, where people read and copy them; in an installed package they lie beside
the code, in ``sidecar/mappings/``.
"""

from __future__ import annotations

from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

import orjson


def mappings_directory() -> Traversable:
    """The directory of the JSON files. Raises ``FileNotFoundError`` when the package came without it."""
    package = files("sidecar")
    installed = package / "mappings"
    if installed.is_dir():
        return installed
    repository = Path(str(package)).parent / "mappings"
    if repository.is_dir():
        return repository
    raise FileNotFoundError("the JSON files of mappings/ are missing from this installation")


def mapping_names() -> list[str]:
    """Names that :func:`load_mapping` takes, sorted."""
    return sorted(
        entry.name.removesuffix(".json") for entry in mappings_directory().iterdir() if entry.name.endswith(".json")
    )


def load_mapping(name: str) -> dict[str, Any]:
    """The parsed file ``NAME.json``. Raises ``FileNotFoundError`` when there is none of that name."""
    value = orjson.loads((mappings_directory() / f"{name}.json").read_bytes())
    assert isinstance(value, dict)  # noqa: S101
    return value
