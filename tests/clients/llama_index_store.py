"""LlamaIndex: vectors and reranking by the providers' packages, stores in Elasticsearch through a front."""

from __future__ import annotations

from elasticsearch.helpers.vectorstore import AsyncDenseVectorStrategy, AsyncSparseVectorStrategy
from llama_index.core import MockEmbedding, StorageContext, VectorStoreIndex
from llama_index.core.schema import NodeWithScore, TextNode
from llama_index.core.vector_stores.types import VectorStoreQueryMode
from llama_index.embeddings.openai import OpenAIEmbedding
from llama_index.postprocessor.cohere_rerank import CohereRerank
from llama_index.vector_stores.elasticsearch import ElasticsearchStore

from tests.clients.operations import (
    BEST,
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

operations = Operations("llama-index-vector-stores-elasticsearch")
PIPELINE = f"{SPARSE}_content"


def embedding(url: str, lane: str) -> OpenAIEmbedding:
    return OpenAIEmbedding(model_name=DENSE, api_base=f"{url}/{lane}/v1", api_key="any")


def retrieved(store: ElasticsearchStore, embed_model: object, mode: VectorStoreQueryMode) -> str:
    storage = StorageContext.from_defaults(vector_store=store)
    nodes = [TextNode(text=text) for text in TEXTS]
    index = VectorStoreIndex(nodes, storage_context=storage, embed_model=embed_model)
    retriever = index.as_retriever(similarity_top_k=3, vector_store_query_mode=mode)
    return best([hit.node.text for hit in retriever.retrieve(QUESTION)])


@operations.named("llama-index-embeddings-openai: `OpenAIEmbedding`, base URL `/ingest/v1`")
def documents(url: str) -> str:
    return same(embedding(url, "ingest").get_text_embedding_batch(TEXTS)[1], url, TEXTS[1], "ingest")


@operations.named("llama-index-embeddings-openai: `OpenAIEmbedding`, base URL `/search/v1`")
def question(url: str) -> str:
    return same(embedding(url, "search").get_query_embedding(QUESTION), url, QUESTION, "search")


@operations.named("`ElasticsearchStore`, vectors by `OpenAIEmbedding`")
def dense(url: str) -> str:
    store = ElasticsearchStore(index_name=fresh(url, "llama-dense"), es_url=url)
    return retrieved(store, embedding(url, "ingest"), VectorStoreQueryMode.DEFAULT)


@operations.named("`ElasticsearchStore`, `AsyncDenseVectorStrategy(hybrid=True)` with its default `rrf`")
def hybrid(url: str) -> str:
    strategy = AsyncDenseVectorStrategy(hybrid=True)
    store = ElasticsearchStore(index_name=fresh(url, "llama-hybrid"), es_url=url, retrieval_strategy=strategy)
    return retrieved(store, embedding(url, "ingest"), VectorStoreQueryMode.HYBRID)


@operations.named("`ElasticsearchStore`, `AsyncSparseVectorStrategy`, index made before")
def sparse(url: str) -> str:
    field = {"properties": {"tokens": {"type": "sparse_vector"}}}
    processor = {"model_id": SPARSE, "input_output": [{"input_field": "content", "output_field": "embedding.tokens"}]}
    send("PUT", f"{url}/_ingest/pipeline/{PIPELINE}", {"processors": [{"inference": processor}]})
    settings = {"default_pipeline": PIPELINE}
    index = fresh(url, "llama-sparse", mappings={"properties": {"embedding": field}}, settings=settings)
    strategy = AsyncSparseVectorStrategy(model_id=SPARSE)
    store = ElasticsearchStore(index_name=index, es_url=url, retrieval_strategy=strategy)
    return retrieved(store, MockEmbedding(1), VectorStoreQueryMode.SPARSE)


@operations.named("llama-index-postprocessor-cohere-rerank: `CohereRerank(top_n=2)`")
def rerank(url: str) -> str:
    reranker = CohereRerank(model=RERANK, base_url=url, api_key="any", top_n=2)
    nodes = [NodeWithScore(node=TextNode(text=text), score=0.5) for text in TEXTS]
    ranked = reranker.postprocess_nodes(nodes, query_str=QUESTION)
    assert len(ranked) == 2
    assert ranked[0].node.text == BEST
    return "2 of 3 nodes, the best first"


if __name__ == "__main__":
    operations.main()
