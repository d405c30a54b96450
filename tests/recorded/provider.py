"""A model provider whose answers follow from the request alone, so that recorded answers can be compared by value.

One application speaks every shape: OpenAI, Hugging Face, Cohere, Llama Stack, Alibaba and flat shapes for ``custom``.
A path may begin with a behaviour: ``/fail/{status}``, ``/fail-tei/{status}``, ``/fail-html/{status}``,
``/fail-empty/{status}``, ``/fail-once/{status}``, ``/malformed``, ``/empty``, ``/wrong``, ``/short`` and ``/slow``. The
call that validates a new endpoint is spared, unless ``/always`` stands before the behaviour.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

Json = Any
_VALIDATION_INPUTS = (["how big"], ["test query"])
_WITH_STATUS = ("fail", "fail-tei", "fail-html", "fail-empty", "fail-once")
_WITHOUT_STATUS = ("malformed", "empty", "wrong", "short", "slow")
_PAUSE = 0.01  # Between streamed chunks, so that each arrives alone.
# Above every timeout of the recorded requests that meet it, and no longer than the tests need to wait.
_SLOW = 2.5


@dataclass
class Provider:
    """The application's state: which ``fail-once`` requests have failed already."""

    failed: set[str] = field(default_factory=set)


PROVIDER: web.AppKey[Provider] = web.AppKey("PROVIDER", Provider)


def create_provider() -> web.Application:
    app = web.Application()
    app[PROVIDER] = Provider()
    app.router.add_post("/{path:.*}", _answer)
    return app


async def _answer(request: web.Request) -> web.StreamResponse:
    raw = await request.read()
    try:
        body = json.loads(raw)
    except ValueError:
        body = {}
    body = body if isinstance(body, dict) else {}
    behaviour, status, path, always = _behaviour_of(request.path, body)
    if _texts(body) in _VALIDATION_INPUTS and not always:
        behaviour = ""
    if behaviour == "fail-once":
        key = path + json.dumps(body, sort_keys=True)
        failed = request.app[PROVIDER].failed
        behaviour = "" if key in failed else "fail"
        failed.add(key)
    if behaviour in _WITH_STATUS:
        return _failure(behaviour, status)
    if behaviour == "slow":
        await asyncio.sleep(_SLOW)
    if behaviour == "malformed":
        return web.Response(body=b'{"data": [{"embedding": [0.1, ', content_type="application/json")
    if behaviour == "empty":
        return web.Response(body=b"", content_type="application/json")
    if behaviour == "wrong":
        return web.json_response({"surprise": 1})
    if body.get("stream") and path == "/openai/v1/chat/completions":
        return await _stream(request, _chat_chunks(body))
    answer = _alibaba(path, body) if path.startswith("/v3/openapi/") else _plain(path, body)
    if answer is None:
        error = {"message": f"unknown path {path}", "type": "not_found", "code": None}
        return web.json_response({"error": error}, status=404)
    return web.json_response(_without_last(answer) if behaviour == "short" else answer)


def _behaviour_of(path: str, body: dict[str, Json]) -> tuple[str, int, str, bool]:
    always = path.startswith("/always/")
    first, _, rest = path.removeprefix("/always").lstrip("/").partition("/")
    model = str(body.get("model"))
    if model.startswith("fail-"):
        return "fail", int(model.removeprefix("fail-")), f"/{first}/{rest}", always
    if first in _WITH_STATUS:
        status, _, rest = rest.partition("/")
        return first, int(status), f"/{rest}", always
    if first in _WITHOUT_STATUS:
        return first, 200, f"/{rest}", always
    return "", 200, path.removeprefix("/always"), always


def _failure(behaviour: str, status: int) -> web.Response:
    headers = {"Location": "/elsewhere"} if 300 <= status < 400 else {}
    if behaviour == "fail-html":
        page = f"<html><body><h1>{status}</h1></body></html>"
        return web.Response(text=page, content_type="text/html", status=status, headers=headers)
    if behaviour == "fail-empty":
        return web.Response(body=b"", content_type="application/json", status=status, headers=headers)
    if behaviour == "fail-tei":
        error: Json = {"error": f"tei says {status}", "error_type": "validation"}
    else:
        described = {"message": f"openai says {status}", "type": "invalid_request_error", "param": None, "code": None}
        error = {"error": described}
    return web.json_response(error, status=status, headers=headers)


