from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from sidecar.elastic.mappings import load_mapping
from sidecar.ingest.marker import MARKER_FIELD, MARKER_MAPPING, Marker, Stamp, input_hash

NOON = datetime(2026, 1, 31, 12, 0, tzinfo=UTC)
fields = st.text("abc.", min_size=1, max_size=5)
words = st.text("xyz0123@.-", min_size=1, max_size=8)
stamps = st.dictionaries(fields, st.builds(Stamp, words, words), max_size=4)


@given(stamps)
def test_what_is_written_is_read(stamps: dict[str, Stamp]) -> None:
    value = Marker().rewritten(stamps, [], None, NOON)
    assert Marker.read({MARKER_FIELD: value}).stamps == stamps


@given(stamps, st.randoms(use_true_random=False))
def test_order_and_repetition_do_not_matter(stamps: dict[str, Stamp], random: object) -> None:
    value = Marker().rewritten(stamps, [], None, NOON)
    shuffled = {"model": sorted(set(value["model"]), reverse=True), "hash": sorted(set(value["hash"]))}
    assert Marker.read({MARKER_FIELD: shuffled}).stamps == stamps


def test_a_single_value_may_have_lost_its_array() -> None:
    source = {MARKER_FIELD: {"model": "v=e@1", "hash": "v=abc"}}
    assert Marker.read(source).stamps == {"v": Stamp("e@1", "abc")}


def test_the_object_counts_where_dotted_names_stand_beside_it() -> None:
    dotted = {"sidecar.model": "v=e@1", "sidecar.hash": "v=old", "sidecar.failed": "v=x"}
    assert Marker.read(dotted).stamps == {"v": Stamp("e@1", "old")}
    read = Marker.read({**dotted, MARKER_FIELD: {"model": "v=e@2", "hash": "v=new"}})
    assert (read.stamps, read.failed) == ({"v": Stamp("e@2", "new")}, {})


def test_a_field_needs_both_model_and_hash() -> None:
    assert Marker.read({MARKER_FIELD: {"model": ["v=e@1"]}}).stamps == {}
    assert Marker.read({MARKER_FIELD: "something else"}).stamps == {}
    assert Marker.read({}).stamps == {}


def test_other_fields_entries_and_foreign_ones_stay() -> None:
    old = {"model": ["e5@3", "a=x@1", "b=y@1"], "hash": ["9f", "a=1", "b=2"]}
    new = Marker.read({MARKER_FIELD: old}).rewritten({"b": Stamp("y@2", "3")}, ["a"], None, NOON)
    assert new == {"model": ["e5@3", "b=y@2"], "hash": ["9f", "b=3"], "at": "2026-01-31T12:00:00Z"}


def test_error_and_pending_are_nulled_only_where_they_were() -> None:
    plain = Marker().rewritten({}, [], None, NOON)
    assert "error" not in plain
    assert "pending" not in plain
    marked = Marker.read({MARKER_FIELD: {"error": "once", "pending": True}}).rewritten({}, [], None, NOON)
    assert marked["error"] is None
    assert marked["pending"] is None


def test_an_error_is_shortened_to_what_its_field_indexes() -> None:
    value = Marker().rewritten({}, [], "x" * 2000, NOON)
    assert len(value["error"]) == 500
    assert MARKER_MAPPING["properties"]["error"]["ignore_above"] >= 500


def test_hash_depends_on_text_and_circumstances_only() -> None:
    assert input_hash("a") == input_hash("a")
    assert len({input_hash("a"), input_hash("b"), input_hash("a", "s"), input_hash("as"), input_hash("", "a")}) == 5
    assert input_hash("\ud800")  # a lone surrogate, as broken JSON may bring it


def test_the_carried_component_template_has_the_same_mapping() -> None:
    template = load_mapping("components/sidecar-marker")["template"]["mappings"]["properties"]
    assert template == {MARKER_FIELD: MARKER_MAPPING}
