"""The bulk helpers of the Elasticsearch client that is installed, pointed at a front; run as a program for another one.

``python bulk_helpers.py URL INDEX`` writes through every helper and prints the ids that each of them wrote.
"""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

from elasticsearch import AsyncElasticsearch, Elasticsearch, helpers


def actions(index: str, helper: str) -> list[dict[str, Any]]:
    """Writes of every kind, and one document whose inference fails."""
    made: list[dict[str, Any]] = [
        {"_index": index, "_id": f"{helper}-{n}", "text": f"text {n} of {helper}"} for n in range(5)
    ]
    made.append({"_op_type": "create", "_index": index, "_id": f"{helper}-new", "text": f"a new text of {helper}"})
    made.append({"_op_type": "update", "_index": index, "_id": f"{helper}-0", "doc": {"text": f"changed by {helper}"}})
    made.append({"_index": index, "_id": f"{helper}-bad", "text": f"this must fail in {helper}"})
    return made


def drive(url: str, index: str) -> dict[str, list[tuple[bool, str]]]:
    """What each helper says of its actions: whether it went well, and the id."""
    client = Elasticsearch(url)
    lax: dict[str, Any] = {"raise_on_error": False, "raise_on_exception": False}
    said: dict[str, list[tuple[bool, Any]]] = {
        "streaming_bulk": list(helpers.streaming_bulk(client, actions(index, "streaming"), chunk_size=3, **lax)),
        "parallel_bulk": list(
            helpers.parallel_bulk(client, actions(index, "parallel"), thread_count=1, chunk_size=20, **lax)
        ),
    }
    said["bulk"] = _counted(helpers.bulk(client, actions(index, "bulk"), **lax))
    said["async_bulk"] = asyncio.run(_asynchronously(url, index, lax))
    client.close()
    return {name: [(bool(ok), _id(item)) for ok, item in items] for name, items in said.items()}


async def _asynchronously(url: str, index: str, lax: dict[str, Any]) -> list[tuple[bool, Any]]:
    async with AsyncElasticsearch(url) as client:
        return _counted(await helpers.async_bulk(client, actions(index, "async"), **lax))


def _counted(result: Any) -> list[tuple[bool, Any]]:
    count, errors = result
    return [(True, {"index": {"_id": ""}})] * count + [(False, error) for error in errors]


def _id(item: Any) -> str:
    ((_, about),) = item.items()
    return str(about["_id"])


if __name__ == "__main__":
    print(json.dumps(drive(sys.argv[1], sys.argv[2])))