async def _stream(request: web.Request, chunks: list[str]) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
    await response.prepare(request)
    for chunk in chunks:
        await asyncio.sleep(_PAUSE)
        await response.write(f"data: {chunk}\n\n".encode())
    await response.write_eof()
    return response


# --- inputs and results ---------------------------------------------------------------------------------------------


def _texts(body: dict[str, Json]) -> list[str]:
    name = next((n for n in ("input", "inputs", "texts", "contents", "documents", "docs") if n in body), None)
    if name is None:
        return [_last_message(body)] if "messages" in body else []
    items = body[name] if isinstance(body[name], list) else [body[name]]
    return [item.get("text", json.dumps(item)) if isinstance(item, dict) else str(item) for item in items]


def _last_message(body: dict[str, Json]) -> str:
    messages = body.get("messages") or [{}]
    content = messages[-1].get("content") or ""
    if isinstance(content, list):
        return "".join(part.get("text", "") for part in content)
    return str(content)


def _vector(text: str, dimensions: int = 4) -> list[float]:
    return [round((len(text) % 90 + n) / 100, 2) for n in range(1, dimensions + 1)]


def _signed_bytes(text: str) -> list[int]:
    return [(7 * len(text) + 31 * n) % 256 - 128 for n in range(4)]


def _weights(text: str) -> dict[str, float]:
    words = text.split() or ["empty"]
    return {word.lower(): round(1 + len(word) / 8 + n / 16, 4) for n, word in enumerate(words)}


def _ranked(documents: list[str], limit: int | None = None) -> list[tuple[int, float]]:
    scored = [(n, round(1 / (1 + len(document)), 6)) for n, document in enumerate(documents)]
    return sorted(scored, key=lambda item: (-item[1], item[0]))[:limit]


# --- shapes -------------------------------------------------------------------------------------------------------


def _openai_embeddings(body: dict[str, Json]) -> Json:
    vectors = [_vector(text, body.get("dimensions") or 4) for text in _texts(body)]
    data = [{"object": "embedding", "index": n, "embedding": vector} for n, vector in enumerate(vectors)]
    return {"object": "list", "data": data, "model": body.get("model", "m"), "usage": {"total_tokens": len(vectors)}}


def _openai_chat(body: dict[str, Json]) -> Json:
    message = {"role": "assistant", "content": f"Echo: {_last_message(body)}"}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    usage = {"prompt_tokens": 9, "completion_tokens": 3, "total_tokens": 12}
    common = {"id": "chatcmpl-1", "object": "chat.completion", "model": body.get("model", "m")}
    return {**common, "choices": [choice], "usage": usage}


def _chat_chunks(body: dict[str, Json]) -> list[str]:
    text = _last_message(body)
    common = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": body.get("model", "m")}

    def chunk(delta: Json, finish: str | None = None) -> str:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
        return json.dumps({**common, "choices": [choice], "usage": None})

    chunks = [chunk({"role": "assistant", "content": "", "refusal": None})]
    if "tools" in text:
        function = {"name": "f", "arguments": ""}
        chunks.append(chunk({"tool_calls": [{"index": 0, "id": "call_1", "type": "function", "function": function}]}))
        for piece in ('{"a":', "1}"):
            chunks.append(chunk({"tool_calls": [{"index": 0, "function": {"arguments": piece}}]}))
        chunks.append(chunk({}, "tool_calls"))
    else:
        chunks += [chunk({"content": piece}) for piece in ("Echo", ": ", text)]
        if "break" in text:
            error = {"message": "the model broke", "type": "server_error", "param": None, "code": "broken"}
            return [*chunks, json.dumps({"error": error})]
        if "junk" in text:
            return [*chunks, "{not json"]
        if "cut" in text:
            return chunks
        chunks.append(chunk({}, "stop"))
    if (body.get("stream_options") or {}).get("include_usage"):
        usage = {"prompt_tokens": 9, "completion_tokens": 3, "total_tokens": 12}
        chunks.append(json.dumps({**common, "choices": [], "usage": usage}))
    return [*chunks, "[DONE]"]


