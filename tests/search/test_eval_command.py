"""`sidecar eval` on a real node with the endpoints that are always there."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from elasticsearch import Elasticsearch

from sidecar.search.query_templates import filled as filled_template
from sidecar.search.query_templates import read_template
from tests.ingest.command import run_command
from tests.search.conftest import LIBRARY

QUESTIONS: dict[str, tuple[str, dict[str, int]]] = {
    "light": ("Who looks after the light?", {"lamp": 3}),
    "moon": ("lunar influence upon seas", {"tide": 3, "crab": 0}),
    "speed": ("how fast does a ship go", {"knot": 2}),
    "music": ("songs of whales", {"song": 2}),
    "house": ("the shell of a hermit crab", {"crab": 2}),
    "sums": ("prime numbers", {"elsewhere": 1}),
}
WORDS = {"retriever": {"standard": {"query": {"match": {"text": "{{query}}"}}}}}


@pytest.fixture(scope="module")
def filled(elasticsearch: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The library with vectors that only the markers tell of."""
    folder, name = tmp_path_factory.mktemp("filled"), f"eval-{uuid4().hex[:10]}"
    lines = [{"id": key, **document} for key, document in LIBRARY.items()]
    (folder / "library.jsonl").write_text("\n".join(json.dumps(line) for line in lines))
    maps: tuple[str, ...] = ("--map", "text:text_sparse=.elser-2-elasticsearch")
    maps += ("--map", "text:text_dense=.multilingual-e5-small-elasticsearch", "--id-field", "id")
    ended = run_command(
        folder, "index", name, str(folder / "library.jsonl"), *maps, "--elasticsearch-url", elasticsearch
    )
    assert ended.exit_code == 0, ended.output
    with Elasticsearch(elasticsearch) as client:
        client.indices.refresh(index=name)
        yield name
        client.indices.delete(index=name)


@pytest.fixture
def judgments(tmp_path: Path) -> Path:
    path = tmp_path / "judged.jsonl"
    lines = [{"query_id": name, "query": text, "judgments": judged} for name, (text, judged) in QUESTIONS.items()]
    path.write_text("\n".join(json.dumps(line) for line in lines))
    return path


def evaluated(folder: Path, url: str, *arguments: str) -> dict[str, Any]:
    ended = run_command(folder, "eval", *arguments, "--json", "--elasticsearch-url", url)
    assert ended.exit_code == 0, ended.output
    found: dict[str, Any] = json.loads(ended.output[ended.output.index("{") :])
    return found


def test_ways_are_measured_side_by_side_and_fitted(
    elasticsearch: str, filled: str, judgments: Path, tmp_path: Path
) -> None:
    own = tmp_path / "words.json"
    own.write_text(json.dumps(WORDS))
    found = evaluated(
        tmp_path, elasticsearch, filled, str(judgments), "--retriever", f"mine={own}", "--fit", "--worst", "1"
    )
    assert list(found["retrievers"]) == ["bm25", "sparse", "dense", "rrf", "default", "mine"]
    assert found["queries"]["mine"] == found["queries"]["bm25"]
    assert found["retrievers"]["mine"]["nDCG@10"]["p"] == 1.0
    assert found["queries"]["default"]["RR"] == {name: float(name != "sums") for name in QUESTIONS}
    # not a word in common
    assert found["queries"]["bm25"]["nDCG@10"]["moon"] == 0.0
    (worst,) = found["worst"]["queries"]
    assert (worst["query"], worst["relevant"][0]["place"]) == ("sums", None)
    legs = worst["first"]["hit"]["_sidecar"]["legs"]
    assert [leg["retriever"] for leg in legs] == ["bm25", "sparse:text_sparse", "dense:text_dense"]

    pasted = tmp_path / "fitted.json"
    pasted.write_text(json.dumps(found["fit"]))
    again = evaluated(tmp_path, elasticsearch, filled, str(judgments), "--retriever", f"fitted={pasted}")
    assert again["retrievers"]["fitted"]["RR"]["mean"] >= found["retrievers"]["bm25"]["RR"]["mean"]


