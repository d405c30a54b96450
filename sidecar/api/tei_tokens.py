"""What text-embeddings-inference tells of a model's tokens: ``/tokenize`` and ``/decode``.

Source: text-embeddings-inference's API.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from functools import partial
from typing import Any

from aiohttp import web

from sidecar.api.call import Call
from sidecar.api.compat_bodies import read_fields, read_texts
from sidecar.api.compat_forms import lane_of
from sidecar.api.keys import INFERENCE
from sidecar.core.errors import StatusError
from sidecar.runtime.vocabulary import Vocabulary

_BYTES_OF_PIECE = 64


async def hf_tokenize(call: Call, values: Mapping[str, str]) -> web.StreamResponse:
    """``{"inputs", "add_special_tokens", "prompt_name"}`` to the tokens of each text, whole, with their places."""
    fields = await read_fields(call)
    vocabulary = await _vocabulary(call, values)
    special = fields.get("add_special_tokens") is not False
    prompt = ""
    if fields.get("prompt_name") is not None:
        prompt = vocabulary.prompts.of(lane_of(values, fields, "prompt_name").input_type)
    texts = [prompt + text for text in read_texts(fields, "inputs")]

    def tokens() -> list[list[dict[str, Any]]]:
        return [list(map(asdict, vocabulary.pieces(text, special_tokens=special))) for text in texts]

    rows = await call.beside(_BYTES_OF_PIECE * sum(map(len, texts)), tokens)
    return await call.unfiltered_of(_BYTES_OF_PIECE // 8 * sum(map(len, rows)), rows)


async def hf_decode(call: Call, values: Mapping[str, str]) -> web.StreamResponse:
    """``{"ids", "skip_special_tokens"}`` to a text for each list of ids."""
    fields = await read_fields(call)
    vocabulary = await _vocabulary(call, values)
    lists = _ids(fields.get("ids"))
    decode = partial(vocabulary.text, skip_special_tokens=fields.get("skip_special_tokens") is not False)
    texts = await call.beside(8 * sum(map(len, lists)), lambda: list(map(decode, lists)))
    return call.unfiltered(texts)


async def _vocabulary(call: Call, values: Mapping[str, str]) -> Vocabulary:
    inference = call.request.app[INFERENCE]
    return await inference.vocabulary(await inference.find(values["inference_id"]))


def _ids(value: Any) -> list[list[int]]:
    """One list of ids, or several."""
    lists = [value] if isinstance(value, list) and value and not isinstance(value[0], list) else value
    if not isinstance(lists, list) or not all(isinstance(ids, list) and all(map(_is_id, ids)) for ids in lists):
        raise StatusError("[ids] must be an array of token ids, or an array of such arrays", status=422)
    return lists


def _is_id(value: Any) -> bool:
    return type(value) is int and 0 <= value < 1 << 32
