"""The searches of ``bench.search``, each as one request to the front and as legs with given vectors."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

SPARSE = ".elser-2-elasticsearch"
DENSE = ".multilingual-e5-small-elasticsearch"
RERANKER = ".rerank-v1-elasticsearch"
SIZE = 10
WINDOW = 100
RERANK_WINDOW = 10
CANDIDATES = 500
MAPPING: Mapping[str, Any] = {
    "_meta": {"sidecar": {"maps": [f"text:tokens={SPARSE}", f"text:vector={DENSE}"]}},
    "properties": {
        "text": {"type": "text"},
        "tokens": {"type": "sparse_vector"},
        "vector": {"type": "dense_vector", "dims": 384, "similarity": "cosine"},
    },
}
_SUBJECTS = ("wing", "panel", "nozzle", "boundary layer", "shock wave", "cylinder", "cone", "rotor", "jet", "wake")
_VERBS = ("heats", "bends", "slows", "surrounds", "disturbs", "cools", "meets", "leaves", "follows", "carries")
_PLACES = ("at supersonic speed", "in a slipstream", "near the wall", "behind the edge", "at high altitude", "at rest")


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of search: the legs it has, and what joins them in the front (``None``: the leg is all there is)."""

    name: str
    legs: tuple[str, ...]
    joined_by: str | None = None

    @property
    def is_reranked(self) -> bool:
        return self.joined_by == "text_similarity_reranker"

    def request(self, text: str) -> dict[str, Any]:
        """The body for the front, which makes the vectors of ``text`` itself."""
        if self.joined_by is None:
            return {"size": SIZE, **_leg(self.legs[0], text, None, SIZE)}
        return {"size": SIZE, "retriever": _tree(self.joined_by, self.legs, text)}

    def direct(self, text: str, vectors: Mapping[str, Any]) -> list[dict[str, Any]]:
        """The bodies of one ``_msearch``; of joined legs ids and scores only, since that is what a fusion needs."""
        if self.joined_by is None:
            return [{"size": SIZE, **_leg(self.legs[0], text, vectors, SIZE)}]
        return [{"size": WINDOW, "_source": False, **_leg(leg, text, vectors, WINDOW)} for leg in self.legs]


_ALL = ("bm25", "sparse", "dense")
KINDS = (
    Kind("bm25, forwarded", ("bm25",)),
    Kind("sparse_vector, inference_id", ("sparse",)),
    Kind("knn, query_vector_builder", ("dense",)),
    Kind("rrf of three", _ALL, "rrf"),
    Kind("linear of three", _ALL, "linear"),
    Kind("auto", _ALL, "auto"),
    Kind("reranker over linear", _ALL, "text_similarity_reranker"),
)


def _leg(leg: str, text: str, vectors: Mapping[str, Any] | None, window: int) -> dict[str, Any]:
    """Without ``vectors`` the clause names the endpoint and the text."""
    if leg == "bm25":
        return {"query": {"match": {"text": text}}}
    if leg == "sparse":
        given = {"inference_id": SPARSE, "query": text} if vectors is None else {"query_vector": vectors[leg]}
        return {"query": {"sparse_vector": {"field": "tokens", "prune": False, **given}}}
    builder = {"text_embedding": {"model_id": DENSE, "model_text": text}}
    known = {"query_vector_builder": builder} if vectors is None else {"query_vector": vectors[leg]}
    return {"knn": {"field": "vector", "k": window, "num_candidates": CANDIDATES, **known}}


def _tree(joined_by: str, legs: Sequence[str], text: str) -> dict[str, Any]:
    if joined_by == "auto":
        return {"auto": {"query": text}}
    if joined_by == "text_similarity_reranker":
        stage = {"field": "text", "inference_id": RERANKER, "inference_text": text, "rank_window_size": RERANK_WINDOW}
        return {joined_by: {"retriever": _tree("linear", legs, text), **stage}}
    children = [_child(_leg(leg, text, None, WINDOW)) for leg in legs]
    if joined_by == "linear":
        children = [{"retriever": child, "weight": 1.0, "normalizer": "minmax"} for child in children]
    return {joined_by: {"retrievers": children, "rank_window_size": WINDOW}}


def _child(leg: dict[str, Any]) -> dict[str, Any]:
    return leg if "knn" in leg else {"standard": leg}


def passages(count: int, seed: int) -> list[str]:
    """Some three sentences each, the same for the same seed."""
    chance = random.Random(seed)
    return [" ".join(_sentence(chance) for _ in range(3)) for _ in range(count)]


def questions() -> Iterator[str]:
    """Short ones without end, no two alike."""
    chance = random.Random(7)
    number = 0
    while True:
        number += 1
        yield f"what {chance.choice(_VERBS)} a {chance.choice(_SUBJECTS)} {chance.choice(_PLACES)} in run {number}"


def _sentence(chance: random.Random) -> str:
    first, second = chance.sample(_SUBJECTS, 2)
    place = chance.choice(_PLACES)
    return f"In run {chance.randrange(1000)} the {first} {chance.choice(_VERBS)} the {second} {place}."
