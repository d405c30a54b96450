"""Haystack: a document store whose documents are embedded by an ingest pipeline, and its inference retrievers."""

from __future__ import annotations

from typing import Any

from haystack import Document
from haystack.components.embedders import OpenAIDocumentEmbedder, OpenAITextEmbedder
from haystack.utils import Secret
from haystack_integrations.components.retrievers.elasticsearch import (
    ElasticsearchEmbeddingRetriever,
    ElasticsearchInferenceDenseRetriever,
    ElasticsearchInferenceHybridRetriever,
    ElasticsearchInferenceSparseRetriever,
)
from haystack_integrations.document_stores.elasticsearch import ElasticsearchDocumentStore

from tests.clients.operations import DENSE, QUESTION, SPARSE, TEXTS, Operations, best, fresh, same, send

operations = Operations("elasticsearch-haystack")
INDEX = "haystack-documents"
PIPELINE = "haystack-vectors"
KEY = Secret.from_token("any")
DOCUMENTS = [Document(id=str(n), content=text) for n, text in enumerate(TEXTS)]


def store(url: str, **more: Any) -> ElasticsearchDocumentStore:
    return ElasticsearchDocumentStore(hosts=url, index=INDEX, sparse_vector_field="tokens", **more)


def found(answer: dict[str, list[Document]]) -> str:
    return best([document.content or "" for document in answer["documents"]])


@operations.named("`ElasticsearchDocumentStore(ingest_pipeline=...)`, `write_documents`")
def write(url: str) -> str:
    outputs = ((SPARSE, "tokens"), (DENSE, "embedding"))
    processors = [
        {"inference": {"model_id": model, "input_output": [{"input_field": "content", "output_field": field}]}}
        for model, field in outputs
    ]
    send("PUT", f"{url}/_ingest/pipeline/{PIPELINE}", {"processors": processors})
    fresh(url, INDEX)
    written = store(url, ingest_pipeline=PIPELINE).write_documents(DOCUMENTS)
    assert written == len(DOCUMENTS)
    read = store(url).filter_documents()
    assert len(read) == written
    return f"{written} documents written"


@operations.named("`ElasticsearchInferenceSparseRetriever`")
def sparse(url: str) -> str:
    return found(ElasticsearchInferenceSparseRetriever(document_store=store(url), inference_id=SPARSE).run(QUESTION))


@operations.named("`ElasticsearchInferenceDenseRetriever`")
def dense(url: str) -> str:
    return found(ElasticsearchInferenceDenseRetriever(document_store=store(url), inference_id=DENSE).run(QUESTION))


@operations.named("`ElasticsearchInferenceHybridRetriever`")
def hybrid(url: str) -> str:
    return found(ElasticsearchInferenceHybridRetriever(document_store=store(url), inference_id=SPARSE).run(QUESTION))


@operations.named("`OpenAIDocumentEmbedder`, base URL `/ingest/v1`")
def documents(url: str) -> str:
    embedder = OpenAIDocumentEmbedder(api_key=KEY, model=DENSE, api_base_url=f"{url}/ingest/v1")
    return same(embedder.run(DOCUMENTS)["documents"][0].embedding, url, TEXTS[0], "ingest")


@operations.named("`OpenAITextEmbedder`, base URL `/search/v1`, `ElasticsearchEmbeddingRetriever`")
def question(url: str) -> str:
    embedder = OpenAITextEmbedder(api_key=KEY, model=DENSE, api_base_url=f"{url}/search/v1")
    vector = embedder.run(QUESTION)["embedding"]
    same(vector, url, QUESTION, "search")
    return found(ElasticsearchEmbeddingRetriever(document_store=store(url)).run(query_embedding=vector))


if __name__ == "__main__":
    operations.main()