def _hf_rerank(body: dict[str, Json]) -> Json:
    documents = _texts(body)
    rows: list[dict[str, Json]] = [{"index": n, "score": score} for n, score in _ranked(documents, body.get("top_n"))]
    return [{**row, "text": documents[row["index"]]} for row in rows] if body.get("return_text") else rows


def _cohere_embed(body: dict[str, Json]) -> Json:
    makers: dict[str, Callable[[str], Json]] = {"float": _vector, "int8": _signed_bytes, "binary": _signed_bytes}
    kinds = body.get("embedding_types") or ["float"]
    found = {kind: [makers[kind](text) for text in _texts(body)] for kind in kinds if kind in makers}
    return {"id": "1", "response_type": "embeddings_by_type", "embeddings": found}


def _cohere_rerank(body: dict[str, Json]) -> Json:
    documents = _texts(body)
    rows = [{"index": n, "relevance_score": score} for n, score in _ranked(documents, body.get("top_n"))]
    if body.get("return_documents"):
        rows = [{**row, "document": {"text": documents[int(row["index"])]}} for row in rows]  # type: ignore[dict-item]
    return {"id": "1", "results": rows}


def _cohere_chat(body: dict[str, Json]) -> Json:
    text = f"Echo: {_last_message(body) if 'messages' in body else body.get('message')}"
    content = [{"type": "text", "text": text}]
    return {"id": "1", "text": text, "finish_reason": "COMPLETE", "message": {"role": "assistant", "content": content}}


def _cohere_v1(body: dict[str, Json]) -> Json:
    if "texts" in body:
        return _cohere_embed(body)
    return _cohere_rerank(body) if "query" in body else _cohere_chat(body)


def _custom_sparse(body: dict[str, Json]) -> Json:
    pairs = [[{"token": t, "weight": w} for t, w in _weights(text).items()] for text in _texts(body)]
    return {"result": {"items": pairs}}


def _custom_rerank(body: dict[str, Json]) -> Json:
    documents = _texts(body)
    return {"hits": [{"position": n, "score": score, "body": documents[n]} for n, score in _ranked(documents)]}


_SHAPES: dict[str, Callable[[dict[str, Json]], Json]] = {
    "/openai/v1/embeddings": _openai_embeddings,
    "/openai/v1/chat/completions": _openai_chat,
    "/hf/dense": lambda body: [_vector(text) for text in _texts(body)],
    "/hf/sparse": lambda body: [_weights(text) for text in _texts(body)],
    "/hf/rerank": _hf_rerank,
    "/llama/embeddings": lambda body: {"embeddings": [_vector(text) for text in _texts(body)]},
    "/v2/embed": _cohere_embed,
    "/v2/rerank": _cohere_rerank,
    "/v2/chat": _cohere_chat,
    "/": _cohere_v1,
    "/custom/dense": lambda body: {"vectors": [{"values": _vector(text)} for text in _texts(body)]},
    "/custom/sparse": _custom_sparse,
    "/custom/rerank": _custom_rerank,
    "/custom/completion": lambda body: {"answer": {"text": "Echo: " + " ".join(_texts(body))}},
}


def _plain(path: str, body: dict[str, Json]) -> Json:
    shape = _SHAPES.get(path)
    return shape(body) if shape is not None else None


def _alibaba(path: str, body: dict[str, Json]) -> Json:
    texts = _texts(body)
    if "/text-sparse-embedding/" in path:
        embeddings = [
            {
                "index": n,
                "embedding": [
                    {"tokenId": 10 + i, "weight": weight, "token": token}
                    for i, (token, weight) in enumerate(_weights(text).items())
                ],
            }
            for n, text in enumerate(texts)
        ]
        result: Json = {"sparse_embeddings": embeddings}
    elif "/text-embedding/" in path:
        result = {"embeddings": [{"index": n, "embedding": _vector(text)} for n, text in enumerate(texts)]}
    elif "/ranker/" in path:
        result = {"scores": [{"index": n, "score": score} for n, score in _ranked(texts)]}
    else:
        result = {"text": f"Echo: {_last_message(body)}"}
    return {"request_id": "1", "latency": 1.0, "usage": {"token_count": 1}, "result": result}


def _without_last(answer: Json) -> Json:
    if isinstance(answer, list):
        return answer[:-1]
    name = next((name for name, value in answer.items() if isinstance(value, list)), None)
    return answer if name is None else {**answer, name: answer[name][:-1]}
