"""What is no Elasticsearch and answers in its place: a login page, say."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiohttp import web
from elasticsearch import AsyncElasticsearch
from pytest_aiohttp.plugin import AiohttpServer


@asynccontextmanager
async def impostor(aiohttp_server: AiohttpServer, body: bytes) -> AsyncIterator[AsyncElasticsearch]:
    """A client of something that answers every request with ``body``."""

    async def answer(_request: web.Request) -> web.Response:
        headers = {"X-Elastic-Product": "Elasticsearch", "Content-Type": "application/json"}
        return web.Response(body=body, headers=headers)

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    server = await aiohttp_server(app)
    async with AsyncElasticsearch(str(server.make_url("/"))) as client:
        yield client
