import pytest

from sidecar.core.errors import IllegalArgumentError
from sidecar.ingest.fieldmap import FieldMap, parse_field_maps


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("text:text_sparse=.elser-2-elasticsearch", FieldMap("text", "text_sparse", ".elser-2-elasticsearch")),
        ("a.b:c.d=e", FieldMap("a.b", "c.d", "e")),
        (" text : vector = e ", FieldMap("text", "vector", "e")),
    ],
)
def test_reads_source_target_and_endpoint(text: str, expected: FieldMap) -> None:
    assert FieldMap.parse(text) == expected


@pytest.mark.parametrize("text", ["", "text", "text:vector", "text=e", ":v=e", "t:=e", "t:v=", "a..b:v=e", "t:t=e"])
def test_refuses_other_forms(text: str) -> None:
    with pytest.raises(IllegalArgumentError):
        FieldMap.parse(text)


@pytest.mark.parametrize(
    ("texts", "complaint"),
    [
        ([], "at least one map"),
        (["a:v=e", "b:v=f"], "overlap"),
        (["a:v=e", "b:v.w=f"], "overlap"),
        (["a:b=e", "b:c=f"], "also a source"),
        (["a:sidecar.x=e"], "marker"),
    ],
)
def test_refuses_maps_that_disturb_each_other(texts: list[str], complaint: str) -> None:
    with pytest.raises(IllegalArgumentError, match=complaint):
        parse_field_maps(texts)


def test_one_source_may_feed_several_targets() -> None:
    maps = parse_field_maps(["text:sparse=a", "text:dense=b"])
    assert [m.target for m in maps] == ["sparse", "dense"]
