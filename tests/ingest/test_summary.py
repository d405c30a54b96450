"""How failures are counted, grouped and told."""

import pytest

from sidecar.ingest.summary import MOST_KINDS, OTHER_KINDS, FailedDocument, Summary, kind_of_failure


@pytest.mark.parametrize(
    ("reason", "kind"),
    [
        (
            "document_parsing_exception: [1:52] failed to parse field [n] of type [integer] in document with id 'b7'."
            " Preview of field's value: 'no number' (For input string: \"no number\")",
            'document_parsing_exception: failed to parse field [n] of type [integer] (For input string: "...")',
        ),
        (
            "document_parsing_exception: [1:4791] failed to parse: The [dot_product] similarity can only be used with"
            " unit-length vectors. Preview of invalid vector: [0.01, -0.08, ...]",
            "document_parsing_exception: failed to parse: The [dot_product] similarity can only be used with"
            " unit-length vectors",
        ),
        ("field [x] has [8] dims", "field [x] has [8] dims"),
    ],
)
def test_a_kind_says_nothing_of_one_document(reason: str, kind: str) -> None:
    assert kind_of_failure(reason) == kind


def test_a_thousand_failures_that_differ_in_numbers_are_one_group() -> None:
    summary = Summary()
    for n in range(1000):
        summary.fail(f"d{n}", f"the text has {n} tokens, request 9f8e7d6c{n:04}", for_good=n % 2 == 0)
    ((_, group),) = summary.failures.items()
    assert (group.count, group.for_good, len(group.examples)) == (1000, 500, 5)


def test_kinds_are_bounded() -> None:
    summary = Summary()
    names = ["".join(chr(97 + int(digit)) for digit in str(n)) for n in range(500)]
    for name in names:
        summary.fail(name, f"reason {name}")
    assert len(summary.failures) == MOST_KINDS + 1
    assert summary.failures[OTHER_KINDS].count == 500 - MOST_KINDS
    assert summary.failed == 500


def test_every_failure_is_listed_in_full_and_can_be_written() -> None:
    told: list[FailedDocument] = []
    summary = Summary(listed=told.append)
    summary.fail("a", "bad \ud83d text", index="docs", for_good=True)
    assert told == [FailedDocument("a", "docs", "bad \ufffd text", True)]
