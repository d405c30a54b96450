"""Which models there are: built-in ones, those of the models directory, paths, and names that stand for others."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import TypeVar

import structlog

from sidecar.core.tasks import TaskType
from sidecar.runtime.config import Precision, RuntimeConfig
from sidecar.runtime.directory import ModelDirectory
from sidecar.runtime.errors import ModelError, UnknownModelError, UnusableModelError
from sidecar.runtime.recognition import ModelKind

_log = structlog.stdlib.get_logger(__name__)

BUILT_IN_DIR = Path(__file__).parent / "data"
BUILT_IN: Mapping[str, str] = MappingProxyType(
    {
        "splade-tiny": "rasyosef/splade-tiny",
        "bge-small-en-v1.5": "BAAI/bge-small-en-v1.5",
        "all-MiniLM-L6-v2": "sentence-transformers/all-MiniLM-L6-v2",
    }
)
"""Names of the models carried in the package, with their names on the Hugging Face hub."""


@dataclass(frozen=True, slots=True)
class Alias:
    """A name of Elasticsearch's own models, the local model that answers for it, and the one task it is known for."""

    model: str
    task: TaskType


ALIASES: Mapping[str, Alias] = MappingProxyType(
    {
        ".elser_model_1": Alias("splade-tiny", TaskType.SPARSE_EMBEDDING),
        ".elser_model_2": Alias("splade-tiny", TaskType.SPARSE_EMBEDDING),
        ".elser_model_2_linux-x86_64": Alias("splade-tiny", TaskType.SPARSE_EMBEDDING),
        ".multilingual-e5-small": Alias("bge-small-en-v1.5", TaskType.TEXT_EMBEDDING),
        ".multilingual-e5-small_linux-x86_64": Alias("bge-small-en-v1.5", TaskType.TEXT_EMBEDDING),
        ".rerank-v1": Alias("bge-small-en-v1.5", TaskType.RERANK),
        ".rerank-v1_linux-x86_64": Alias("bge-small-en-v1.5", TaskType.RERANK),
    }
)


@dataclass(frozen=True, slots=True)
class LocalModelInfo:
    """A model as callers may know it."""

    model_id: str
    """The id that was asked for."""
    name: str
    """The model that really answers."""
    kind: ModelKind
    tasks: frozenset[TaskType]
    dimensions: int | None
    """Length of a dense vector, vocabulary size of a sparse encoder, ``None`` for a cross-encoder."""
    max_length: int
    """Word pieces that are read of an input; the rest is cut."""
    normalizes: bool
    """Whether dense vectors have length 1 by the model's own last step."""
    shortens: bool
    """Whether the model is said to be trained for shorter vectors (``truncate_dim``, ``SIDECAR_MODEL_DIMENSIONS``)."""
    precision: Precision
    graph: str
    """The ONNX file that is run, below the directory."""
    revision: str
    """Short hash of the files that decide the model's results."""
    directory: Path
    source: str | None
    licence: str | None
    is_built_in: bool

    @property
    def is_alias(self) -> bool:
        """True when another model than the one named answers."""
        return self.model_id.lower() != self.name.lower()


_Seen = TypeVar("_Seen")


