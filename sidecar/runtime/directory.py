"""What a model directory holds: its graph, its kind, its limits, and how its vectors are made.

Layout, as Optimum and sentence-transformers write it: an ONNX graph (see ``graph_files``), ``tokenizer.json``,
``config.json``, and where present ``modules.json`` with a folder for each module, ``sentence_bert_config.json``,
``config_sentence_transformers.json``, ``tokenizer_config.json``.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from sidecar.core.tasks import TaskType
from sidecar.runtime import graph_files
from sidecar.runtime.config import Precision
from sidecar.runtime.errors import UnusableModelError
from sidecar.runtime.graph import GraphSignature, GraphValue, read_signature
from sidecar.runtime.json_files import JsonObject, ModelFiles
from sidecar.runtime.layers import Dense, Layer, Normalize, check_sizes
from sidecar.runtime.modules import Modules, read_modules
from sidecar.runtime.pooling import Pooling
from sidecar.runtime.prompts import Prompts
from sidecar.runtime.recognition import ModelKind, hidden_size, recognise
from sidecar.runtime.splade import SpladePooling, Strategy
from sidecar.runtime.static_query import StaticQuery
from sidecar.runtime.token_limits import TokenLimits

_INPUT_NAMES = {"input_ids", "attention_mask", "token_type_ids", "position_ids"}
_ENCODER_OUTPUTS = ("last_hidden_state", "logits")
_WHOLE = 4 << 20
_STEP, _SAMPLE = 1 << 16, 1 << 12
_LARGEST_VOCABULARY = 1 << 31


@dataclass(frozen=True, slots=True)
class ModelDirectory:
    """One usable model directory; ``read`` makes it."""

    path: Path
    graph_file: Path
    signature: GraphSignature
    output: GraphValue
    kind: ModelKind
    dimensions: int | None
    """Length of a dense vector, size of a sparse encoder's vocabulary, ``None`` for a cross-encoder."""
    tokenizer_file: Path
    tokens: TokenLimits
    pooling: Pooling | None
    """``None`` where the graph itself gives one vector per text."""
    layers: tuple[Layer, ...]
    """What follows the pooling, and is not in the graph."""
    truncated_to: int | None
    """Length to which vectors are cut at the very end (``truncate_dim``)."""
    splade: SpladePooling
    query: StaticQuery | None
    """How a sparse encoder's queries are made without a model, ``None`` where the graph makes them."""
    prompts: Prompts
    pad_token_id: int
    precision: Precision
    """By the name of the graph's file."""
    read_files: frozenset[Path]
    """What was read to know all this, and what will be to make a static query."""
    metadata: Mapping[str, str]
    """``name``, ``source``, ``repository``, ``licence`` out of ``sidecar.json`` where the directory has one."""

    @classmethod
    def read(cls, path: Path, precision: Precision | None = None, dimensions: int | None = None) -> ModelDirectory:
        """Looks at a directory; raises ``UnusableModelError`` with the reason when it is no usable model.

        ``dimensions`` cuts dense vectors to that length, in place of the directory's own ``truncate_dim``.
        """
        try:
            return cls._read(ModelFiles(path), precision, dimensions)
        except OSError as error:
            raise UnusableModelError(f"Model directory [{path}] cannot be read: {error.strerror or error}") from error

    @classmethod
    def _read(cls, files: ModelFiles, precision: Precision | None, dimensions: int | None) -> ModelDirectory:
        path = files.path
        if not path.is_dir():
            raise UnusableModelError(f"Model directory [{path}] does not exist")
        modules = read_modules(files)
        folder = modules.folder if modules else ""
        transformer = files.below(folder)
        settings = _transformer_settings(transformer)
        _check_modality(settings)
        graph_file, found = _graph_file(files, folder, precision, settings)
        tokenizer = next((f.path / "tokenizer.json" for f in (transformer, files) if f.has("tokenizer.json")), None)
        if tokenizer is None:
            raise UnusableModelError(f"Model directory [{path}] has no [tokenizer.json]")
        config = transformer.object("config.json") or files.object("config.json")
        if not config:
            raise UnusableModelError(f"Model directory [{path}] has no [config.json]")
        signature = read_signature(graph_file)
        if missing := {"input_ids"} - {i.name for i in signature.inputs}:
            raise UnusableModelError(f"Graph [{graph_file.name}] of [{path}] lacks the input {sorted(missing)}")
        if unknown := {i.name for i in signature.inputs} - _INPUT_NAMES:
            raise UnusableModelError(f"Graph [{graph_file.name}] of [{path}] needs unknown inputs {sorted(unknown)}")
        if fixed := [(i.name, list(i.shape)) for i in signature.inputs if any(i.shape)]:
            raise UnusableModelError(
                f"Graph [{graph_file.name}] of [{path}] takes texts of one number and length only: {fixed}; "
                "export it with dynamic axes"
            )
        kind, output = recognise(str(path), signature, config, modules)
        stated = files.object("config_sentence_transformers.json")
        pooling, layers, size = _steps(files, kind, output, config, modules)
        cut = (dimensions or _truncated_to(stated)) if kind is ModelKind.DENSE else None
        metadata = files.object("sidecar.json")
        names = f"{path.name} {metadata.text('repository')} {config.text('_name_or_path')}"
        return cls(
            path=path,
            graph_file=graph_file,
            signature=signature,
            output=output,
            kind=kind,
            dimensions=min(cut, size) if cut and size else size,
            tokenizer_file=tokenizer,
            tokens=TokenLimits.read(transformer, config, settings),
            pooling=pooling,
            layers=layers,
            truncated_to=cut,
            splade=modules.splade if modules and modules.splade else SpladePooling(),
            query=_query(files, kind, modules),
            prompts=Prompts.read(stated, names if kind is ModelKind.DENSE else ""),
            pad_token_id=_pad_token_id(config),
            precision=found,
            read_files=frozenset(files.read),
            metadata={key: value for key, value in metadata.values.items() if isinstance(value, str)},
        )

    @property
    def tasks(self) -> frozenset[TaskType]:
        """Tasks of the kind; without token vectors there is no late interaction, so no reranking."""
        if self.kind is ModelKind.DENSE and self.pooling is None:
            return frozenset({TaskType.TEXT_EMBEDDING})
        return self.kind.tasks

    @property
    def max_length(self) -> int:
        """Word pieces that are read of an input."""
        return self.tokens.max_length

    @property
    def normalize(self) -> bool:
        """Whether vectors are scaled to length 1 at the end."""
        return bool(self.layers) and isinstance(self.layers[-1], Normalize)

    def revision(self, *, exact: bool = True) -> str:
        """Twelve hexadecimal digits that change with every file that decides a vector, and with what else does.

        That is the length to which vectors are cut, whether a sparse encoder's head is computed exactly, and the
        prompts, which may come from the directory's name.

        Files of up to 4 MiB count whole; of a larger one its size and 4 KiB of every 64 KiB count, so that a graph of
        gigabytes costs a sixteenth of its reading, and no tensor of 64 KiB changes unseen.
        """
        digest = hashlib.sha256()
        for file in self._deciding_files():
            size = file.stat().st_size
            digest.update(f"{file.relative_to(self.path).as_posix()}:{size};".encode())
            with file.open("rb") as data:
                if size <= _WHOLE:
                    digest.update(data.read())
                    continue
                for start in range(0, size, _STEP):
                    data.seek(start)
                    digest.update(data.read(_SAMPLE))
        if self.truncated_to is not None:
            digest.update(f"truncated to {self.truncated_to}".encode())
        if not exact and self.kind is ModelKind.SPARSE and self.splade.strategy is not Strategy.SUM:
            digest.update(b"head in 8 bits")
        if self.prompts != Prompts():
            digest.update(repr(self.prompts).encode())
        return digest.hexdigest()[:12]

    def _deciding_files(self) -> Iterator[Path]:
        """The graph with its external data, all JSON of the directory and the modules, and the modules' weights.

        What was read counts wherever it lies: in a folder that is a link, or whose name begins with a dot.
        """
        known = [self.graph_file, *sorted(self.graph_file.parent / name for name in self.signature.external)]
        for pattern in ("*.json", "*/model.safetensors", "*/pytorch_model.bin"):
            for file in sorted(self.path.rglob(pattern)):
                if not any(part.startswith(".") for part in file.relative_to(self.path).parts) and file.is_file():
                    known.append(file)
        yield from known
        yield from sorted(file for file in {*self.read_files, self.tokenizer_file} - {*known} if file.is_file())


