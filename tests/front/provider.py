"""A provider of vectors, which stands in for real ones: the same text, the same vector; ``fail`` in a text, 400.

``twice`` in a text, every answer two times; ``never``, no answers at all.
"""

from __future__ import annotations

import hashlib

from aiohttp import web

DIMENSIONS = 4


def tokens_of(text: str) -> dict[str, float]:
    """Every word with a weight that a ``sparse_vector`` field keeps exactly."""
    return {word.lower(): 1 + len(word) / 8 for word in text.split()}


def vector_of(text: str) -> list[float]:
    """Four numbers from -1 to 1."""
    digest = hashlib.sha256(text.encode()).digest()
    return [(byte - 127.5) / 128 for byte in digest[:DIMENSIONS]]


def relevance(question: str, text: str) -> float:
    """The share of the question's words that the text has, and a little by which no two texts are the same."""
    words = set(question.lower().split())
    have = len(words & set(text.lower().split()))
    return have / len(words) + int(hashlib.sha256(text.encode()).hexdigest()[:6], 16) / 2**24 / 100


def provider() -> tuple[web.Application, list[str]]:
    """The application, and the texts that it is asked for, in order."""
    asked: list[str] = []

    async def embed(request: web.Request) -> web.Response:
        texts = (await request.json())["inputs"]
        asked.extend(texts)
        if any("fail" in text for text in texts):
            return web.json_response({"error": "as asked"}, status=400)
        if any("never" in text for text in texts):
            return web.json_response([])
        if any("twice" in text for text in texts):
            texts = [*texts, *texts]
        make = tokens_of if request.match_info["kind"] == "sparse" else vector_of
        return web.json_response([make(text) for text in texts])

    async def rerank(request: web.Request) -> web.Response:
        body = await request.json()
        if "fail" in body["query"]:
            return web.json_response({"error": "as asked"}, status=400)
        rows = [{"index": at, "score": relevance(body["query"], text)} for at, text in enumerate(body["texts"])]
        if "twice" in body["query"]:
            rows += rows
        return web.json_response(sorted(rows, key=lambda row: -float(row["score"])))

    app = web.Application()
    app.router.add_post("/rerank", rerank)
    app.router.add_post("/{kind}", embed)
    return app, asked