class Catalog:
    """Finds models by name. Looks at each directory once."""

    def __init__(self, config: RuntimeConfig) -> None:
        self._config = config
        self._aliases = {name.lower(): target for name, target in config.aliases.items()}
        self._read: dict[tuple[Path, Precision | None], tuple[ModelDirectory, str]] = {}
        self._passed_over: set[Path] = set()

    def resolve(self, model_id: str) -> tuple[LocalModelInfo, ModelDirectory]:
        """The model that answers for ``model_id`` (case ignored).

        Looked for in the configured aliases and the built-in ones, the built-in models, the models directory, and, for
        the target of an alias or where the configuration allows it, as an absolute path. Raises
        ``UnknownModelError`` or ``UnusableModelError``.
        """
        wanted = model_id.strip()
        task: TaskType | None = None
        target = self._aliases.get(wanted.lower())
        if target is None and (alias := ALIASES.get(wanted.lower())):
            target, task = alias.model, alias.task
        elif target is not None and (alias := ALIASES.get(wanted.lower())):
            task = alias.task
        found = self._find(target or wanted, trusted=target is not None)
        if found is None:
            if target is not None:
                raise UnknownModelError(f"Model [{model_id}] stands for [{target}], which is not on this sidecar")
            raise UnknownModelError(
                f"Model [{model_id}] is not on this sidecar. Models: {', '.join(sorted(self.names()))}"
            )
        name, path = found
        directory, revision = self._directory(name, path)
        tasks = directory.tasks
        if task is not None:
            if task not in tasks:
                raise UnusableModelError(f"Model [{model_id}] stands for [{name}], a {directory.kind.value}")
            tasks = frozenset({task})
        return (
            LocalModelInfo(
                model_id=model_id,
                name=name,
                kind=directory.kind,
                tasks=tasks,
                dimensions=directory.dimensions,
                max_length=directory.max_length,
                normalizes=directory.normalize and directory.truncated_to is None,
                shortens=directory.truncated_to is not None,
                precision=self._precision(name) or directory.precision,
                graph=directory.graph_file.relative_to(path).as_posix(),
                revision=revision,
                directory=path,
                source=directory.metadata.get("source"),
                licence=directory.metadata.get("licence"),
                is_built_in=path.parent == BUILT_IN_DIR,
            ),
            directory,
        )

    def names(self) -> list[str]:
        """Names of all models that can be found without a path, aliases left out."""
        return [*BUILT_IN, *(name for name, _ in self._installed())]

    def aliases(self) -> dict[str, str]:
        """Names that stand for other models, with the model."""
        return {name: alias.model for name, alias in ALIASES.items()} | dict(self._config.aliases)

    def exact(self, name: str) -> bool:
        """Whether a model computes exactly; the default, since exact screening costs what int8 costs."""
        return self._precision(name) is not Precision.INT8

    def _find(self, name: str, *, trusted: bool) -> tuple[str, Path] | None:
        key = name.lower()
        for built_in in BUILT_IN:
            if key == built_in.lower():
                return built_in, BUILT_IN_DIR / built_in
        installed = list(self._installed())
        for candidate, path in installed:
            if candidate.lower() == key:
                return candidate, path
        for built_in, repository in BUILT_IN.items():
            if key == repository.lower():
                return built_in, BUILT_IN_DIR / built_in
        short = [(candidate, path) for candidate, path in installed if candidate.lower().split("/")[-1] == key]
        if len(short) == 1:
            return short[0]
        path = Path(name)
        if path.is_absolute() and (trusted or self._config.allow_paths) and path.is_dir():
            return path.name, path
        return None

    def _installed(self) -> Iterator[tuple[str, Path]]:
        """Models of the models directory: ``NAME`` and ``ORG/NAME``. What cannot be looked at is passed over."""
        root = self._config.models_dir
        if root is None or not self._looked_at(root, root.is_dir, default=False):
            return
        for path in self._folders(root):
            if self._looked_at(path, partial(_looks_like_model, path), default=False):
                yield path.name, path
                continue
            for inner in self._folders(path):
                if self._looked_at(inner, partial(_looks_like_model, inner), default=False):
                    yield f"{path.name}/{inner.name}", inner

    def _folders(self, path: Path) -> list[Path]:
        def entries() -> list[Path]:
            return sorted(entry for entry in path.iterdir() if not entry.name.startswith("."))

        found: list[Path] = self._looked_at(path, entries, default=[])
        return [entry for entry in found if self._looked_at(entry, entry.is_dir, default=False)]

    def _looked_at(self, path: Path, look: Callable[[], _Seen], *, default: _Seen) -> _Seen:
        """What ``look`` sees; where the system does not let it, ``default``, and a line in the log, once."""
        try:
            return look()
        except OSError as error:
            if path not in self._passed_over:
                self._passed_over.add(path)
                _log.warning("model_directory_passed_over", directory=str(path), cause=error.strerror or str(error))
            return default

    def _directory(self, name: str, path: Path) -> tuple[ModelDirectory, str]:
        key = (path, self._precision(name))
        known = self._read.get(key)
        if known is None:
            known = self._read[key] = _read(path, key[1], self._config.dimensions_of(name))
        return known

    def _precision(self, name: str) -> Precision | None:
        return self._config.precision_of(name)


def _read(path: Path, precision: Precision | None, dimensions: int | None) -> tuple[ModelDirectory, str]:
    """A directory and its revision; whatever is odd about it makes it unusable and concerns nothing else."""
    try:
        directory = ModelDirectory.read(path, precision, dimensions)
        return directory, directory.revision(exact=precision is not Precision.INT8)
    except ModelError:
        raise
    except Exception as error:  # files of others: what they may hold has no end
        _log.warning("model_directory_unusable", directory=str(path), exc_info=True)
        raise UnusableModelError(f"Model directory [{path}] cannot be used: {type(error).__name__}: {error}") from error


def _looks_like_model(path: Path) -> bool:
    """Whether a folder means to be a model. Raises ``OSError`` where it cannot be read."""
    names = {entry.name for entry in path.iterdir()}
    return (
        bool(names & {"tokenizer.json", "modules.json"})
        or any(name.endswith(".onnx") for name in names)
        or any(path.glob("onnx/*.onnx"))
    )
