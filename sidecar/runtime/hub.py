"""Fetching a model's directory from the Hugging Face hub: configuration, tokenizer and one ONNX graph."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from sidecar.runtime.catalog import BUILT_IN
from sidecar.settings import UserError

_GRAPHS = ("model.onnx", "onnx/model.onnx")
_SMALL_FILES = (
    "config.json",
    "modules.json",
    "sentence_bert_config.json",
    "config_sentence_transformers.json",
    "special_tokens_map.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "1_Pooling/config.json",
)


def files_to_pull(available: Sequence[str]) -> list[str]:
    """Which of a repository's files make a usable model. Raises :class:`UserError` when it lacks graph or tokenizer."""
    graph = next((name for name in _GRAPHS if name in available), None)
    if graph is None:
        raise UserError(f"It has no ONNX graph ({' or '.join(_GRAPHS)}); export one and put the directory in place.")
    if "tokenizer.json" not in available:
        raise UserError("It has no tokenizer.json.")
    beside = [name for name in available if name.startswith((f"{graph}_data", f"{graph}.data"))]
    return [graph, *beside, *(name for name in _SMALL_FILES if name in available)]


def pull(name: str, models_dir: Path, *, revision: str | None = None) -> Path:
    """Fetch ``ORG/NAME`` into ``models_dir/ORG/NAME``, replacing what is there only when everything has arrived.

    Raises :class:`UserError` for a model that is not there, not usable, or not to be reached.
    """
    if name.lower() in (key.lower() for pair in BUILT_IN.items() for key in pair):
        raise UserError(f"{name} is carried in the package; there is nothing to pull.")
    # Slow to import, and of use here only.
    from huggingface_hub import HfApi, snapshot_download  # noqa: PLC0415
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError  # noqa: PLC0415

    target = models_dir / name
    arriving = target.with_name(f".{target.name}.arriving")
    try:
        files = files_to_pull(HfApi().list_repo_files(name, revision=revision))
        snapshot_download(name, revision=revision, local_dir=arriving, allow_patterns=files)
    except HFValidationError:
        raise UserError(f"{name} is not a name of the Hugging Face hub; it looks like intfloat/e5-small.") from None
    except UserError as error:
        raise UserError(f"{name} cannot be used: {error}") from None
    except HfHubHTTPError as error:
        raise UserError(f"The hub has no {name} for you: {_first_line(error)}") from None
    except (OSError, ValueError, RuntimeError) as error:
        raise UserError(f"{name} could not be fetched: {_first_line(error)} (HF_ENDPOINT names another hub)") from None
    shutil.rmtree(arriving / ".cache", ignore_errors=True)
    shutil.rmtree(target, ignore_errors=True)
    arriving.rename(target)
    return target


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[0] if lines else type(error).__name__)[:300]
