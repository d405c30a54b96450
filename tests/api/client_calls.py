"""Every call of the official client that the sidecar answers, against one base URL; run for both lines of the client.

    python client_calls.py BASE_URL PROVIDER_URL

Prints the version of the client as its last line. Anything unexpected raises.
"""

from __future__ import annotations

import sys
from importlib.metadata import version
from typing import Any

from elasticsearch import BadRequestError, Elasticsearch, NotFoundError

REFUSED = "Inference endpoint not found [none]"


def drive(base: str, provider: str) -> str:
    """Drives the API at ``base``; the client's version."""
    with Elasticsearch(base, request_timeout=30) as client:
        assert client.ping()
        assert client.info()["cluster_name"] == "elasticsearch-inference-sidecar"
        _manage(client, provider)
        _perform(client, provider)
        _fail(client)
    return version("elasticsearch")


def _config(provider: str, path: str) -> dict[str, Any]:
    return {"service": "openai", "service_settings": {"api_key": "k", "model_id": "m", "url": f"{provider}/{path}"}}


def _manage(client: Elasticsearch, provider: str) -> None:
    config = _config(provider, "openai/v1/embeddings")
    created = client.inference.put(
        task_type="text_embedding", inference_id="dense", inference_config=config, timeout="20s"
    )
    assert created["inference_id"] == "dense"
    assert created["service_settings"]["dimensions"] == 4
    client.inference.put(inference_id="short", inference_config={**config, "task_type": "text_embedding"})
    assert client.inference.get(inference_id="dense")["endpoints"] == [dict(created)]
    assert client.inference.get(task_type="text_embedding", inference_id="dense")["endpoints"] == [dict(created)]
    ids = [endpoint["inference_id"] for endpoint in client.inference.get()["endpoints"]]
    assert {"dense", "short", ".elser-2-elasticsearch"} <= set(ids)
    updated = client.inference.update(
        inference_id="dense", task_type="text_embedding", inference_config={"task_settings": {"user": "u"}}
    )
    assert updated["task_settings"] == {"user": "u"}
    dry = client.inference.delete(inference_id="short", dry_run=True)
    assert dry["acknowledged"] is False
    assert client.inference.delete(inference_id="short", force=True)["acknowledged"] is True
    filtered = client.inference.get(inference_id="dense", filter_path=["endpoints.service", "endpoints.task_type"])
    assert filtered.body == {"endpoints": [{"task_type": "text_embedding", "service": "openai"}]}
    services = client.perform_request("GET", "/_inference/_services", headers={"accept": "application/json"})
    assert {"openai", "elasticsearch"} <= {service["service"] for service in services.body}


def _perform(client: Elasticsearch, provider: str) -> None:
    rows = client.inference.text_embedding(inference_id="dense", input=["a", "bb"])["text_embedding"]
    assert [row["embedding"][0] for row in rows] == [0.02, 0.03]
    rows = client.inference.inference(inference_id="dense", input="a", timeout="5s")["text_embedding"]
    assert rows[0]["embedding"] == [0.02, 0.03, 0.04, 0.05]
    rows = client.inference.sparse_embedding(inference_id=".elser-2-elasticsearch", input="weather")["sparse_embedding"]
    assert next(iter(rows[0]["embedding"])) == "weather"
    rows = client.inference.rerank(inference_id=".rerank-v1-elasticsearch", input=["a", "b"], query="q")["rerank"]
    assert sorted(row["index"] for row in rows) == [0, 1]
    client.inference.put(
        task_type="completion",
        inference_id="complete",
        inference_config=_config(provider, "openai/v1/chat/completions"),
    )
    assert client.inference.completion(inference_id="complete", input="hi")["completion"] == [{"result": "Echo: hi"}]
    streamed = client.perform_request(
        "POST",
        "/_inference/completion/complete/_stream",
        headers={"accept": "text/event-stream", "content-type": "application/json"},
        body={"input": "hi"},
    )
    assert str(streamed.body).endswith("event: message\ndata: [DONE]\n\n")
    with_vendor = client.options(opaque_id="mine").inference.get(inference_id="complete")
    assert with_vendor.meta.headers["x-opaque-id"] == "mine"
    assert "compatible-with=" in with_vendor.meta.headers["content-type"]


def _fail(client: Elasticsearch) -> None:
    for call in (client.inference.get, client.inference.delete):
        try:
            call(inference_id="none")
        except NotFoundError as error:
            assert str(error) == f"NotFoundError(404, 'resource_not_found_exception', '{REFUSED}')"
        else:
            raise AssertionError("an endpoint that is not there was found")
    try:
        client.inference.put(task_type="text_embedding", inference_id="dense", inference_config={"service": "nope"})
    except BadRequestError as error:
        assert error.body["error"]["reason"] == "Unknown service [nope]"
    else:
        raise AssertionError("an unknown service was taken")


if __name__ == "__main__":
    print(drive(sys.argv[1], sys.argv[2]))
