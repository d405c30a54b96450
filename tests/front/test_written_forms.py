"""Updates that reach a bound text or a vector by its parents, or in another form than the stored document has."""

from __future__ import annotations

from typing import Any

import pytest

from sidecar.front.value_places import Touch, keys_for, touch_of, without
from tests.front.conftest import FilledFront
from tests.front.provider import tokens_of, vector_of
from tests.front.test_bound_writes import DENSE, SPARSE, mapping, ndjson, statuses

TEXT = {"type": "text"}


@pytest.fixture
def nested(filled_front: FilledFront) -> FilledFront:
    inner = {"properties": {"text": TEXT, "tokens": SPARSE}}
    filled_front.index("bound", **mapping("o.text:o.tokens=sparse", "o.text:vector=dense", o=inner, vector=DENSE))
    return filled_front


def update(front: FilledFront, way: str, doc: object) -> None:
    if way == "single":
        assert front.send("POST", "/bound/_update/1", {"doc": doc})[0] == 200
        return
    answer = front.send("POST", "/bound/_bulk", ndjson({"update": {"_id": "1"}}, {"doc": doc}))[1]
    assert statuses(answer) == [200], answer


def token_values(value: Any, path: str = "") -> list[Any]:
    """Every set of tokens in a stored document, in whatever form it is written; empty ones count as none."""
    if isinstance(value, list):
        return [found for item in value for found in token_values(item, path)]
    if not isinstance(value, dict):
        return []
    if path == "o.tokens":
        return [value] if value else []
    return [found for name, held in value.items() for found in token_values(held, f"{path}.{name}".lstrip("."))]


@pytest.mark.parametrize("way", ["single", "bulk"])
@pytest.mark.parametrize("emptied", [[], None, "", [None]])
def test_an_update_that_empties_a_text_takes_its_vectors_away(
    filled_front: FilledFront, way: str, emptied: object
) -> None:
    filled_front.index("bound", **mapping("text:tokens=sparse", "text:vector=dense", tokens=SPARSE, vector=DENSE))
    filled_front.send("PUT", "/bound/_doc/1", {"text": "boat"})
    update(filled_front, way, {"text": emptied})
    source = filled_front.source("bound", "1")
    assert (not source.get("tokens"), source.get("vector"), source["sidecar"]["model"]) == (True, None, [])


@pytest.mark.parametrize("way", ["single", "bulk"])
@pytest.mark.parametrize(
    ("stored", "doc", "text"),
    [
        ({"o": {"text": "boat"}}, {"o": None}, None),
        ({"o": {"text": "boat"}}, {"o": []}, None),
        ({"o": {"text": "boat"}}, {"o": [{"text": "tram"}, {"text": "lamp"}]}, "tram\nlamp"),
        ({"o": [{"text": "boat"}, {"text": "ship"}]}, {"o": {"n": 1}}, None),
        ({"o": [{"text": "boat"}, {"text": "ship"}]}, {"o": {"text": "tram"}}, "tram"),
        ({"o": [{"text": "boat"}, {"text": "ship"}]}, {"o.text": "tram"}, "tram\nboat\nship"),
        ({"o": {"text": "boat"}}, {"o": {"n": 1}}, "boat"),
        ({"o": {"text": "boat"}}, {"o.text": "tram"}, "tram\nboat"),
        ({"o.text": "boat"}, {"o": {"text": "tram"}}, "tram\nboat"),
        ({"o.text": "boat"}, {"o": {"text": None}}, "boat"),
        ({"o.text": "boat"}, {"o.text": "tram"}, "tram"),
        ({"o.text": "boat", "o": [{"n": 1}]}, {"o": None}, "boat"),
        ({"o": {"x": 1}}, {"o.x": 2, "o.text": "tram"}, "tram"),
        ({"o": None}, {"o": {"text": "tram"}}, "tram"),
    ],
)
def test_vectors_are_of_the_text_that_an_update_leaves(
    nested: FilledFront, way: str, stored: dict[str, Any], doc: dict[str, Any], text: str | None
) -> None:
    assert nested.send("PUT", "/bound/_doc/1", stored)[0] == 201
    update(nested, way, doc)
    nested.send("POST", "/bound/_refresh")  # 9.x shows a vector that no refresh has seen in two places
    source = nested.source("bound", "1")
    if text is None:
        assert (token_values(source), source.get("vector"), source["sidecar"]["model"]) == ([], None, [])
        return
    (found,) = token_values(source)
    lines = sorted(text.split("\n"))
    assert found == tokens_of(text)
    held = [vector_of("\n".join(order)) for order in (lines, lines[::-1], text.split("\n"))]
    assert any(source["vector"] == pytest.approx(vector) for vector in held)


