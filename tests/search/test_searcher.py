"""Searching real indices with real models, on both lines of Elasticsearch."""

import pytest
from elasticsearch import AsyncElasticsearch

from sidecar.core.errors import IllegalArgumentError, StatusError
from sidecar.core.tasks import InputType
from sidecar.elastic.version import ServerVersion, server_version
from sidecar.search.fusion import Linear, Rrf
from sidecar.search.queries import knn_search, sparse_query, sparse_terms_query
from sidecar.search.searcher import Reranker, Retriever, Searcher, SearchRequest
from tests.ingest.local_embedder import DENSE, SPARSE, LocalEmbedder

BM25 = Retriever("bm25", "text")
SPARSE_FIELD = Retriever("sparse", "text_sparse", SPARSE)
DENSE_FIELD = Retriever("dense", "text_dense", DENSE)
ALL = (BM25, SPARSE_FIELD, DENSE_FIELD)


@pytest.mark.parametrize("retriever", ALL, ids=lambda retriever: retriever.kind)
async def test_each_retriever_finds_what_was_asked_for(
    client: AsyncElasticsearch, embedder: LocalEmbedder, library: str, retriever: Retriever
) -> None:
    answer = await Searcher(client, embedder).search(SearchRequest(library, "whales that sing", (retriever,), size=2))
    assert answer.hits[0].id == "song"
    assert len(answer.hits) <= 2


async def test_meaning_is_found_without_a_common_word(
    client: AsyncElasticsearch, embedder: LocalEmbedder, library: str
) -> None:
    question = "lunar influence upon seas"
    answer = await Searcher(client, embedder).search(SearchRequest(library, question, ALL))
    assert answer.rankings["bm25:text"] == []
    assert answer.rankings["dense:text_dense"][0].id == "tide"


@pytest.mark.parametrize("fusion", [Rrf(), Linear()], ids=["rrf", "linear"])
async def test_fused_lists_name_their_origins(
    client: AsyncElasticsearch, embedder: LocalEmbedder, library: str, fusion: Rrf | Linear
) -> None:
    answer = await Searcher(client, embedder).search(SearchRequest(library, "whales that sing", ALL, fusion=fusion))
    best = answer.hits[0]
    assert best.id == "song"
    assert best.ranks == {"bm25:text": 1, "sparse:text_sparse": 1, "dense:text_dense": 1}
    assert best.scores["bm25:text"] == answer.rankings["bm25:text"][0].score
    assert best.source["text"].startswith("Humpback")
    assert set(answer.tokens) == {"sparse:text_sparse"}


async def test_reranked_hits_keep_their_source_and_first_score(
    client: AsyncElasticsearch, embedder: LocalEmbedder, library: str
) -> None:
    request = SearchRequest(library, "Who looks after the light?", ALL, reranker=Reranker(DENSE, "text", 5), size=3)
    answer = await Searcher(client, embedder).search(request)
    assert answer.hits[0].id == "lamp"
    scores = [hit.rerank_score for hit in answer.hits]
    assert scores == sorted(scores, key=lambda score: -(score or 0))
    assert all(hit.source["text"] and hit.raw["_score"] is not None for hit in answer.hits)
    assert len(answer.fused) == 5


async def test_a_filter_narrows_every_retriever(
    client: AsyncElasticsearch, embedder: LocalEmbedder, library: str
) -> None:
    request = SearchRequest(library, "whales that sing", ALL, filter={"range": {"n": {"gte": 3}}})
    answer = await Searcher(client, embedder).search(request)
    assert "song" not in {hit.id for hit in answer.hits}
    assert answer.rankings["dense:text_dense"]


async def test_both_sparse_queries_score_the_dot_product(
    client: AsyncElasticsearch, embedder: LocalEmbedder, library: str
) -> None:
    answer = await Searcher(client, embedder).search(SearchRequest(library, "whales that sing", (SPARSE_FIELD,)))
    weights = answer.tokens[SPARSE_FIELD.name]
    version = await server_version(client)
    found = []
    for query in (
        sparse_query("text_sparse", weights, version),
        sparse_terms_query("text_sparse", weights),
    ):
        hits = (await client.search(index=library, query=query))["hits"]["hits"]
        found.append({hit["_id"]: hit["_score"] for hit in hits})
    assert found[0] == pytest.approx(found[1], rel=1e-5)
    text = (await client.get(index=library, id="song"))["_source"]["text"]
    document = (await embedder.embed(SPARSE, [text], InputType.INGEST)).items[0].tokens  # type: ignore[union-attr]
    product = sum(weight * document.get(token, 0.0) for token, weight in weights.items())
    # Elasticsearch keeps nine bits of a weight
    assert found[0]["song"] == pytest.approx(product, rel=5e-3)


async def test_a_server_of_an_older_form_is_asked_in_terms(
    client: AsyncElasticsearch, embedder: LocalEmbedder, library: str
) -> None:
    searcher = Searcher(client, embedder)
    searcher._version = ServerVersion(8, 14, 1)
    answer = await searcher.search(SearchRequest(library, "whales that sing", (SPARSE_FIELD,)))
    assert answer.hits[0].id == "song"


async def test_failures_are_named(client: AsyncElasticsearch, embedder: LocalEmbedder, library: str) -> None:
    searcher = Searcher(client, embedder)
    with pytest.raises(StatusError, match=r"dense:n"):
        await searcher.search(SearchRequest(library, "sea", (Retriever("dense", "n", DENSE),)))
    with pytest.raises(IllegalArgumentError, match="does not make"):
        await searcher.search(SearchRequest(library, "sea", (Retriever("dense", "text_dense", SPARSE),)))
    with pytest.raises(IllegalArgumentError, match="at least one"):
        SearchRequest(library, "sea", ())
    with pytest.raises(IllegalArgumentError, match="twice"):
        SearchRequest(library, "sea", (BM25, BM25))


async def test_knn_takes_the_vector_as_it_is_sent(
    client: AsyncElasticsearch, embedder: LocalEmbedder, library: str
) -> None:
    text = (await client.get(index=library, id="crab"))["_source"]["text"]
    vector = (await embedder.embed(DENSE, [text], InputType.INGEST)).vectors[0]  # type: ignore[union-attr]
    hits = (await client.search(index=library, knn=knn_search("text_dense", vector, 1)))["hits"]["hits"]
    assert hits[0]["_id"] == "crab"
    assert hits[0]["_score"] == pytest.approx(1.0, abs=0.01)
