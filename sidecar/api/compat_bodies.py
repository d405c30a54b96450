"""What the compatibility routes read and write: texts in, checked vectors, weights and scores out."""

from __future__ import annotations

import base64
import math
from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from sidecar.api.call import Call
from sidecar.api.lanes import LaneCall
from sidecar.api.result_bodies import short_floats, vector_value
from sidecar.core.errors import StatusError, XContentParseError
from sidecar.core.requests import InferenceRequest
from sidecar.core.results import DenseEmbeddings, Ranking, SparseEmbeddings, Vector
from sidecar.wire.body_formats import read_value

# Stands in for a blank text where a vector must come back: models and providers give a usable vector for it.
PLACEHOLDER_TEXT = "."
_LOCAL_SERVICES = ("elasticsearch", "elser")
Floats: TypeAlias = npt.NDArray[np.float32]


async def read_fields(call: Call) -> dict[str, Any]:
    """The JSON object a caller sent; raises ``StatusError`` for anything else."""
    call.require_body()
    call.refuse_unknown()
    try:
        fields = await call.read_body(read_value)
    except XContentParseError as error:
        if error.status == 413:
            raise
        raise StatusError(f"the body is not JSON: {error.reason}") from None
    if not isinstance(fields, dict):
        raise StatusError("the body must be a JSON object")
    return fields


def read_texts(fields: dict[str, Any], name: str) -> list[str]:
    """A string or an array of strings; ``null`` is an empty text. Raises ``StatusError`` (422) for anything else."""
    value = fields.get(name)
    texts = [value] if isinstance(value, str) else value
    if not isinstance(texts, list) or not all(text is None or isinstance(text, str) for text in texts):
        raise StatusError(f"[{name}] must be a string or an array of strings", status=422)
    return [text or "" for text in texts]


async def dense_vectors(lane_call: LaneCall, texts: Sequence[str]) -> list[Floats]:
    """One vector per text, in order.

    Raises ``StatusError`` (500) for a vector Elasticsearch could not index: zeros, NaN, or a wrong number of them.
    """
    if not texts:
        return []
    sent = tuple(text if text.strip() else PLACEHOLDER_TEXT for text in texts)
    result = await lane_call.perform(InferenceRequest(input=sent, input_type=lane_call.lane.input_type))
    if not isinstance(result, DenseEmbeddings) or len(result.vectors) != len(texts):
        raise _wrong_number(lane_call)
    vectors = [vector_value(vector, result.element_type) for vector in result.vectors]
    for number, vector in enumerate(vectors):
        if not np.isfinite(vector).all() or not vector.any():
            raise StatusError(f"the embedding of input {number} is not usable: zeros or not a number", status=500)
    return vectors


