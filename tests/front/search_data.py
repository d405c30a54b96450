"""Two small indices to search, filled through the front; the cluster knows the same endpoints by the same names."""

from __future__ import annotations

import json
from typing import Any

from tests.front.conftest import FilledFront

INDICES = ("find-a", "find-b")
BOTH = ",".join(INDICES)
_WORDS = [
    "lamp",
    "keeper",
    "storm",
    "bread",
    "oven",
    "train",
    "rail",
    "fog",
    "bell",
    "ship",
    "salt",
    "tower",
    "night",
    "watch",
    "flour",
    "boat",
]
_MAPPING = {
    "properties": {
        "story": {"type": "text", "copy_to": ["words", "sense"]},
        "title": {"type": "text"},
        "kind": {"type": "keyword"},
        "n": {"type": "integer"},
        "words": {"type": "semantic_text", "inference_id": "sparse"},
        "sense": {"type": "semantic_text", "inference_id": "dense"},
        "tokens": {"type": "sparse_vector"},
        "v": {"type": "dense_vector", "dims": 2, "similarity": "l2_norm", "index_options": {"type": "hnsw"}},
        "parts": {"type": "nested", "properties": {"text": {"type": "text"}}},
    }
}


def story(place: int) -> str:
    """Five words; every third story has one of them twice."""
    chosen = [_WORDS[(place * step + step) % len(_WORDS)] for step in (1, 3, 5, 7)]
    return " ".join([*chosen, chosen[place % 3]])


def document(place: int) -> dict[str, Any]:
    found: dict[str, Any] = {"kind": "abc"[place % 3], "v": [place % 5, place % 4], "title": _WORDS[place % 7]}
    if place % 6:
        found["story"] = story(place)
    if place % 5:
        found["n"] = place * 7 % 11
    found["tokens"] = {word: 1.0 + len(word) / 8 for word in story(place).split()}
    found["parts"] = [{"text": word} for word in story(place).split()[:2]]
    return found


def fill(front: FilledFront) -> None:
    """Makes the indices and, in front and cluster, the endpoints ``judge``, ``sparse`` and ``dense``."""
    kinds = {"judge": "rerank", "sparse": "sparse_embedding", "dense": "text_embedding"}
    front.send("DELETE", f"/{BOTH}?ignore_unavailable=true")
    for name, task in kinds.items():
        path = "rerank" if name == "judge" else name
        body = {"service": "hugging_face", "service_settings": {"api_key": "k", "url": f"{front.services}/{path}"}}
        front.send("DELETE", f"/_inference/{name}?force=true", base=front.node)
        assert front.send("PUT", f"/_inference/{task}/{name}", body, base=front.node)[0] == 200
        if name == "judge":
            front.send("DELETE", f"/_inference/{name}?force=true")
            assert front.send("PUT", f"/_inference/{task}/{name}", body)[0] == 200
    for name, shards in zip(INDICES, (2, 1), strict=True):
        settings = {"number_of_shards": shards, "number_of_replicas": 0}
        assert front.send("PUT", f"/{name}", {"settings": settings, "mappings": _MAPPING})[0] == 200
        for places in (range(12), range(12, 20)):
            lines = b""
            for place in places:
                action = {"index": {"_id": f"{name[-1]}{place}"}}
                shifted = document(place + (9 if name == "find-b" else 0))
                lines += b"".join(_line(value) for value in (action, shifted))
            status, answer = front.send("POST", f"/{name}/_bulk?refresh=true", lines)
            assert status == 200, answer
            assert not answer["errors"], answer


def _line(value: Any) -> bytes:

    return json.dumps(value).encode() + b"\n"
