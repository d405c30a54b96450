"""What a graph computes, by the shapes of its outputs and, where those leave it open, by the architecture."""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass

from sidecar.core.tasks import TaskType
from sidecar.runtime.errors import UnusableModelError
from sidecar.runtime.graph import GraphSignature, GraphValue
from sidecar.runtime.json_files import JsonObject
from sidecar.runtime.modules import Modules

_SENTENCE = ("sentence_embedding", "sentence_embeddings")
_TOKENS = ("last_hidden_state", "token_embeddings")
# As BERT, DistilBERT and ELECTRA, T5, and GPT and Nomic name it.
_HIDDEN_SIZES = ("hidden_size", "dim", "d_model", "n_embd")


class ModelKind(enum.Enum):
    """What a graph computes, and which tasks it serves."""

    SPARSE = "sparse encoder"
    DENSE = "dense encoder"
    CROSS_ENCODER = "cross-encoder"

    @property
    def tasks(self) -> frozenset[TaskType]:
        """Tasks of the kind; a dense encoder also reranks, by late interaction of its token vectors."""
        return {
            ModelKind.SPARSE: frozenset({TaskType.SPARSE_EMBEDDING}),
            ModelKind.DENSE: frozenset({TaskType.TEXT_EMBEDDING, TaskType.RERANK}),
            ModelKind.CROSS_ENCODER: frozenset({TaskType.RERANK}),
        }[self]

    @property
    def elasticsearch_name(self) -> str:
        """What Elasticsearch calls a model of the kind: its inference configuration."""
        return {
            ModelKind.SPARSE: "text_expansion",
            ModelKind.DENSE: "text_embedding",
            ModelKind.CROSS_ENCODER: "text_similarity",
        }[self]


@dataclass(frozen=True, slots=True)
class _Head:
    """What an architecture's weights can be exported as."""

    described: str
    kinds: frozenset[ModelKind]
    task: str
    """Of Optimum's export."""


# By the ending of the architecture's name (BertModel, BertForMaskedLM, ...); any other name tells nothing.
_HEADS = {
    "ForSequenceClassification": _Head(
        "a sequence classifier", frozenset({ModelKind.CROSS_ENCODER}), "text-classification"
    ),
    "ForMaskedLM": _Head("a masked language model", frozenset({ModelKind.SPARSE, ModelKind.DENSE}), "fill-mask"),
    "Model": _Head("an encoder without a head", frozenset({ModelKind.DENSE}), "feature-extraction"),
}
_OF = {
    ModelKind.SPARSE: " over the vocabulary",
    ModelKind.DENSE: "",
    ModelKind.CROSS_ENCODER: " of a classifier",
}


def recognise(
    where: str, signature: GraphSignature, config: JsonObject, modules: Modules | None
) -> tuple[ModelKind, GraphValue]:
    """Kind and output. Raises ``UnusableModelError`` with the reason when the graph is of none, or of another kind
    than ``modules.json`` or the architecture say."""
    outputs = signature.outputs
    if modules is not None and modules.pooling is not None:
        outputs = tuple(value for value in outputs if value.name != "logits") or outputs
        if not modules.pooling.include_prompt:
            outputs = tuple(value for value in outputs if value.name not in _SENTENCE)
            if not outputs:
                raise UnusableModelError(
                    f"Model [{where}] leaves prompts out of its pooling ([include_prompt]), which a graph that pools "
                    "by itself cannot do; export it with its token vectors"
                )
    kind, output = _by_shape(where, outputs, config)
    _check_export(where, kind, output, config, modules)
    return kind, output


def hidden_size(config: JsonObject) -> int | None:
    """Size of a token vector as the configuration names it."""
    return next((size for key in _HIDDEN_SIZES if (size := config.integer(key))), None)


def labels(config: JsonObject) -> int:
    """How many classes a classifier has; 2 where nothing says it, as in transformers."""
    return config.integer("num_labels") or len(config.object("id2label").values) or 2


