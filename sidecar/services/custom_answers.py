"""How the ``custom`` service reads answers: by the paths of ``response.json_parser``.

Source: Elasticsearch API reference, "Create a custom inference endpoint"; wordings as real nodes answer.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial, wraps
from typing import Any, TypeVar

from sidecar.core.errors import OtherError, SidecarError, StatusError
from sidecar.core.javatext import java_text
from sidecar.core.results import (
    Completion,
    DenseEmbeddings,
    RankedDocument,
    Ranking,
    Result,
    SparseEmbedding,
    SparseEmbeddings,
)
from sidecar.core.tasks import ElementType
from sidecar.services.calls import Call, ProviderAnswer, UnusableAnswerError, is_number
from sidecar.services.json_path import PathError, class_name, extract, field_names

ILLEGAL_ARGUMENT = "illegal_argument_exception"
ILLEGAL_STATE = "illegal_state_exception"
UNREADABLE = (
    "Failed to parse custom model response, please check that the response parser path matches the response format."
)
_ELEMENT_TYPES = {"byte": ElementType.BYTE, "bit": ElementType.BIT, "binary": ElementType.BIT}

_T = TypeVar("_T")


class _MisfitError(Exception):
    """A part of the answer is not what it should be; ``cause`` says what, with all that was around it."""

    def __init__(self, cause: OtherError) -> None:
        super().__init__(cause.reason)
        self.cause = cause


def _misfit(reason: str, type: str = ILLEGAL_ARGUMENT) -> _MisfitError:
    return _MisfitError(OtherError(type, reason))


def _within(where: str, type: str, read: Callable[[], _T]) -> _T:
    """What ``read`` returns; its misfit is reported as the cause of one that says ``where``."""
    try:
        return read()
    except _MisfitError as error:
        raise _MisfitError(OtherError(type, f"{where}, error: {error.cause.reason}", cause=error.cause)) from None


_Parser = Callable[[ProviderAnswer, Call], Result]


def _reporting(parse: Callable[[Any, dict[str, str]], Result]) -> _Parser:
    """A parser of provider answers from one of parsed bodies and paths; every misfit is final."""

    @wraps(parse)
    def parser(answer: ProviderAnswer, call: Call) -> Result:
        cause: SidecarError
        try:
            return parse(answer.json(), call.settings["response"]["json_parser"])
        except UnusableAnswerError as error:
            cause = error.cause
        except PathError as error:
            cause = OtherError(ILLEGAL_ARGUMENT, str(error))
        except _MisfitError as error:
            cause = error.cause
        raise UnusableAnswerError(StatusError(UNREADABLE, cause=cause), is_whole=True, is_final=True)

    return parser


class _Extracted:
    """A value with the names by which misfits call its levels."""

    def __init__(self, body: Any, path: str) -> None:
        self.value = extract(body, path)
        self._names = field_names(path)

    def name(self, level: int = 0) -> str:
        return self._names[level] if level < len(self._names) else "unknown"

    def items(self, value: Any, level: int = 0) -> list[Any]:
        if not isinstance(value, list):
            raise _misfit(
                f"Extracted field [{self.name(level)}] is an invalid type, "
                f"expected a list but received [{class_name(value)}]"
            )
        return value


def _number(value: Any, name: str) -> float:
    if not is_number(value):
        raise _misfit(f"Unable to convert field [{name}] of type [{class_name(value)}] to Number")
    return value


def _byte(value: Any, name: str) -> int:
    number = _number(value, name)
    if not -128 <= number <= 127:
        raise _misfit(f"Value [{java_text(value)}] is out of range for a byte")
    return int(number)


def _text(value: Any, name: str) -> str:
    if value is None:
        raise _misfit(f"Failed to parse field [{name}], extracted field was null", "null_pointer_exception")
    if not isinstance(value, str):
        raise _misfit(f"Unable to convert field [{name}] of type [{class_name(value)}] to [String]")
    return value


def _list_of(values: list[Any], read: Callable[[Any, str], _T], name: str) -> list[_T]:
    items: list[_T] = []
    try:
        for value in values:
            items.append(read(value, name))
    except _MisfitError as error:
        reason = f"Failed to parse list entry [{len(items)}], error: {error.cause.reason}"
        raise _MisfitError(OtherError(ILLEGAL_STATE, reason, cause=error.cause)) from None
    return items


def _dense(body: Any, paths: dict[str, str]) -> DenseEmbeddings:
    element_type = _ELEMENT_TYPES.get(paths.get("embedding_type", ""), ElementType.FLOAT)
    found = _Extracted(body, paths["text_embeddings"])

    def vector(item: Any) -> list[Any]:
        values = found.items(item, 1)
        if element_type is ElementType.FLOAT:
            return _list_of(values, _number, found.name(1))
        return _list_of(values, _byte, found.name(1))

    vectors = tuple(
        _within(f"Failed to parse text embedding entry [{n}]", ILLEGAL_ARGUMENT, partial(vector, item))
        for n, item in enumerate(found.items(found.value))
    )
    return DenseEmbeddings(vectors, element_type)


def _check_sizes(tokens: list[Any], weights: list[Any]) -> None:
    if len(tokens) != len(weights):
        raise _misfit(
            f"The extracted tokens list is size [{len(tokens)}] but the weights list is size [{len(weights)}]. "
            "The list sizes must be equal.",
            ILLEGAL_STATE,
        )


def _sparse(body: Any, paths: dict[str, str]) -> SparseEmbeddings:
    tokens, weights = _Extracted(body, paths["token_path"]), _Extracted(body, paths["weight_path"])
    token_lists, weight_lists = tokens.items(tokens.value), weights.items(weights.value)
    _check_sizes(token_lists, weight_lists)

    def weight(value: Any, n: int) -> float:
        where = f"Failed to parse weight item: [{n}] of array"
        return _within(where, ILLEGAL_ARGUMENT, lambda: _number(value, weights.name(1)))

    def embedding(names: Any, numbers: Any) -> SparseEmbedding:
        names, numbers = tokens.items(names, 1), weights.items(numbers, 1)
        _check_sizes(names, numbers)
        if None in names:
            raise _misfit(f"Failed to parse field [{tokens.name(1)}], extracted field was null")
        pairs = zip(names, numbers, strict=True)
        return SparseEmbedding({java_text(token): weight(value, n) for n, (token, value) in enumerate(pairs)})

    pairs = enumerate(zip(token_lists, weight_lists, strict=True))
    return SparseEmbeddings(
        tuple(
            _within(
                f"Failed to parse sparse embedding entry [{n}]",
                ILLEGAL_STATE,
                partial(embedding, names, numbers),
            )
            for n, (names, numbers) in pairs
        )
    )


def _ranking(body: Any, paths: dict[str, str]) -> Ranking:
    def column(key: str, what: str, read: Callable[[Any, str], _T]) -> list[_T] | None:
        if key not in paths:
            return None

        def values() -> list[_T]:
            found = _Extracted(body, paths[key])
            return _list_of(found.items(found.value), read, found.name())

        return _within(f"Failed to parse rerank {what}", ILLEGAL_STATE, values)

    scores = column("relevance_score", "scores", _number) or []
    indexes = column("reranked_index", "indices", _number)
    texts = column("document_text", "documents", _text)
    for what, values in (("index", indexes), ("document", texts)):
        if values is not None and len(values) != len(scores):
            raise _misfit(
                f"The number of {what} fields [{len(values)}] was not the same as the number of scores [{len(scores)}]",
                ILLEGAL_STATE,
            )
    return Ranking(
        tuple(
            RankedDocument(int(indexes[n]) if indexes is not None else n, score, texts[n] if texts else None)
            for n, score in enumerate(scores)
        )
    )


def _completion(body: Any, paths: dict[str, str]) -> Completion:
    path = paths["completion_result"]
    found = _Extracted(body, path)
    if isinstance(found.value, str):
        return Completion((found.value,))
    if not isinstance(found.value, list):
        raise _misfit(
            f"Extracted field [{found.name()}] from path [{path}] is an invalid type, "
            f"expected a list or a string but received [{class_name(found.value)}]"
        )
    return Completion(tuple(_list_of(found.value, _text, path)))


parse_dense = _reporting(_dense)
parse_sparse = _reporting(_sparse)
parse_ranking = _reporting(_ranking)
parse_completion = _reporting(_completion)
