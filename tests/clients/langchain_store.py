"""LangChain: vectors, chats and reranking by the providers' packages, stores in Elasticsearch through a front."""

from __future__ import annotations

from typing import Any

from elasticsearch import Elasticsearch
from langchain_cohere import CohereEmbeddings, CohereRerank
from langchain_core.documents import Document
from langchain_elasticsearch import (
    DenseVectorStrategy,
    ElasticsearchEmbeddings,
    ElasticsearchStore,
    SparseVectorStrategy,
)
from langchain_openai import ChatOpenAI, OpenAIEmbeddings

from tests.clients.operations import (
    BEST,
    CHAT,
    DENSE,
    QUESTION,
    RERANK,
    SPARSE,
    TEXTS,
    Operations,
    best,
    fresh,
    same,
    send,
)

operations = Operations("langchain-elasticsearch")
PIPELINE = f"{SPARSE}_sparse_embedding"


def openai_embeddings(url: str, lane: str) -> OpenAIEmbeddings:
    return OpenAIEmbeddings(model=DENSE, base_url=f"{url}/{lane}/v1", api_key="any", check_embedding_ctx_length=False)


def searched(store: ElasticsearchStore) -> str:
    store.add_texts(TEXTS)
    return best([hit.page_content for hit in store.similarity_search(QUESTION, k=3)])


@operations.named("`ElasticsearchEmbeddings`, documents and question")
def trained_model(url: str) -> str:
    embeddings = ElasticsearchEmbeddings(DENSE, es_url=url)
    assert len(embeddings.embed_documents(TEXTS)) == 3
    return same(embeddings.embed_query(QUESTION), url, QUESTION, "ingest")


@operations.named("`ElasticsearchStore`, `SparseVectorStrategy`, index made before")
def sparse(url: str) -> str:
    strategy = SparseVectorStrategy(model_id=SPARSE)
    strategy.before_index_creation(client=Elasticsearch(url), text_field="text", vector_field="vector")
    field = {"properties": {"tokens": {"type": "sparse_vector"}}}
    settings = {"default_pipeline": PIPELINE}
    index = fresh(url, "langchain-sparse", mappings={"properties": {"vector": field}}, settings=settings)
    store = ElasticsearchStore(index, es_url=url, strategy=strategy)
    return searched(store)


def bound_template(url: str, index: str) -> None:
    """The index, when it is made, is bound from birth."""
    mappings = {"_meta": {"sidecar": {"maps": [f"text:vector={DENSE}"]}}}
    body = {"index_patterns": [f"{index}*"], "priority": 500, "template": {"mappings": mappings}}
    send("PUT", f"{url}/_index_template/{index}", body)


@operations.named("`ElasticsearchStore`, `DenseVectorStrategy(model_id)`, bound by an index template")
def dense_by_model(url: str) -> str:
    index = fresh(url, "langchain-dense")
    bound_template(url, index)
    return searched(ElasticsearchStore(index, es_url=url, strategy=DenseVectorStrategy(model_id=DENSE)))


@operations.named("`ElasticsearchStore`, `DenseVectorStrategy(model_id, hybrid=True)`, the same")
def hybrid_by_model(url: str) -> str:
    index = fresh(url, "langchain-hybrid-model")
    bound_template(url, index)
    strategy = DenseVectorStrategy(model_id=DENSE, hybrid=True)
    return searched(ElasticsearchStore(index, es_url=url, strategy=strategy))


@operations.named("`ElasticsearchStore`, `DenseVectorStrategy()`, vectors by `OpenAIEmbeddings`")
def dense(url: str) -> str:
    index = fresh(url, "langchain-openai")
    return searched(ElasticsearchStore(index, es_url=url, embedding=openai_embeddings(url, "ingest")))


@operations.named("`ElasticsearchStore`, `DenseVectorStrategy(hybrid=True)` with its default `rrf`")
def hybrid(url: str) -> str:
    index = fresh(url, "langchain-hybrid")
    embedding = openai_embeddings(url, "ingest")
    strategy = DenseVectorStrategy(hybrid=True)
    return searched(ElasticsearchStore(index, es_url=url, embedding=embedding, strategy=strategy))


@operations.named("langchain-openai: `OpenAIEmbeddings`, base URL `/ingest/v1`")
def documents(url: str) -> str:
    vectors = openai_embeddings(url, "ingest").embed_documents(TEXTS)
    assert len(vectors) == 3
    return same(vectors[0], url, TEXTS[0], "ingest")


@operations.named("langchain-openai: `OpenAIEmbeddings`, base URL `/search/v1`")
def question(url: str) -> str:
    return same(openai_embeddings(url, "search").embed_query(QUESTION), url, QUESTION, "search")


@operations.named("langchain-openai: `ChatOpenAI.invoke`, `stream`")
def chat(url: str) -> str:
    chats = ChatOpenAI(model=CHAT, base_url=f"{url}/v1", api_key="any")
    assert chats.invoke("Hi").content == "Hello there"
    pieces = [piece.content for piece in chats.stream("Hi") if piece.content]
    assert pieces == ["Hello", " there"]
    return f"`Hello there`, {len(pieces)} pieces"


@operations.named("langchain-cohere: `CohereRerank(top_n=2)`")
def rerank(url: str) -> str:
    reranker = CohereRerank(model=RERANK, base_url=url, cohere_api_key="any", top_n=2)
    ranked = reranker.compress_documents([Document(text) for text in TEXTS], QUESTION)
    assert len(ranked) == 2
    assert ranked[0].page_content == BEST
    return "2 of 3 documents, the best first"


@operations.named("langchain-cohere: `CohereEmbeddings`")
def cohere_embeddings(url: str) -> str:
    embeddings: Any = CohereEmbeddings(model=DENSE, base_url=url, cohere_api_key="any")
    same(embeddings.embed_documents(TEXTS)[0], url, TEXTS[0], "ingest")
    return same(embeddings.embed_query(QUESTION), url, QUESTION, "search")


if __name__ == "__main__":
    operations.main()
