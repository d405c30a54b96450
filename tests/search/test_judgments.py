import csv
import json
from io import StringIO

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.search.judgments import Judgments, read_judgments, read_queries

words = st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Zs", "Zl", "Zp", "Cs")), min_size=1, max_size=8)
ids = words.filter(lambda name: not name.startswith(("{", "\ufeff")))
grades = st.dictionaries(ids, st.dictionaries(ids, st.integers(-2, 4), min_size=1, max_size=4), min_size=1, max_size=4)


def flat(judged: dict[str, dict[str, int]]) -> list[tuple[str, str, int]]:
    return [(query, name, grade) for query, found in judged.items() for name, grade in found.items()]


@given(grades, st.sampled_from(["\n", "\r\n"]), st.sampled_from([" ", "\t", "  "]))
def test_qrels_come_back(judged: dict[str, dict[str, int]], end: str, space: str) -> None:
    text = end.join(space.join((query, "0", name, str(grade))) for query, name, grade in flat(judged))
    assert read_judgments(text) == Judgments(judged, {})


@given(
    grades, st.sampled_from("\t,;"), st.sampled_from([("query_id", "document_id", "grade"), ("qid", "_id", "Score")])
)
def test_csv_comes_back(judged: dict[str, dict[str, int]], delimiter: str, heading: tuple[str, ...]) -> None:
    out = StringIO()
    csv.writer(out, delimiter=delimiter).writerows([heading, *flat(judged)])
    assert read_judgments(out.getvalue()) == Judgments(judged, {})


@given(grades, st.booleans(), st.dictionaries(ids, words, max_size=3))
def test_json_lines_come_back(judged: dict[str, dict[str, int]], at_once: bool, texts: dict[str, str]) -> None:
    lines: list[dict[str, object]] = []
    for query, found in judged.items():
        own = {"query": texts[query]} if query in texts else {}
        if at_once:
            lines.append({"query_id": query, "judgments": found, **own})
        else:
            lines += [{"qid": query, "doc_id": name, "rating": grade, **own} for name, grade in found.items()]
    read = read_judgments("\n".join(json.dumps(line) for line in lines))
    assert read == Judgments(judged, {name: text for name, text in texts.items() if name in judged})


@given(st.text(max_size=60))
def test_any_text_is_read_or_refused_with_a_sentence(text: str) -> None:
    for read in (read_judgments, read_queries):
        try:
            read(text)
        except ValueError as error:
            assert str(error).startswith(("line ", "there are no judgments"))


@given(st.dictionaries(ids, words, min_size=1), st.sampled_from(["tabs", "json", "csv"]))
def test_queries_come_back(texts: dict[str, str], form: str) -> None:
    if form == "csv":
        out = StringIO()
        csv.writer(out).writerows([("id", "text"), *texts.items()])
        assert read_queries(out.getvalue()) == texts
    elif form == "json":
        assert read_queries("\n".join(json.dumps({"_id": n, "text": t}) for n, t in texts.items())) == texts
    else:
        assert read_queries("\n".join(f"{name}\t{text}" for name, text in texts.items())) == texts


def test_a_query_without_an_id_is_its_own() -> None:
    read = read_judgments("query,document_id,grade\nblue sky,a,1\nblue sky,b,0\n")
    assert read.grades == {"blue sky": {"a": 1, "b": 0}}
    assert read.asked() == {"blue sky": "blue sky"}


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("1 0 a 1\n1 0 a 2", "line 2 gives document [a] another grade"),
        ("1 0 a 1\n\n1 0 a", "line 3 is no judgment"),
        ("1 0 a 0.5", "line 1 has a grade that is no whole number: [0.5]"),
        ("query_id,document_id,grade\n1,a", "line 2 has 2 columns, the heading 3"),
        ("query_id,document_id,grade\n1,,2", "line 2 has no [document_id]"),
        ('{"query_id": "1", "document_id": "a", "grade": true}', "no whole number"),
        ('{"query_id": "1", "judgments": ["a"]}', "line 1 has judgments that are no object"),
        ('{"document_id": "a", "grade": 1}', "line 1 has neither [query_id] nor [query]"),
        ('{"qid": 1, "query": "x", "judgments": {"a": 1}}\n{"qid": 1, "query": "y", "judgments": {}}', "line 2 gives"),
        ("  \n", "there are no judgments"),
    ],
)
def test_what_cannot_be_known_is_refused(text: str, sentence: str) -> None:
    with pytest.raises(ValueError, match=r".") as refused:
        read_judgments(text)
    assert sentence in str(refused.value)


def test_queries_without_a_text_are_named() -> None:
    with pytest.raises(ValueError, match=r"1 judged queries have no text: 2\. Give it with --queries"):
        read_judgments("1 0 a 1\n2 0 a 1").asked({"1": "blue"})