def _graph_file(
    files: ModelFiles, folder: str, precision: Precision | None, settings: JsonObject
) -> tuple[Path, Precision]:
    places = {files.path, files.path / "onnx", files.file(folder), files.file(folder) / "onnx"}
    graphs = sorted(
        file.relative_to(files.path).as_posix() for place in places if place.is_dir() for file in place.glob("*.onnx")
    )
    named = (settings.object("model_kwargs") or settings.object("model_args")).text("file_name")
    if precision is None and named:  # sentence-transformers saves the name that a model was loaded by
        graphs = [name for name in graphs if name == named or PurePosixPath(name).name == PurePosixPath(named).name]
    chosen = graph_files.choose(graphs, precision, graph_files.processor_features(), folder)
    if chosen is None and graphs:
        raise UnusableModelError(
            f"Model directory [{files.path}] has neither [model.onnx] nor [onnx/model.onnx], "
            f"and of {graphs} none is known by its name"
        )
    if chosen is None:
        raise UnusableModelError(f"Model directory [{files.path}] has neither [model.onnx] nor [onnx/model.onnx]")
    name, found = chosen
    return files.path / name, found


def _transformer_settings(files: ModelFiles) -> JsonObject:
    """The Transformer module's own settings, under the names that they had over the years."""
    names = ("bert", "roberta", "distilbert", "camembert", "albert", "xlm-roberta", "xlnet")
    for name in names:
        if settings := files.object(f"sentence_{name}_config.json"):
            return settings
    return files.object("sentence_bert_config.json")


