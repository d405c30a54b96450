"""Cohere's SDK, both of its clients."""

from __future__ import annotations

from typing import Any

import cohere

from tests.clients.operations import BEST, DENSE, QUESTION, RERANK, TEXTS, Operations, refused, same

operations = Operations("cohere")


def new(url: str) -> Any:
    return cohere.ClientV2(api_key="any", base_url=url)


def old(url: str) -> Any:
    return cohere.Client(api_key="any", base_url=url)


def _top_two(answer: Any) -> str:
    assert answer.results[0].index == TEXTS.index(BEST)
    assert len(answer.results) == 2
    return "2 of 3 documents, the best first"


@operations.named("`ClientV2.rerank(top_n=2)`")
def rerank(url: str) -> str:
    return _top_two(new(url).rerank(model=RERANK, query=QUESTION, documents=TEXTS, top_n=2))


@operations.named("`ClientV2.embed`, `search_query`")
def embed_question(url: str) -> str:
    answer = new(url).embed(model=DENSE, texts=[QUESTION], input_type="search_query", embedding_types=["float"])
    return same(answer.embeddings.float_[0], url, QUESTION, "search")


@operations.named("`ClientV2.embed`, `search_document`")
def embed_documents(url: str) -> str:
    answer = new(url).embed(model=DENSE, texts=TEXTS, input_type="search_document", embedding_types=["float"])
    assert len(answer.embeddings.float_) == 3
    return same(answer.embeddings.float_[2], url, TEXTS[2], "ingest")


@operations.named("`Client.rerank(top_n=2)` (v1)")
def rerank_v1(url: str) -> str:
    return _top_two(old(url).rerank(model=RERANK, query=QUESTION, documents=TEXTS, top_n=2))


@operations.named("`Client.embed` (v1)")
def embed_v1(url: str) -> str:
    answer = old(url).embed(model=DENSE, texts=[QUESTION], input_type="search_query")
    return same(answer.embeddings[0], url, QUESTION, "search")


@operations.named("`ClientV2` with base URL `/compat/cohere/{inference_id}`")
def below_the_endpoint(url: str) -> str:
    client = new(f"{url}/compat/cohere/{RERANK}")
    return _top_two(client.rerank(model="rerank-v3.5", query=QUESTION, documents=TEXTS, top_n=2))


@operations.named("error: a model that is no endpoint")
def no_model(url: str) -> str:
    return refused(
        lambda: new(url).rerank(model="nothing", query="a", documents=["b"]),
        cohere.NotFoundError,
        "Inference endpoint not found",
    )


@operations.named("error: a route that is not there")
def no_route(url: str) -> str:
    return refused(
        lambda: new(url).chat(model="a", messages=[{"role": "user", "content": "b"}]),
        cohere.NotFoundError,
        "Invalid URL",
    )


@operations.named("error: `embedding_types` that cannot be had")
def no_type(url: str) -> str:
    return refused(
        lambda: new(url).embed(model=DENSE, texts=["a"], input_type="search_query", embedding_types=["ubinary"]),
        cohere.UnprocessableEntityError,
        "only float and base64",
    )


if __name__ == "__main__":
    operations.main()
