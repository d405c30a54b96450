"""Results as bodies, per generation. Vectors stay numpy arrays until they are written."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import orjson

from sidecar.core.generations import Generation
from sidecar.core.results import (
    ChatChunk,
    Completion,
    CompletionDelta,
    DenseEmbeddings,
    Ranking,
    Result,
    SparseEmbeddings,
    StreamItem,
    StreamStart,
    Vector,
)
from sidecar.core.tasks import ElementType, TaskType

TRUNCATED_HEADER = "X-Sidecar-Truncated"
_MOST_RUNS = 100
_SUFFIX = {ElementType.FLOAT: "", ElementType.BYTE: "_bytes", ElementType.BIT: "_bits"}


def result_body(result: Result, task_type: TaskType, generation: Generation) -> dict[str, Any]:
    """The body of a finished answer; floats with the digits of their 32 bits, rankings best first."""
    match result:
        case SparseEmbeddings():
            return {"sparse_embedding": _sparse(result, generation)}
        case DenseEmbeddings():
            name = "embeddings" if task_type is TaskType.EMBEDDING else "text_embedding"
            vectors = [{"embedding": vector_value(vector, result.element_type)} for vector in result.vectors]
            return {name + _SUFFIX[result.element_type]: vectors}
        case Ranking():
            return {"rerank": _ranking(result, generation)}
        case Completion():
            return {"completion": [{"result": text} for text in result.results]}


def truncated_inputs(result: Result) -> Sequence[int]:
    """Positions of the inputs that were cut; of Elasticsearch's bodies those of sparse embeddings alone tell them."""
    return () if isinstance(result, Completion) else result.truncated


def truncated_headers(cut: Sequence[int]) -> dict[str, str]:
    """``X-Sidecar-Truncated`` where inputs were longer than the model reads: their positions, such as ``0, 3-7``.

    A header stays short: behind a hundred runs of positions stands ``...``.
    """
    if not cut:
        return {}
    runs: list[tuple[int, int]] = []
    for position in cut:
        if runs and runs[-1][1] == position - 1:
            runs[-1] = (runs[-1][0], position)
        else:
            runs.append((position, position))
    shown = [str(first) if first == last else f"{first}-{last}" for first, last in runs[:_MOST_RUNS]]
    return {TRUNCATED_HEADER: ", ".join(shown + ["..."] * (len(runs) > _MOST_RUNS))}


def result_size(result: Result) -> int:
    """About how many numbers the body of ``result`` has; ten letters count as one."""
    match result:
        case SparseEmbeddings():
            return sum(len(item.tokens) for item in result.items)
        case DenseEmbeddings():
            return sum(len(vector) for vector in result.vectors)
        case Ranking():
            return sum(2 + len(document.text or "") // 10 for document in result.documents)
        case Completion():
            return sum(len(text) for text in result.results) // 10


def event_body(item: StreamItem) -> dict[str, Any]:
    """The data of one event of a stream."""
    match item:
        case CompletionDelta():
            return {"completion": [{"delta": text} for text in item.deltas]}
        case ChatChunk():
            return item.body
        case Completion():
            return {"completion": [{"result": text} for text in item.results]}
        case StreamStart():
            raise TypeError("headers are no event")


def vector_value(vector: Vector, element_type: ElementType = ElementType.FLOAT) -> Any:
    """A vector ready to be written: float32, or signed bytes."""
    if element_type is ElementType.FLOAT:
        return np.ascontiguousarray(vector, dtype=np.float32)
    return np.ascontiguousarray(vector).astype(np.int8)


def short_floats(values: Iterable[float]) -> list[float]:
    """``values`` rounded to 32 bits, each as the shortest decimal that names the same 32 bits."""
    array = np.fromiter(values, dtype=np.float32)
    numbers: list[float] = orjson.loads(orjson.dumps(array, option=orjson.OPT_SERIALIZE_NUMPY))
    return numbers


def _sparse(result: SparseEmbeddings, generation: Generation) -> Any:
    orders = [sorted(item.tokens, key=item.tokens.__getitem__, reverse=True) for item in result.items]
    # One pass over the weights of all inputs: a call per input would cost more than the numbers themselves.
    weights = iter(
        short_floats(item.tokens[t] for item, order in zip(result.items, orders, strict=True) for t in order)
    )
    items = [
        {"is_truncated": item.is_truncated, "embedding": dict(zip(order, weights, strict=False))}
        for item, order in zip(result.items, orders, strict=True)
    ]
    if generation.single_sparse_map:
        return items[0]["embedding"] if items else {}
    return items


def _ranking(result: Ranking, generation: Generation) -> list[dict[str, Any]]:
    scores = short_floats(document.relevance_score for document in result.documents)
    rows: list[dict[str, Any]] = []
    for document, score in zip(result.documents, scores, strict=True):
        row: dict[str, Any] = {"index": document.index, "relevance_score": score}
        if document.text is not None or generation.rerank_null_text:
            row["text"] = document.text
        rows.append(row)
    return rows
