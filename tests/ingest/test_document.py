from datetime import UTC, datetime
from typing import Any

import orjson
import pytest

from sidecar.core.tasks import Similarity, TaskType
from sidecar.inference.embedder import EndpointProfile
from sidecar.ingest.action import build_action
from sidecar.ingest.cutting import Cutting
from sidecar.ingest.document import Candidate, Plan, Ref, Standing, Target, Verdict, examine, judge
from sidecar.ingest.fieldmap import FieldMap
from sidecar.ingest.marker import MARKER_FIELD, Marker, Stamp, input_hash
from sidecar.ingest.pieces import Piece
from sidecar.ingest.reader import read_hit

SPARSE = EndpointProfile("s", TaskType.SPARSE_EMBEDDING, "1")
DENSE = EndpointProfile("d", TaskType.TEXT_EMBEDDING, "1", 3, Similarity.COSINE)
PLAN = Plan((Target(FieldMap("text", "sparse", "s"), SPARSE), Target(FieldMap("text", "v.dense", "d"), DENSE)))
REF = Ref("docs", "1", "r", 7, 2)
NOW = datetime(2026, 1, 1, tzinfo=UTC)


def source(text: str | None, models: dict[str, str], hashed: str | None = None) -> dict[str, Any]:
    digest = input_hash(hashed if hashed is not None else text or "")
    stamps = {name: Stamp(model, digest, "text") for name, model in models.items()}
    marker = Marker().rewritten(stamps, [], None, NOW)
    return {"text": text, MARKER_FIELD: marker} if text is not None else {MARKER_FIELD: marker}


BOTH = {"sparse": "s@1", "v.dense": "d@1"}


def test_a_document_whose_vectors_fit_needs_nothing() -> None:
    assert examine(REF, source("sea", BOTH), PLAN) is Verdict.UP_TO_DATE


def test_a_document_without_text_and_vectors_needs_nothing() -> None:
    assert examine(REF, {"other": 1}, PLAN) is Verdict.NO_TEXT


@pytest.mark.parametrize(
    ("read", "fields"),
    [
        ({"text": "sea"}, {"sparse", "v.dense"}),
        (source("sea", BOTH, hashed="sky"), {"sparse", "v.dense"}),
        (source("sea", {"sparse": "s@1"}), {"v.dense"}),
        (source("sea", {"sparse": "s@0", "v.dense": "d@1"}), {"sparse"}),
        (source("sea", {"sparse": "other@1", "v.dense": "d@1"}), {"sparse"}),
    ],
)
def test_only_the_fields_that_are_missing_or_changed_are_made(read: dict[str, Any], fields: set[str]) -> None:
    candidate = examine(REF, read, PLAN)
    assert isinstance(candidate, Candidate)
    assert set(candidate.pieces) == set(candidate.stamps) == fields
    assert candidate.clears == ()


def test_vectors_of_a_text_that_is_gone_are_cleared() -> None:
    candidate = examine(REF, source(None, BOTH, hashed="sea"), PLAN)
    assert isinstance(candidate, Candidate)
    assert candidate.clears == ("sparse", "v.dense")
    action = build_action(candidate, PLAN, {}, None, NOW)
    doc = orjson.loads(action.body)["doc"]
    assert doc["sparse"] == []
    assert doc["v"] == {"dense": None}
    assert doc[MARKER_FIELD] == {"model": [], "hash": [], "source": [], "at": "2026-01-01T00:00:00Z"}


def test_all_fields_and_the_marker_go_into_one_guarded_update() -> None:
    candidate = examine(REF, {"text": "sea"}, PLAN)
    assert isinstance(candidate, Candidate)
    action = build_action(candidate, PLAN, {"sparse": ([{"sea": 1.0}],), "v.dense": ([1, 0, 0],)}, None, NOW)
    assert orjson.loads(action.head) == {
        "update": {"_index": "docs", "_id": "1", "routing": "r", "if_seq_no": 7, "if_primary_term": 2}
    }
    doc = orjson.loads(action.body)["doc"]
    assert doc["sparse"] == [{"sea": 1.0}]
    assert doc["v"] == {"dense": [1, 0, 0]}
    assert doc[MARKER_FIELD]["model"] == ["sparse=s@1", "v.dense=d@1"]
    assert action.size == len(action.head) + len(action.body) + 2


def test_a_field_that_failed_gets_no_stamp() -> None:
    candidate = examine(REF, {"text": "sea"}, PLAN)
    assert isinstance(candidate, Candidate)
    action = build_action(candidate, PLAN, {"sparse": ([{"sea": 1.0}],)}, "v.dense: too long", NOW)
    doc = orjson.loads(action.body)["doc"]
    assert "v" not in doc
    assert doc[MARKER_FIELD]["model"] == ["sparse=s@1"]
    assert doc[MARKER_FIELD]["error"] == "v.dense: too long"