def _check_modality(settings: JsonObject) -> None:
    """Refuses a Transformer that reads texts in another way than token by token, or gives something else of them."""
    modalities = settings.object("modality_config")
    if "message" in modalities.values:
        raise UnusableModelError(f"{settings.where} puts texts into chat messages, which is not supported")
    if modalities and "text" not in modalities.values:
        raise UnusableModelError(f"{settings.where} reads {sorted(modalities.values)} and no text")
    given = modalities.object("text").values.get("method_output_name")
    if given is not None and given not in _ENCODER_OUTPUTS:
        raise UnusableModelError(f"{settings.where} takes [{given}] of the model, which is not supported")


def _steps(
    files: ModelFiles, kind: ModelKind, output: GraphValue, config: JsonObject, modules: Modules | None
) -> tuple[Pooling | None, tuple[Layer, ...], int | None]:
    """Pooling, what is left to do after it, and the size of the result."""
    size = output.shape[-1]
    if kind is ModelKind.CROSS_ENCODER:
        return None, (), None
    if kind is ModelKind.SPARSE:
        return None, (), size or config.integer("vocab_size")
    pooling = Pooling()
    layers: tuple[Layer, ...] = (Normalize(),)
    if modules is not None:
        pooling, layers = modules.pooling or pooling, modules.layers
    elif has_config := files.object("1_Pooling/config.json"):
        pooling = Pooling.read(has_config)
    size = size or hidden_size(config)
    if size is None:
        raise UnusableModelError(f"{config.where} names no size of the hidden states ([hidden_size], [dim], [d_model])")
    if len(output.shape) == 2:
        layers = _after_sentence(layers, size)
        return None, layers, check_sizes(layers, size, files.where("modules.json"))
    return pooling, layers, check_sizes(layers, size * len(pooling.modes), files.where("modules.json"))


def _after_sentence(layers: tuple[Layer, ...], size: int) -> tuple[Layer, ...]:
    """What is left to do where the graph gives one vector per text.

    An export of a whole sentence-transformers model holds all of its layers; scaling to length 1 twice does no harm.
    Only where the vector is too long to have been through the linear layers they are still to come.
    """
    given = [layer for layer in layers if isinstance(layer, Dense)]
    if given and size != len(given[-1].weight) and size == given[0].weight.shape[1]:
        return layers
    return tuple(layer for layer in layers[-1:] if isinstance(layer, Normalize))


def _truncated_to(stated: JsonObject) -> int | None:
    length = stated.integer("truncate_dim")
    if length is not None and length < 1:
        raise UnusableModelError(f"{stated.where} cuts vectors to [{length}] numbers ([truncate_dim])")
    return length


def _pad_token_id(config: JsonObject) -> int:
    """What stands behind the shorter texts of a batch, which no text sees: any id that the graph has does."""
    number, size = config.integer("pad_token_id") or 0, config.integer("vocab_size") or _LARGEST_VOCABULARY
    return number if 0 <= number < size else 0


def _query(files: ModelFiles, kind: ModelKind, modules: Modules | None) -> StaticQuery | None:
    """Queries without a model: as the Router says, or by a table that lies in a directory without modules."""
    if kind is not ModelKind.SPARSE:
        return None
    if modules is not None:
        return modules.query
    return StaticQuery.read(files, "") if files.has("idf.json") else None
