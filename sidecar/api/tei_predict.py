"""``/predict`` of text-embeddings-inference: the score of a query and a text read together, over a reranker.

Source: text-embeddings-inference's API.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

from aiohttp import web

from sidecar.api.call import Call
from sidecar.api.compat_bodies import read_fields, scores
from sidecar.api.lanes import Lane, LaneCall
from sidecar.core.errors import StatusError
from sidecar.core.tasks import TaskType

LABEL = "LABEL_0"
"""What a model with a single logit calls it, unless somebody gave it a name."""
_Pair: TypeAlias = tuple[str, str]


async def hf_predict(call: Call, values: Mapping[str, str]) -> web.StreamResponse:
    """``{"inputs": [query, text]}``, or a list of such pairs, to ``[{"score", "label"}]`` for each."""
    fields = await read_fields(call)
    lane_call = await LaneCall.begin(call, values["inference_id"], Lane.SEARCH, TaskType.RERANK)
    inputs = fields.get("inputs")
    is_single = isinstance(inputs, list) and all(isinstance(part, str) for part in inputs)
    pairs = [_pair(part) for part in ([inputs] if is_single or not isinstance(inputs, list) else inputs)]
    found, cut = await _scored(lane_call, pairs, raw=fields.get("raw_scores") is True)
    call.truncated = cut
    if cut and fields.get("truncate") is False:
        raise StatusError(f"input [{cut[0]}] is longer than the model reads, and [truncate] is false", status=413)
    rows = [[{"score": score, "label": LABEL}] for score in found]
    return call.unfiltered(rows[0] if is_single else rows)


def _pair(value: Any) -> _Pair:
    if isinstance(value, list) and len(value) == 2 and all(isinstance(part, str) for part in value):
        return value[0], value[1]
    raise StatusError(
        "[inputs] must be a pair of strings [query, text], or an array of such pairs: a reranker reads two texts",
        status=422,
    )


async def _scored(lane_call: LaneCall, pairs: list[_Pair], *, raw: bool) -> tuple[list[float], list[int]]:
    """A score for each pair, and the positions of those that were cut; pairs with one query go together."""
    positions: dict[str, list[int]] = {}
    for number, (query, _) in enumerate(pairs):
        positions.setdefault(query, []).append(number)
    found: dict[int, float] = {}
    cut: list[int] = []
    for query, numbers in positions.items():
        values = await scores(lane_call, query, [pairs[number][1] for number in numbers], raw=raw)
        found |= dict(zip(numbers, values, strict=True))
        cut += [numbers[position] for position in lane_call.call.truncated]
    return [found[number] for number in range(len(pairs))], sorted(cut)
