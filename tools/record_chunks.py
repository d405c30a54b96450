"""Records how real Elasticsearch nodes cut texts for ``semantic_text`` fields.

    python -m tools.record_chunks http://127.0.0.1:9200 http://127.0.0.1:9201 > tests/recorded/chunks.jsonl

Each node needs a trial licence and must reach this machine, on which a stand-in for a Hugging Face server listens. A
line holds a text and, per settings and Elasticsearch versions that agree, the chunks as ``[start, end]`` in UTF-16 code
units; what the node sent to the server is checked against these offsets.
"""

import asyncio
import json
import sys
from collections.abc import Mapping
from typing import Any

from aiohttp import web
from elasticsearch import AsyncElasticsearch

from tools.chunk_texts import SETTINGS, TEXTS

_NAME = "recording-of-chunks"
_SENT = web.AppKey("sent", set[str])


async def main(*urls: str) -> None:
    """Asks every node and writes one line per text to standard output."""
    cuts: list[list[dict[str, Any]]] = [[] for _ in TEXTS]
    for settings in SETTINGS:
        chunks_by_version = {}
        for url in urls:
            async with AsyncElasticsearch(url, request_timeout=120) as client:
                version = (await client.info())["version"]["number"]
                chunks_by_version[version] = await _ask(client, settings)
        for number, recorded in enumerate(cuts):
            versions_by_chunks: dict[str, list[str]] = {}
            for version, chunks in chunks_by_version.items():
                versions_by_chunks.setdefault(json.dumps(chunks[number]), []).append(version)
            recorded += [
                {"settings": settings, "versions": versions, "chunks": json.loads(chunks)}
                for chunks, versions in versions_by_chunks.items()
            ]
    for text, recorded in zip(TEXTS, cuts, strict=True):
        sys.stdout.write(json.dumps({"text": text, "cuts": recorded}, separators=(",", ":")) + "\n")


async def _ask(client: AsyncElasticsearch, settings: Mapping[str, Any]) -> dict[int, list[list[int]]]:
    app = web.Application(client_max_size=2**24)
    app[_SENT] = set()
    app.router.add_post("/", _embed)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        port = runner.addresses[0][1]
        await client.options(ignore_status=404).indices.delete(index=_NAME)
        await client.options(ignore_status=404).inference.delete(inference_id=_NAME, force=True)
        await client.inference.put(
            task_type="text_embedding",
            inference_id=_NAME,
            inference_config={
                "service": "hugging_face",
                "service_settings": {
                    "api_key": "k",
                    "url": f"http://127.0.0.1:{port}/",
                    "rate_limit": {"requests_per_minute": 1_000_000},
                },
            },
        )
        field = {"type": "semantic_text", "inference_id": _NAME, "chunking_settings": dict(settings)}
        await client.indices.create(index=_NAME, mappings={"properties": {"body": field}})
        operations: list[dict[str, Any]] = []
        for number, text in enumerate(TEXTS):
            operations += [{"index": {"_id": str(number)}}, {"body": text}]
        answer = await client.bulk(index=_NAME, operations=operations, refresh=True)
        if answer["errors"]:
            raise RuntimeError(json.dumps(answer.body)[:2000])
        found = await client.search(
            index=_NAME,
            size=len(TEXTS),
            query={"match_all": {}},
            fields=[{"field": "_inference_fields"}],
            source_includes=["body"],
        )
        chunks = {int(hit["_id"]): _offsets(hit) for hit in found["hits"]["hits"]}
        _compare(chunks, app[_SENT])
        return chunks
    finally:
        await client.options(ignore_status=404).indices.delete(index=_NAME)
        await client.options(ignore_status=404).inference.delete(inference_id=_NAME, force=True)
        await runner.cleanup()


async def _embed(request: web.Request) -> web.Response:
    inputs = (await request.json())["inputs"]
    request.app[_SENT].update(inputs)
    return web.json_response([[1.0, 0.5, 0.25, 0.125] for _ in inputs])


def _offsets(hit: Mapping[str, Any]) -> list[list[int]]:
    fields = hit["_source"].get("_inference_fields") or hit.get("_inference_fields") or {}
    chunks = fields.get("body", {}).get("inference", {}).get("chunks", {}).get("body", [])
    return [[chunk["start_offset"], chunk["end_offset"]] for chunk in chunks]


def _compare(chunks: Mapping[int, list[list[int]]], sent: set[str]) -> None:
    for number, offsets in chunks.items():
        units = TEXTS[number].encode("utf-16-le")
        for start, end in offsets:
            piece = units[2 * start : 2 * end].decode("utf-16-le")
            if piece not in sent:
                raise RuntimeError(f"the node reports a chunk that it did not send: {piece!r}")


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
