"""The demo corpus keeps its promises: form, judgements that point somewhere, and distractors that are hard."""

import json
import re
from collections import Counter
from pathlib import Path
from statistics import mean
from typing import Any

import pytest

CORPUS = Path(__file__).parents[2] / "demo" / "corpus"
KINDS = {"keyword", "paraphrase", "vocabulary gap", "negation/near-miss", "short"}
FUNCTION_WORDS = frozenset(
    re.findall(
        r"\w+",
        "a an and are as at be but by can do does did for from has have how i in into is it its my not now of on "
        "one or our out so that the their them there they this to was we were what when where which who why will "
        "with you your",
    )
)


def read_lines(name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (CORPUS / name).read_text(encoding="utf-8").splitlines()]


PASSAGES = read_lines("passages.jsonl")
QUESTIONS = read_lines("questions.jsonl")


def content_words(text: str) -> set[str]:
    """Words that carry meaning, cut to six letters so that most inflected forms agree."""
    return {word[:6].rstrip("s") for word in re.findall(r"\w+", text.lower()) if word not in FUNCTION_WORDS}


WORDS = {passage["id"]: content_words(f"{passage['title']} {passage['text']}") for passage in PASSAGES}


def best_shared(question: dict[str, Any], *, full_answers: bool) -> int:
    """Most content words shared with any full answer, or with any passage of grade 0."""
    judged = question["judgements"]
    chosen = [p for p in WORDS if (judged.get(p) == 3 if full_answers else p not in judged)]
    return max(len(content_words(question["text"]) & WORDS[p]) for p in chosen)


def test_there_are_about_150_passages_and_40_questions() -> None:
    assert 140 <= len(PASSAGES) <= 160
    assert len(QUESTIONS) == 40


def test_ids_are_unique_and_in_order() -> None:
    assert [p["id"] for p in PASSAGES] == [f"p{n:03d}" for n in range(1, len(PASSAGES) + 1)]
    assert [q["id"] for q in QUESTIONS] == [f"q{n:02d}" for n in range(1, len(QUESTIONS) + 1)]


@pytest.mark.parametrize("passage", PASSAGES, ids=lambda p: p["id"])
def test_a_passage_has_its_fields_and_length(passage: dict[str, Any]) -> None:
    assert set(passage) == {"id", "title", "text", "topic"}
    assert 40 <= len(passage["text"].split()) <= 120
    assert 1 <= len(passage["title"].split()) <= 10
    assert passage["text"].endswith((".", "?", "!"))
    assert passage["topic"] == passage["topic"].strip().lower() != ""


def test_no_passage_repeats_another() -> None:
    assert len({p["title"] for p in PASSAGES}) == len(PASSAGES)
    ids = sorted(WORDS)
    alike = [
        (a, b)
        for i, a in enumerate(ids)
        for b in ids[i + 1 :]
        if len(WORDS[a] & WORDS[b]) > 0.4 * len(WORDS[a] | WORDS[b])
    ]
    assert alike == []


def test_each_topic_has_several_passages() -> None:
    sizes = Counter(p["topic"] for p in PASSAGES)
    assert len(sizes) >= 8
    assert min(sizes.values()) >= 3


@pytest.mark.parametrize("question", QUESTIONS, ids=lambda q: q["id"])
def test_a_question_is_judged_on_passages_that_exist(question: dict[str, Any]) -> None:
    assert set(question) == {"id", "text", "kind", "judgements"}
    assert question["kind"] in KINDS
    assert set(question["judgements"]) <= set(WORDS)
    assert set(question["judgements"].values()) <= {1, 2, 3}
    assert 3 in question["judgements"].values()


def test_no_question_is_asked_twice() -> None:
    assert len({q["text"].lower() for q in QUESTIONS}) == len(QUESTIONS)


def test_kinds_are_mixed() -> None:
    kinds = Counter(q["kind"] for q in QUESTIONS)
    assert set(kinds) == KINDS
    for kind in ("keyword", "paraphrase", "vocabulary gap"):
        assert len(QUESTIONS) / 4 <= kinds[kind] <= len(QUESTIONS) / 2.5


def test_kinds_differ_in_shared_vocabulary() -> None:
    def share(kind: str) -> float:
        return mean(
            best_shared(q, full_answers=True) / len(content_words(q["text"])) for q in QUESTIONS if q["kind"] == kind
        )

    assert share("keyword") > 0.5 > share("paraphrase") > share("vocabulary gap")
    assert share("vocabulary gap") < 0.2


def test_near_miss_questions_have_a_distractor_that_uses_their_words() -> None:
    near_misses = [q for q in QUESTIONS if q["kind"] == "negation/near-miss"]
    assert all(best_shared(q, full_answers=False) >= 2 for q in near_misses)


def test_many_distractors_share_as_many_words_as_the_answer() -> None:
    hard = [q for q in QUESTIONS if 0 < best_shared(q, full_answers=False) >= best_shared(q, full_answers=True)]
    assert len(hard) >= len(QUESTIONS) / 3
    gaps = [q for q in QUESTIONS if q["kind"] == "vocabulary gap"]
    assert sum(q in hard for q in gaps) >= 0.75 * len(gaps)


def test_readme_states_the_counts() -> None:
    readme = (CORPUS / "README.md").read_text(encoding="utf-8")
    assert f"{len(PASSAGES)} short passages" in readme
    assert f"{len(QUESTIONS)} questions" in readme
    assert f"{mean(len(q['judgements']) for q in QUESTIONS):.1f} judged passages" in readme
    assert f"one of {len({p['topic'] for p in PASSAGES})} broad subjects" in readme
    for kind, number in Counter(q["kind"] for q in QUESTIONS).items():
        assert f"| `{kind}` | {number} |" in readme