def estimated_tokens(texts: Sequence[str]) -> int:
    """How many tokens texts have, nearly: nobody counts them on these ways, four letters a token is the usual guess."""
    return sum(1 + len(text) // 4 for text in texts)


def base64_floats(vector: Vector) -> str:
    """A vector as OpenAI's and Cohere's base64: 32-bit floats, little-endian."""
    return base64.b64encode(np.asarray(vector, dtype="<f4").tobytes()).decode()


async def token_weights(lane_call: LaneCall, texts: Sequence[str]) -> list[dict[str, float]]:
    """Token weights of each text, finite and above zero; blank texts have none and are not sent."""
    filled = [number for number, text in enumerate(texts) if text.strip()]
    weights: list[dict[str, float]] = [{} for _ in texts]
    if not filled:
        return weights
    sent = tuple(texts[number] for number in filled)
    result = await lane_call.perform(InferenceRequest(input=sent, input_type=lane_call.lane.input_type))
    if not isinstance(result, SparseEmbeddings) or len(result.items) != len(filled):
        raise _wrong_number(lane_call)
    _place_truncated(lane_call, filled)
    for number, item in zip(filled, result.items, strict=True):
        kept = {token: weight for token, weight in item.tokens.items() if math.isfinite(weight) and weight > 0}
        weights[number] = dict(zip(kept, short_floats(kept.values()), strict=True))
    return weights


async def scores(lane_call: LaneCall, query: str, texts: Sequence[str], *, raw: bool) -> list[float]:
    """A score for every text, in order of the texts, whatever ``top_n`` the endpoint has; blank texts come last.

    Scores of local models are logits; ``raw`` leaves them so, else they become probabilities (logistic function).
    """
    filled = [number for number, text in enumerate(texts) if text.strip()]
    found: dict[int, float] = {}
    if filled:
        sent = tuple(texts[number] for number in filled)
        request = InferenceRequest(input=sent, query=query, top_n=len(sent), return_documents=False)
        result = await lane_call.perform(request)
        if not isinstance(result, Ranking):
            raise _wrong_number(lane_call)
        _place_truncated(lane_call, filled)
        found = {filled[document.index]: document.relevance_score for document in result.documents}
        if len(found) != len(filled):
            raise _wrong_number(lane_call)
        if lane_call.endpoint.service in _LOCAL_SERVICES and not raw:
            found = {number: _logistic(score) for number, score in found.items()}
    worst = min(found.values(), default=0.0)
    below = 0.0 if worst > 0 else worst - 1e-3 * (1 + abs(worst))
    return short_floats(found.get(number, below) for number in range(len(texts)))


def best_first(values: Sequence[float]) -> list[int]:
    """Positions by descending score; equal scores keep their order."""
    return sorted(range(len(values)), key=lambda number: -values[number])


def refuse_cut(lane_call: LaneCall, *, never: str = "", left: str = "", status: int) -> None:
    """Refuses to answer where texts were cut and the caller does not want that, or not on that side.

    Args:
        never: the option by which nothing is to be cut, in words, empty for none.
        left: the option by which texts are to lose their beginning, empty for none.
        status: for what is too long.

    Raises:
        StatusError: ``status``, or 422 for the side.
    """
    cut = lane_call.call.truncated
    if cut and never:
        model = lane_call.local_model
        longest = f"{model.max_length} tokens" if model else "what the endpoint reads"
        raise StatusError(f"input [{cut[0]}] is longer than {longest}, and {never}", status=status)
    if cut and left:
        reason = f"input [{cut[0]}] is too long, and the model's texts are cut at their right, not at their left"
        raise StatusError(f"{reason}: {left}", status=422)


def shortened(lane_call: LaneCall, vectors: list[Floats], wanted: Any, *, status: int = 422) -> list[Floats]:
    """``vectors`` of as many dimensions as are ``wanted``: cut and scaled to length 1, as OpenAI's and TEI's form say.

    Only local models that are said to be trained for it are cut. Raises ``StatusError`` with ``status`` for all else.
    """
    if wanted is None or all(len(vector) == wanted for vector in vectors):
        return vectors
    model = lane_call.local_model
    size = len(vectors[0])
    if model is None or not model.shortens or type(wanted) is not int or not 0 < wanted < size:
        raise StatusError(
            f"endpoint [{lane_call.endpoint.inference_id}] has {size} dimensions and cannot give {wanted}; "
            "create an endpoint of that size where its model can be shortened",
            status=status,
        )
    return [of_length_1(vector[:wanted]) for vector in vectors]


def of_length_1(vector: Floats) -> Floats:
    """A vector scaled to length 1; zeros stay."""
    length = np.linalg.norm(vector)
    return (vector / length).astype(np.float32) if length else vector


def _place_truncated(lane_call: LaneCall, sent: Sequence[int]) -> None:
    """Tells which texts were cut by their positions among all, where only some were sent."""
    lane_call.call.truncated = tuple(sent[position] for position in lane_call.call.truncated)


def _logistic(score: float) -> float:
    return 1 / (1 + math.exp(-score)) if score >= 0 else math.exp(score) / (1 + math.exp(score))


def _wrong_number(lane_call: LaneCall) -> StatusError:
    return StatusError(
        f"endpoint [{lane_call.endpoint.inference_id}] did not answer with one result for each input", status=500
    )
