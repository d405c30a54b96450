"""The same bulk sent to the cluster and through the front: the same items, the same errors, the same documents.

Once to an index without a binding, once to one with a binding, where the documents differ by their vectors alone.
``BULK_EXAMPLES`` says how many bulks are made up.
"""

from __future__ import annotations

import json
import os
import re
from typing import Any

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tests.front.conftest import FilledFront
from tests.front.provider import tokens_of
from tests.front.test_bound_writes import SPARSE, mapping, tokens

EXAMPLES = int(os.environ.get("BULK_EXAMPLES", "12"))
DIRECT, UNBOUND, BOUND = "agree-straight", "agree-through1", "agree-through2"
MISSING = "agree-none"

_IDS = st.sampled_from(["1", "2", "3", 7, ""])
_TEXTS = (
    st.sampled_from(["one boat", "", "  ", "two\nlines", 'a \\ and a " quote', "Zürich 🛶"])
    | st.text(max_size=12)
    | st.sampled_from(["boat " * 30_000])
)
_DOCUMENTS = st.fixed_dictionaries(
    {},
    optional={
        "text": _TEXTS | st.none() | st.integers() | st.lists(_TEXTS, max_size=2),
        "n": st.integers(-9, 9) | st.sampled_from(["4", "many", 1.5]),
        "other": st.dictionaries(st.sampled_from(["x", "y.z"]), st.booleans() | st.text(max_size=3), max_size=2),
    },
)
_ODD_SOURCES = st.sampled_from(
    [
        b"[1]",
        b'"text"',
        b'{"text":"x"',
        b'{"n":1,"n":2}',
        b'{"text":"a"} {"n":1}',
        b'  {"text" : "b"}  ',
        b"",
        b" ",
        b"nul",
    ]
)
_PARAMETERS = st.fixed_dictionaries(
    {},
    optional={
        "routing": st.sampled_from(["a", "b"]),
        "version": st.integers(1, 3),
        "version_type": st.sampled_from(["external", "external_gte"]),
        "if_seq_no": st.integers(0, 3),
        "if_primary_term": st.just(1),
        "require_alias": st.booleans(),
        "pipeline": st.sampled_from(["_none", "agree-no-such"]),
        "unknown": st.just(1),
    },
).filter(lambda chosen: len(chosen) < 3)


_QUIET = frozenset({"took", "ingest_took", "index_uuid", "_shards", "shard", "root_cause"})
# Places in a text that has grown by its vectors, the text itself, and ids that the cluster made up.
_OF_THE_TEXT = re.compile(r"\[\d+:-?\d+\] ?|\n at \[Source.*column: -?\d+\]|with id '[^']{20}'", re.DOTALL)
_OF_THE_STATE = frozenset({"_seq_no", "_primary_term", "_version"})


@st.composite
def actions(draw: st.DrawFn) -> list[bytes]:
    operation = draw(st.sampled_from(["index", "index", "create", "update", "delete"]))
    meta: dict[str, Any] = {"_id": draw(_IDS)} if operation in ("update", "delete") or draw(st.integers(0, 3)) else {}
    if draw(st.integers(0, 4)) == 0:
        meta |= draw(_PARAMETERS)
    if draw(st.integers(0, 9)) == 0:
        meta["_index"] = MISSING
    head = json.dumps({operation: meta}).encode()
    if draw(st.integers(0, 60)) == 0:
        head = draw(st.sampled_from([b'{"insert":{}}', b"{}", b'{"index":{"_id":"1"', b'{"index":[]}']))
    if operation == "delete":
        return [head]
    if draw(st.integers(0, 7)) == 0:
        return [head, draw(_ODD_SOURCES)]
    document: Any = draw(_DOCUMENTS)
    if operation == "update":
        document = {"doc": document}
        if draw(st.booleans()):
            document["doc_as_upsert"] = True
        elif draw(st.integers(0, 2)) == 0:
            document["upsert"] = draw(_DOCUMENTS)
    return [head, json.dumps(document, ensure_ascii=draw(st.booleans())).encode("utf-8", "surrogatepass")]


