"""A provider of vectors, which stands in for real ones: the same text, the same vector; ``fail`` in a text, 400."""

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


def provider() -> tuple[web.Application, list[str]]:
    """The application, and the texts that it is asked for, in order."""
    asked: list[str] = []

    async def embed(request: web.Request) -> web.Response:
        texts = (await request.json())["inputs"]
        asked.extend(texts)
        if any("fail" in text for text in texts):
            return web.json_response({"error": "as asked"}, status=400)
        make = tokens_of if request.match_info["kind"] == "sparse" else vector_of
        return web.json_response([make(text) for text in texts])

    app = web.Application()
    app.router.add_post("/{kind}", embed)
    return app, asked
