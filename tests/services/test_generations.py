"""What a generation of the API changes on the way to a provider, where no recording of that release tells."""

from __future__ import annotations

import pytest

from tests.services.conftest import Bench
from tests.services.stand_in import Reply

VECTOR = Reply.json({"data": [{"embedding": [0.5, 0.25], "index": 0}]})


async def create(bench: Bench, path: str, settings: dict[str, object], version: str) -> None:
    bench.provider.play((), [VECTOR])
    bench.provider.is_open = True
    body = {"service": "openai", "service_settings": {"api_key": "k", "model_id": "m", **settings}}
    answer = await bench.send("PUT", path, body, version=version)
    assert answer["status"] == 200, answer


@pytest.mark.parametrize("version", ["8.14.1", "8.16.1"])
async def test_a_query_that_no_reranking_asks_for_fails_at_once_before_anything_is_sent(
    bench: Bench, version: str
) -> None:
    """8.16 waits for its timeout instead."""
    await create(bench, "/_inference/text_embedding/x", {}, version)
    sent = len(bench.provider.calls)
    answer = await bench.send("POST", "/_inference/text_embedding/x", {"input": "a", "query": "q"}, version=version)
    assert answer["status"] == 500
    error = answer["body"]["error"]
    assert error["type"] == "unsupported_operation_exception"
    assert error["reason"] == "OpenAI service does not support inference with query input"
    assert len(bench.provider.calls) == sent
