"""Fetching a model directory from the Hugging Face hub, for those who have it in reach."""

from __future__ import annotations

import re
import shutil
import tempfile
from pathlib import Path

from sidecar.runtime import graph_files
from sidecar.runtime.directory import ModelDirectory
from sidecar.runtime.errors import ModelError, UnusableModelError

_NAME = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?")
_PATTERNS = ("*.json", "LICENSE*", "NOTICE*", "README.md")
# The weights of the modules that are in no graph; those of the encoder are in it.
_MODULE_WEIGHTS = re.compile(r"[^/]+_(Dense|LayerNorm|SparseStaticEmbedding)/(model\.safetensors|pytorch_model\.bin)")
_ENCODER = re.compile(r"[^/]+_(MLM)?Transformer/")


class HubUnavailableError(ModelError):
    """The hub client is not installed, or the hub cannot be reached."""

    default_status = 502


def pull(name: str, models_dir: Path, revision: str | None = None) -> Path:
    """Fetches the model ``name`` (``ORG/NAME``) into ``models_dir / name`` and returns that directory.

    The directory appears whole or not at all, and an older one is replaced. Of the graphs the one is fetched that
    would be run here (see ``graph_files``), with its external data. The hub's address and token come from the client's
    own settings (``HF_ENDPOINT``, ``HF_TOKEN``). Blocks; raises ``HubUnavailableError`` (no client, no network, no such
    repository) and ``UnusableModelError`` (no ONNX graph, or a directory that cannot be used).
    """
    if not _NAME.fullmatch(name) or ".." in name:
        raise UnusableModelError(f"[{name}] is not the name of a model on the hub; it looks like [ORG/NAME]")
    try:
        from huggingface_hub import HfApi, snapshot_download  # noqa: PLC0415  (an optional dependency)
    except ImportError as error:
        raise HubUnavailableError(
            "Pulling models needs the Hugging Face client: pip install '.[hub]' in a checkout of the sidecar"
        ) from error
    models_dir.mkdir(parents=True, exist_ok=True)
    target = models_dir / name
    try:
        info = HfApi().model_info(name, revision=revision)
        files = [sibling.rfilename for sibling in info.siblings or ()]
        graph = _graph(name, files)
        with tempfile.TemporaryDirectory(prefix=".pull-", dir=models_dir) as scratch:
            snapshot_download(
                name,
                revision=info.sha,
                local_dir=scratch,
                allow_patterns=[*_PATTERNS, *_beside(graph, files)],
            )
            fetched = Path(scratch) / "model"
            _collect(Path(scratch), fetched)
            ModelDirectory.read(fetched)
            target.parent.mkdir(parents=True, exist_ok=True)
            if target.exists():
                shutil.rmtree(target)
            fetched.rename(target)
    except ModelError:
        raise
    except Exception as error:  # the client raises its own, requests' and the file system's errors
        raise HubUnavailableError(f"Model [{name}] could not be fetched: {_words(error)}") from error
    return target


def _graph(name: str, files: list[str]) -> str:
    for folder in ("", *sorted({file.split("/")[0] for file in files if _ENCODER.match(file)})):
        if chosen := graph_files.choose(files, None, graph_files.processor_features(), folder):
            return chosen[0]
    raise UnusableModelError(f"Model [{name}] has no ONNX graph on the hub; export one with Optimum")


def _beside(graph: str, files: list[str]) -> list[str]:
    """The graph, its external data (one file or several), and the weights of modules."""
    data = (f"{graph}_data", f"{graph}.data")
    return [graph, *(file for file in files if file.startswith(data) or _MODULE_WEIGHTS.fullmatch(file))]


def _collect(scratch: Path, target: Path) -> None:
    """Moves what was fetched, without the client's own bookkeeping, into one directory."""
    target.mkdir()
    for entry in list(scratch.iterdir()):
        if entry != target and not entry.name.startswith("."):
            entry.rename(target / entry.name)


def _words(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