def test_judgments_of_another_kind_and_ids_in_a_field(elasticsearch: str, filled: str, tmp_path: Path) -> None:
    qrels = "\n".join(f"{name} 0 {number} 1" for name, number in (("a", 2), ("b", 5)))
    (tmp_path / "qrels").write_text(qrels)
    (tmp_path / "queries.tsv").write_text("a\twhales sing\nb\tline with knots\n")
    options = ("--queries", str(tmp_path / "queries.tsv"), "--id-field", "n", "--measure", "P@1", "--measure", "RR")
    found = evaluated(tmp_path, elasticsearch, filled, str(tmp_path / "qrels"), *options)
    assert found["queries"]["bm25"] == {"P@1": {"a": 1.0, "b": 1.0}, "RR": {"a": 1.0, "b": 1.0}}


def test_ids_that_no_document_has_are_told(elasticsearch: str, filled: str, tmp_path: Path) -> None:
    path = tmp_path / "judged.csv"
    path.write_text("query_id,query,document_id,grade\n1,songs of whales,elsewhere,1\n")
    for options, ids in (((), "_id"), (("--id-field", "n"), "n")):
        ended = run_command(tmp_path, "eval", filled, str(path), *options, "--elasticsearch-url", elasticsearch)
        assert (ended.exit_code, ended.stderr.splitlines()[-1:]) == (
            0,
            [f"No way of searching found a document that answers a query: are the judgments' ids those in [{ids}]?"],
        )


def test_for_people_it_gives_tables_and_a_retriever(
    elasticsearch: str, filled: str, judgments: Path, tmp_path: Path
) -> None:
    ended = run_command(
        tmp_path, "eval", filled, str(judgments), "--fit", "--field", "text", "--elasticsearch-url", elasticsearch
    )
    assert ended.exit_code == 0, ended.output
    output = " ".join(ended.output.split())
    assert "6 queries, means with 95 % intervals, p against bm25" in output
    assert "Query sums: prime numbers" in output
    assert "not in 100 elsewhere 1" in output
    assert json.loads(ended.output[ended.output.index("\n{") :])["retriever"]["linear"]["retrievers"]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("nowhere",), "There is no such index: [nowhere]"),
        (("i", "--measure", "best"), "[best] is no measure"),
        (("i", "--retriever", "mine"), "--retriever mine: write NAME=FILE."),
        (("i", "--retriever", "mine=missing.json"), "The file missing.json cannot be read"),
        (("i", "--queries", "missing.tsv"), "The file missing.tsv cannot be read"),
    ],
)
def test_mistakes_end_with_a_sentence(
    elasticsearch_9: str, judgments: Path, tmp_path: Path, arguments: tuple[str, ...], sentence: str
) -> None:
    index, *options = arguments
    ended = run_command(tmp_path, "eval", index, str(judgments), *options, "--elasticsearch-url", elasticsearch_9)
    assert sentence in " ".join(ended.output.split())
    assert ended.exit_code == 2


def test_a_heading_that_is_not_known_is_answered_with_those_that_are(tmp_path: Path) -> None:
    judged = tmp_path / "judged.csv"
    judged.write_text("query,doc,rel\nlight,lamp,1\n")
    ended = run_command(tmp_path, "eval", "i", str(judged))
    said = " ".join(ended.output.split())
    assert "line 2 has no [document_id]. Judgments are lines of QUERY 0 DOCUMENT GRADE, CSV with a heading" in said
    assert "query_id,document_id,grade" in said
    assert ended.exit_code == 2


@pytest.mark.parametrize("value", [{"match": {}}, {"standard": {"query": {"match_all": {}}}}, [], {"a": 1, "b": 2}])
def test_a_retriever_without_a_place_for_the_query_is_refused(value: Any) -> None:
    with pytest.raises(ValueError, match=r"write a retriever|no \{\{query\}\} in it"):
        read_template(value)


def test_the_question_goes_wherever_its_place_is() -> None:
    template = read_template({"query": {"multi_match": {"query": "about {{query}}", "fields": ["a"]}}})
    query = filled_template(template, 'a "quoted" {{query}}')["standard"]["query"]
    assert query == {"multi_match": {"query": 'about a "quoted" {{query}}', "fields": ["a"]}}
