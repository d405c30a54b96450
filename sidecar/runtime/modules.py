"""What ``modules.json`` says: the steps from a text to its vector, in order, as sentence-transformers runs them.

    Transformer ─► Pooling ─► Dense | LayerNorm | Normalize | Dropout ...     a dense encoder
    Transformer | MLMTransformer ─► SpladePooling                             a sparse encoder
    Router {query: SparseStaticEmbedding, document: a sparse encoder}         the same, its queries without a model
    Transformer                                                               a cross-encoder

Every step is applied or refused by its name; none is left out.
Source: sentence-transformers 6.2, ``modules.json`` and the modules' configurations.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import PurePosixPath

from sidecar.runtime.errors import UnusableModelError
from sidecar.runtime.json_files import JsonObject, ModelFiles
from sidecar.runtime.layers import Layer, read_layer
from sidecar.runtime.pooling import Pooling
from sidecar.runtime.splade import SpladePooling
from sidecar.runtime.static_query import StaticQuery

_LIBRARY = "sentence_transformers."
_ENCODERS = ("Transformer", "MLMTransformer")
_LAYERS = ("Dense", "LayerNorm", "Normalize")
_NO_STEP = ("Dropout",)  # does nothing outside of training
_KNOWN = (*_ENCODERS, "Pooling", *_LAYERS, *_NO_STEP, "SpladePooling", "Router", "SparseStaticEmbedding")


@dataclass(frozen=True, slots=True)
class Modules:
    """The steps after the encoder, and the folder in which the encoder's own files are (empty: the directory)."""

    folder: str = ""
    pooling: Pooling | None = None
    layers: tuple[Layer, ...] = ()
    splade: SpladePooling | None = None
    query: StaticQuery | None = None

    @property
    def is_encoder_only(self) -> bool:
        """True where nothing comes after the encoder: a cross-encoder's directory."""
        return self.pooling is None and self.splade is None


@dataclass(frozen=True, slots=True)
class _Step:
    kind: str
    path: str


def read_modules(files: ModelFiles) -> Modules | None:
    """The steps of a directory; ``None`` when it has no ``modules.json``.

    Raises ``UnusableModelError``, which names the module, for one that is unknown or stands where it cannot be.
    """
    entries = files.objects("modules.json")
    if entries is None:
        return None
    where = files.where("modules.json")
    steps = [_step(where, entry.text("type"), entry.text("path")) for entry in entries]
    if not steps:
        raise UnusableModelError(f"{where} lists no module")
    if steps[0].kind == "Router":
        if len(steps) > 1:
            raise UnusableModelError(f"{where} has a [{steps[1].kind}] after its Router, which is not supported")
        return _routed(files, steps[0].path)
    return _chain(files, where, steps)


def _step(where: str, type_name: str, path: str) -> _Step:
    """The module of a type's name, such as ``sentence_transformers.models.Pooling``."""
    kind = type_name.rpartition(".")[2]
    if not type_name.startswith(_LIBRARY):
        raise UnusableModelError(f"{where} has the module [{type_name}], which is code of its own and is not run")
    if kind not in _KNOWN:
        raise UnusableModelError(f"{where} has the module [{kind}], which is not supported")
    return _Step(kind, path)


def _chain(files: ModelFiles, where: str, steps: list[_Step]) -> Modules:
    first, *rest = steps
    if first.kind not in _ENCODERS:
        raise UnusableModelError(f"{where} begins with the module [{first.kind}] where a Transformer belongs")
    if not rest:
        return Modules(first.path)
    pooled, *after = rest
    if pooled.kind == "SpladePooling":
        if after:
            raise UnusableModelError(f"{where} has a [{after[0].kind}] after SpladePooling, which is not supported")
        return Modules(first.path, splade=SpladePooling.read(_config(files, pooled)))
    if pooled.kind != "Pooling":
        raise UnusableModelError(f"{where} has a [{pooled.kind}] before Pooling, which is not supported")
    for step in after:
        if step.kind not in (*_LAYERS, *_NO_STEP):
            raise UnusableModelError(f"{where} has a [{step.kind}] after Pooling, which is not supported")
    layers = tuple(read_layer(step.kind, files, step.path) for step in after if step.kind in _LAYERS)
    return Modules(first.path, Pooling.read(_config(files, pooled)), layers)


def _routed(files: ModelFiles, folder: str) -> Modules:
    """A Router of a static route for queries and a sparse encoder for documents."""
    name = f"{folder}/router_config.json" if folder else "router_config.json"
    where = files.where(name)
    config = files.object(name)
    if not config:
        raise UnusableModelError(f"{where}, which a Router needs, does not exist")
    types, structure, parameters = (config.object(key) for key in ("types", "structure", "parameters"))
    if set(structure.values) != {"query", "document"}:
        raise UnusableModelError(f"{where} routes {sorted(structure.values)}; only query and document are supported")
    if parameters.values.get("route_mappings"):
        raise UnusableModelError(f"{where} has [route_mappings], which are not supported")
    query, document = (
        [_step(where, types.text(path), _below(folder, path)) for path in structure.texts(route)]
        for route in ("query", "document")
    )
    if [step.kind for step in query] != ["SparseStaticEmbedding"]:
        names = ", ".join(step.kind for step in query)
        raise UnusableModelError(f"{where} routes queries through [{names}]; only SparseStaticEmbedding is supported")
    modules = _chain(files, where, document) if document else Modules()
    if modules.splade is None:
        names = ", ".join(step.kind for step in document)
        raise UnusableModelError(
            f"{where} routes documents through [{names}]; only Transformer and SpladePooling are supported"
        )
    return Modules(modules.folder, splade=modules.splade, query=StaticQuery.read(files, query[0].path))


def _below(folder: str, path: str) -> str:
    return str(PurePosixPath(folder) / path) if folder and path else folder or path


def _config(files: ModelFiles, step: _Step) -> JsonObject:
    """A module's configuration, without which nobody knows how it pools; a download may leave folders out."""
    name = str(PurePosixPath(step.path) / "config.json")
    if not files.has(name):
        raise UnusableModelError(f"{files.where(name)}, which {step.kind} needs, does not exist")
    return files.object(name)