@pytest.mark.parametrize("standing", [None, [], [None], [None, {"n": 1}], [{"n": 1}, {"n": 2}], {"n": 1}])
def test_a_document_stays_one_that_can_be_updated(filled_front: FilledFront, standing: object) -> None:
    inner = {"properties": {"tokens": SPARSE}}
    filled_front.index("bound", **mapping("text:o.tokens=sparse", o=inner))
    assert filled_front.send("PUT", "/bound/_doc/1", {"text": "boat", "o": standing})[0] == 201
    assert filled_front.send("POST", "/bound/_update/1", {"doc": {"m": 1}}, base=filled_front.node)[0] == 200
    update(filled_front, "bulk", {"text": "tram"})
    filled_front.send("POST", "/bound/_refresh")
    assert token_values(filled_front.source("bound", "1")) == [tokens_of("tram")]
    update(filled_front, "bulk", {"o.x": 1})
    update(filled_front, "bulk", {"o": standing, "m": 2})
    assert filled_front.send("POST", "/bound/_update/1", {"doc": {"m": 3}}, base=filled_front.node)[0] == 200
    filled_front.send("POST", "/bound/_refresh")
    assert token_values(filled_front.source("bound", "1")) == [tokens_of("tram")]


@pytest.mark.parametrize("way", ["single", "bulk"])
def test_what_an_update_takes_away_does_not_stay_below_a_vector(filled_front: FilledFront, way: str) -> None:
    filled_front.index("bound", **mapping("text:o.tokens=sparse", o={"properties": {"tokens": SPARSE}}))
    filled_front.send("PUT", "/bound/_doc/1?refresh=true", {"text": "boat", "o": {"n": 1, "p": "secret"}})
    for text in ("tram", "lamp"):
        update(filled_front, way, {"text": text, "o": None})
        filled_front.send("POST", "/bound/_refresh")
        source = filled_front.source("bound", "1")
        assert token_values(source) == [tokens_of(text)]
        assert "secret" not in str(source)


def test_what_does_not_go_together_is_refused_as_by_the_cluster(filled_front: FilledFront) -> None:
    filled_front.index("bound", **mapping("text:tokens=sparse", tokens=SPARSE))
    filled_front.send("PUT", "/bound/_doc/1", {"text": "boat"})
    path = "/bound/_update/1?if_seq_no=7&if_primary_term=1"
    for body in ({"doc": {"text": "x"}, "doc_as_upsert": True}, {"doc": {"text": "x"}, "upsert": {"text": "y"}}):
        told = filled_front.send("POST", path, body)
        assert told == filled_front.send("POST", path, body, base=filled_front.node)
        assert told[0] == 400


def test_a_parent_in_an_update_touches_what_it_holds() -> None:
    assert touch_of({"o": {"n": 1}}, "o.text") is Touch.PARENT
    assert touch_of({"o": {"text": []}}, "o.text") is Touch.VALUE
    assert touch_of({"o": [{"n": 1}]}, "o.text") is Touch.VALUE
    assert touch_of({"o.text": None}, "o.text") is Touch.VALUE
    assert touch_of({"other": 1, "ot": {"text": 1}}, "o.text") is Touch.NONE