def test_a_document_of_a_data_stream_is_updated_in_its_backing_index() -> None:
    hit = read_hit(
        {
            "_index": ".ds-logs-2026.01.01-000002",
            "_id": "1",
            "_seq_no": 7,
            "_primary_term": 2,
            "_source": {"text": "sea"},
        }
    )
    candidate = examine(hit.ref, hit.source, PLAN)
    assert isinstance(candidate, Candidate)
    (head,) = orjson.loads(build_action(candidate, PLAN, {}, None, NOW).head).items()
    # Elasticsearch takes no other write into a backing index than a guarded one of a document that is there.
    assert head == ("update", {"_index": hit.ref.index, "_id": "1", "if_seq_no": 7, "if_primary_term": 2})


def halves(text: str) -> list[Piece]:
    middle = len(text) // 2
    return [Piece(part, start, (part,)) for part, start in ((text[:middle], 0), (text[middle:], middle))]


def passages(circumstances: str) -> Plan:
    cutting = Cutting(halves, (circumstances,))
    maps = (FieldMap("text", "p.sparse", "s"), SPARSE), (FieldMap("text", "p.dense", "d"), DENSE)
    return Plan(tuple(Target(*held, passages=True, cutting=cutting) for held in maps))


PASSAGES = passages("halves")


def test_passages_of_one_parent_are_made_together_and_replaced_whole() -> None:
    digest = input_hash("blue sky", "halves")
    marker = Marker().rewritten({"p.sparse": Stamp("s@1", digest)}, [], None, NOW)
    candidate = examine(REF, {"text": "blue sky", MARKER_FIELD: marker}, PASSAGES)
    assert isinstance(candidate, Candidate)
    assert set(candidate.pieces) == {"p.sparse", "p.dense"}
    values = {"p.sparse": ([{"blue": 1.0}], [{"sky": 1.0}]), "p.dense": ([1, 0, 0], [0, 1, 0])}
    doc = orjson.loads(build_action(candidate, PASSAGES, values, None, NOW).body)["doc"]
    assert doc["p"] == [
        {"text": "blue", "start": 0, "sparse": [{"blue": 1.0}], "dense": [1, 0, 0]},
        {"text": " sky", "start": 4, "sparse": [{"sky": 1.0}], "dense": [0, 1, 0]},
    ]


def test_another_way_to_cut_makes_new_passages() -> None:
    values = {"p.sparse": ([{}], [{}]), "p.dense": ([1, 0, 0], [0, 1, 0])}
    first = examine(REF, {"text": "blue sky"}, PASSAGES)
    assert isinstance(first, Candidate)
    doc = orjson.loads(build_action(first, PASSAGES, values, None, NOW).body)["doc"]
    read = {"text": "blue sky", MARKER_FIELD: doc[MARKER_FIELD]}
    assert examine(REF, read, PASSAGES) is Verdict.UP_TO_DATE
    assert isinstance(examine(REF, read, passages("thirds")), Candidate)


@pytest.mark.parametrize(
    ("digest", "stamp", "verdict"),
    [
        ("h", Stamp("m", "h"), Verdict.UP_TO_DATE),
        ("h", Stamp("m", "g"), Verdict.EMBED),
        ("h", Stamp("n", "h"), Verdict.EMBED),
        ("h", None, Verdict.EMBED),
        ("h", Stamp("m", "h", "other"), Verdict.UP_TO_DATE),
        (None, None, Verdict.NO_TEXT),
        (None, Stamp("m", "h", "text"), Verdict.CLEAR),
        (None, Stamp("m", "h", "other"), Verdict.KEPT),
        (None, Stamp("m", "h"), Verdict.KEPT),
    ],
)
def test_judge(digest: str | None, stamp: Stamp | None, verdict: Verdict) -> None:
    assert judge(digest, stamp, "m", source="text") is verdict


GONE, THERE = Standing(complete=False), Standing(complete=True, occupied=True)


@pytest.mark.parametrize(
    ("digest", "stamp", "standing", "overwrite", "verdict"),
    [
        ("h", Stamp("m", "h", "text"), THERE, False, Verdict.UP_TO_DATE),
        ("h", Stamp("m", "h", "text"), GONE, False, Verdict.EMBED),
        ("h", None, THERE, False, Verdict.OWN),
        ("h", None, THERE, True, Verdict.EMBED),
        ("h", None, GONE, False, Verdict.EMBED),
        (None, Stamp("m", "h"), THERE, True, Verdict.CLEAR),
        (None, Stamp("m", "h", "other"), THERE, True, Verdict.KEPT),
        (None, Stamp("m", "h", "other"), GONE, False, Verdict.NO_TEXT),
        (None, None, THERE, False, Verdict.NO_TEXT),
    ],
)
def test_what_is_there_counts(
    *, digest: str | None, stamp: Stamp | None, standing: Standing, overwrite: bool, verdict: Verdict
) -> None:
    assert judge(digest, stamp, "m", source="text", standing=standing, overwrite=overwrite) is verdict