def _by_shape(where: str, given: Sequence[GraphValue], config: JsonObject) -> tuple[ModelKind, GraphValue]:
    outputs = {value.name: value for value in given}
    vocabulary, hidden = config.integer("vocab_size"), hidden_size(config)
    is_masked = _architecture(config, "MaskedLM")
    if logits := outputs.get("logits"):
        return _of_logits(where, logits, config), logits
    for name in _SENTENCE:
        if name in outputs and len(outputs[name].shape) == 2:
            return ModelKind.DENSE, outputs[name]
    by_position = [value for value in given if len(value.shape) == 3]
    for value in by_position:
        if value.shape[-1] == vocabulary and vocabulary and is_masked:
            return ModelKind.SPARSE, value
        if value.name in _TOKENS or value.shape[-1] in (hidden, None):
            return ModelKind.DENSE, value
    raise UnusableModelError(
        f"Model [{where}] is neither a masked language model, nor an encoder, nor a sequence classifier: "
        f"outputs {_described(given)}"
    )


def _of_logits(where: str, logits: GraphValue, config: JsonObject) -> ModelKind:
    last, rank = logits.shape[-1] if logits.shape else None, len(logits.shape)
    if rank == 3 and (last == config.integer("vocab_size") if last else _architecture(config, "MaskedLM")):
        return ModelKind.SPARSE
    if rank == 2 and (last == 1 or (last is None and labels(config) == 1)):
        return ModelKind.CROSS_ENCODER
    if rank == 2:
        raise UnusableModelError(
            f"Model [{where}] classifies into {last or labels(config)} labels; a reranker gives a single logit"
        )
    if rank == 3:
        raise UnusableModelError(
            f"Model [{where}] labels tokens ({last} labels); a sparse encoder gives one logit per vocabulary entry"
        )
    raise UnusableModelError(f"Model [{where}] gives logits of {rank} dimensions: {_described([logits])}")


def _check_export(where: str, kind: ModelKind, output: GraphValue, config: JsonObject, modules: Modules | None) -> None:
    """Refuses a graph that was exported for another task than the directory is made for."""
    if modules is None or modules.is_encoder_only:
        _check_head(where, kind, output, config)
        if kind is ModelKind.DENSE and modules is not None and len(output.shape) == 3:
            raise UnusableModelError(
                f"[modules.json] of model directory [{where}] has no [Pooling] after its Transformer"
            )
        return
    if modules.splade is not None and kind is not ModelKind.SPARSE:
        raise UnusableModelError(
            f"Model [{where}] has the module [SpladePooling], but its graph gives [{output.name}]; "
            "export it with the task [fill-mask]"
        )
    if modules.pooling is not None and kind is not ModelKind.DENSE:
        raise UnusableModelError(
            f"Model [{where}] has the module [Pooling], but its graph gives [{output.name}]; "
            "export it with the task [feature-extraction]"
        )


def _check_head(where: str, kind: ModelKind, output: GraphValue, config: JsonObject) -> None:
    """Refuses a graph with a head that the architecture lacks: an export fills such a head with random numbers.

    Where ``modules.json`` says what the directory is for, that comes first. Source: transformers, the load report of
    ``from_pretrained`` ("newly initialized").
    """
    names = [name for name in config.texts("architectures") if not name.endswith("LMHeadModel")]
    known = [head for name in names for ending, head in _HEADS.items() if name.endswith(ending)]
    if known and not any(kind in head.kinds for head in known):
        raise UnusableModelError(
            f"Model [{where}] is {known[0].described} by [config.json], but its graph gives "
            f"[{output.name}]{_OF[kind]}; export it with the task [{known[0].task}]"
        )


def _architecture(config: JsonObject, ending: str) -> bool:
    return any(name.endswith(ending) for name in config.texts("architectures"))


def _described(outputs: Sequence[GraphValue]) -> list[tuple[str, list[int | None]]]:
    return [(value.name, list(value.shape)) for value in outputs]