def test_a_value_goes_into_the_objects_that_there_are() -> None:
    assert keys_for({}, "a.b.c") == ("a", "b", "c")
    assert keys_for({"a.b": {"x": 1}}, "a.b.c") == ("a.b", "c")
    assert keys_for({"a": {"b": None}}, "a.b.c") == ("a", "b", "c")
    assert keys_for({"a": {"b": [{}]}}, "a.b.c") == ("a", "b.c")
    assert keys_for({"a.x": 1}, "a.b") == ("a.b",)
    assert without([{"a": {"b": 1, "c": 2}}, {"a.b": 3}, 4, None], "a.b") == [{"a": {"c": 2}}, {}, 4]


@pytest.mark.parametrize("way", ["single", "bulk"])
@pytest.mark.parametrize("is_indexed", [True, False])
@pytest.mark.parametrize("last", [{"o": None}, {"o": None, "n": 1}])
def test_an_object_that_becomes_null_leaves_one_vector_beside_dotted_names(
    filled_front: FilledFront, way: str, is_indexed: bool, last: dict[str, Any]
) -> None:
    vector = {**DENSE, "index": is_indexed}
    filled_front.index("bound", **mapping("o.text:o.v=dense", o={"properties": {"text": TEXT, "v": vector}}))
    filled_front.send("PUT", "/bound/_doc/1", {"o": [{"text": "boat"}]})
    for doc in ({"o.text": "lamp"}, {"o": {"text": "train"}}, last):
        update(filled_front, way, doc)
    source = filled_front.source("bound", "1")
    assert (source["o.text"], source["o.v"]) == ("lamp", pytest.approx(vector_of("lamp")))
    update(filled_front, way, {"o.text": None})
    assert not filled_front.source("bound", "1").get("o.v")
    update(filled_front, way, {"o.text": "sail"})
    found = filled_front.source("bound", "1")
    assert (found.get("o.v") or found["o"]["v"]) == pytest.approx(vector_of("sail"))


@pytest.mark.parametrize("way", ["single", "bulk"])
@pytest.mark.parametrize(
    "written",
    [
        b'{"o":[{"text":"boat","big":123456789012345678901234567890},{"text":"lamp"}]}',
        b'{"o":[{"text":"boat","deep":[{"x":[1.0]}]},{},{"text":"lamp"}]}',
        b'{"o":[{},{"text":["boat","lamp"]}]}',
    ],
)
def test_updates_of_documents_with_arrays_that_no_refresh_has_seen(
    filled_front: FilledFront, way: str, written: bytes
) -> None:
    vector = {**DENSE, "index": True}
    inner = {"properties": {"text": TEXT, "w": SPARSE, "v": vector, "big": {"type": "keyword"}}}
    maps = mapping("o.text:o.v=dense", "o.text:o.w=sparse", o=inner)
    filled_front.index("bound", **maps, settings={"refresh_interval": "-1"})
    for _ in range(2):  # from now on its shard reads such documents out of the log of writes
        if way == "single":
            assert filled_front.send("PUT", "/bound/_doc/1", written)[0] in (200, 201)
        else:
            answer = filled_front.send("POST", "/bound/_bulk", b'{"index":{"_id":"1"}}\n' + written + b"\n")[1]
            assert not answer["errors"], answer
        update(filled_front, way, {"n": 1})
    source = filled_front.source("bound", "1")
    assert vectors_in(source) == [pytest.approx(vector_of("boat\nlamp"))]
    if b"big" in written:
        assert source["o"][0]["big"] == 123456789012345678901234567890
    update(filled_front, way, {"o": [{"text": "sail"}, {"n": 3}]})
    update(filled_front, way, {"n": 2})
    assert vectors_in(filled_front.source("bound", "1")) == [pytest.approx(vector_of("sail"))]


def vectors_in(value: Any, path: str = "") -> list[Any]:
    """Every vector at ``o.v`` of a stored document."""
    if path == "o.v" and value:
        return [value]
    if isinstance(value, list):
        return [found for item in value for found in vectors_in(item, path)]
    if not isinstance(value, dict):
        return []
    return [found for name, held in value.items() for found in vectors_in(held, f"{path}.{name}".lstrip("."))]