@st.composite
def bulks(draw: st.DrawFn) -> bytes:
    parts = []
    for lines in draw(st.lists(actions(), min_size=1, max_size=8)):
        for line in lines:
            parts += [line, draw(st.sampled_from([b"\n", b"\n", b"\n", b"\r\n"]))]
        if draw(st.integers(0, 9)) == 0:
            parts.append(b"\n")
    body = b"".join(parts)
    return body[: draw(st.integers(1, len(body)))] if draw(st.integers(0, 9)) == 0 else body


def comparable(value: Any, index: str) -> Any:
    """An answer without what differs from index to index and from run to run."""
    return _tidied(json.loads(json.dumps(value).replace(index, "INDEX")))


def _tidied(value: Any) -> Any:
    if isinstance(value, dict):
        kept = {name: _tidied(item) for name, item in value.items() if name not in _QUIET | _OF_THE_STATE}
        if len(str(kept.get("_id", ""))) == 20:
            kept["_id"] = "made up"
        return kept
    if isinstance(value, str):
        return _OF_THE_TEXT.sub("", value)
    return [_tidied(item) for item in value] if isinstance(value, list) else value


def stored(front: FilledFront, index: str) -> list[dict[str, Any]]:
    """All documents of an index, without their ids where the cluster made them up."""
    front.send("POST", f"/{index}/_refresh", base=front.node)
    sort = [{"_doc": "asc"}]
    body = front.send("POST", f"/{index}/_search", {"size": 100, "sort": sort}, base=front.node)[1]
    found = [(hit["_id"] if len(hit["_id"]) < 20 else "made up", hit["_source"]) for hit in body["hits"]["hits"]]
    return sorted(({"_id": name, **source} for name, source in found), key=lambda one: json.dumps(one, sort_keys=True))


TWO_FAULTS = b'{"update":{"_id":"1"}}\n%b\n{"insert":{}}\n{}\n'


@example(body=TWO_FAULTS % b"[1]")
@example(body=TWO_FAULTS % b'{"text":"x"')
@example(body=TWO_FAULTS % b'{"n":1,"n":2}')
@example(body=b'{"index":{"unknown":1,"_index":"agree-none"}}\n[1]\n\n{"insert":{}}\n[1]\n')
@example(body=b'{"index":{"routing":{},"_id":"1"}}\n{}\n{"insert":{}}\n{}\n')
@example(body=b'{"create":{"routing":"a","require_alias":true,"version":3}}\n{}\n{"insert":{}}\n{}\n')
@settings(max_examples=EXAMPLES, suppress_health_check=list(HealthCheck))
@given(body=bulks())
def test_the_front_answers_bulks_as_the_cluster_does(filled_front: FilledFront, body: bytes) -> None:
    fields: dict[str, Any] = {"n": {"type": "integer"}, "tokens": SPARSE}
    for index, maps in ((DIRECT, ()), (UNBOUND, ()), (BOUND, ("text:tokens=sparse",))):
        filled_front.index(index, **mapping(*maps, **fields))
    answers = {}
    for index, base in ((DIRECT, filled_front.node), (UNBOUND, None), (BOUND, None)):
        filled_front.send("DELETE", f"/{MISSING}?ignore_unavailable=true", base=filled_front.node)
        status, answer = filled_front.send(
            "POST", f"/{index}/_bulk", body, base=base, Content_Type="application/x-ndjson"
        )
        answers[index] = status, comparable(answer, index)
    assert answers[UNBOUND] == answers[DIRECT]
    assert _without_noops(answers[BOUND]) == _without_noops(answers[DIRECT])
    documents = stored(filled_front, DIRECT)
    assert stored(filled_front, UNBOUND) == documents
    vectors = [(one.pop("tokens", None), one.pop("sidecar", None)) and one for one in stored(filled_front, BOUND)]
    assert sorted(vectors, key=lambda one: json.dumps(one, sort_keys=True)) == documents


def _without_noops(answer: Any) -> Any:
    # The marker says when a vector was made, so an update to the same text is none that changes nothing.
    return json.loads(json.dumps(answer).replace('"noop"', '"updated"'))


def test_the_vectors_are_those_of_the_texts(filled_front: FilledFront) -> None:
    filled_front.index(BOUND, **mapping("text:tokens=sparse", tokens=SPARSE))
    filled_front.send("POST", f"/{BOUND}/_bulk", b'{"index":{"_id":"1"}}\r\n{"text":"Z\\u00fcrich"}\r\n')
    assert tokens(filled_front.source(BOUND, "1"), "tokens") == tokens_of("Zürich")
