"""What people have judged: which documents answer which questions, read from the forms in which it is kept.

- TREC qrels: ``query_id iteration document_id grade``, separated by white space (trec_eval's manual).
- CSV, or values separated by tabs, with a heading: BEIR's ``query-id corpus-id score`` and the like.
- JSON lines: one judgment each, or one question each with its ``judgments`` as an object of grades.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from io import StringIO
from typing import Any

import orjson

_QUERY_ID = ("query_id", "query-id", "qid", "id", "_id")
_JUDGED_QUERY_ID = ("query_id", "query-id", "qid")
_DOCUMENT_ID = ("document_id", "document-id", "doc_id", "docid", "corpus-id", "corpus_id", "_id")
_GRADE = ("grade", "relevance", "rating", "score", "rel")
_TEXT = ("query", "text", "question", "title")
_JUDGED_TEXT = ("query", "question")
_MANY = ("judgments", "judgements", "ratings", "grades")


@dataclass(frozen=True, slots=True)
class Judgments:
    """Grades by question and document, above 0 for what answers it, and the texts of the questions that have one."""

    grades: Mapping[str, Mapping[str, int]]
    texts: Mapping[str, str]

    def asked(self, texts: Mapping[str, str] | None = None) -> dict[str, str]:
        """The judged questions with their texts, those of ``texts`` first.

        Raises:
            ValueError: a judged question has no text.
        """
        known = {**self.texts, **(texts or {})}
        missing = [query for query in self.grades if not known.get(query, "").strip()]
        if missing:
            shown = ", ".join(missing[:5]) + (", ..." if len(missing) > 5 else "")
            raise ValueError(f"{len(missing)} judged queries have no text: {shown}. Give it with --queries FILE.")
        return {query: known[query] for query in self.grades}


@dataclass(frozen=True, slots=True)
class _Row:
    """A line's values by lower-case name, and where it stands."""

    line: int
    values: Mapping[str, Any]

    def first(self, names: Iterable[str]) -> Any:
        return next((self.values[name] for name in names if self.values.get(name) not in (None, "")), None)

    def needed(self, names: tuple[str, ...]) -> Any:
        value = self.first(names)
        if value is None:
            raise _wrong(self.line, f"has no [{names[0]}]")
        return value


def read_judgments(text: str) -> Judgments:
    """Judgments in any of the three forms, told apart by the first line.

    Without an id of the query its text is the id.

    Raises:
        ValueError: a line cannot be read, or gives a document another grade than a line before. Says which line.
    """
    first = _first_line(text)
    if not first:
        raise ValueError("there are no judgments")
    reader = _Reader()
    if first.startswith("{"):
        for row in _json_rows(text):
            reader.read(row)
    elif (delimiter := _heading(first)) is not None:
        for row in _csv_rows(text, delimiter):
            reader.read(row)
    else:
        for line, words in _lines(text):
            parts = words.split()
            if len(parts) != 4:
                raise _wrong(line, "is no judgment: write QUERY 0 DOCUMENT GRADE, or begin with a heading or with {")
            reader.add(line, parts[0], parts[2], parts[3])
    return Judgments(reader.grades, reader.texts)


def read_queries(text: str) -> dict[str, str]:
    """Texts by id: JSON lines, CSV or tabs with a heading, or ``ID<tab>TEXT`` lines.

    Raises:
        ValueError: a line cannot be read, or gives a query another text than a line before. Says which line.
    """
    first = _first_line(text)
    found: dict[str, str] = {}
    if first.startswith("{") or _heading(first, queries=True) is not None:
        delimiter = _heading(first, queries=True)
        rows = _json_rows(text) if delimiter is None else _csv_rows(text, delimiter)
        pairs: Iterable[tuple[int, str, str]] = (
            (row.line, str(row.needed(_QUERY_ID)), str(row.needed(_TEXT))) for row in rows
        )
    else:
        pairs = _tabbed(text)
    for line, query, words in pairs:
        if found.setdefault(query, words) != words:
            raise _wrong(line, f"gives query [{query}] another text")
    return found


class _Reader:
    """Collects grades and texts, and refuses what contradicts itself."""

    def __init__(self) -> None:
        self.grades: dict[str, dict[str, int]] = {}
        self.texts: dict[str, str] = {}

    def read(self, row: _Row) -> None:
        text = row.first(_JUDGED_TEXT)
        query = row.first(_JUDGED_QUERY_ID)
        if query is None and text is None:
            raise _wrong(row.line, "has neither [query_id] nor [query]")
        name = str(text if query is None else query)
        if text is not None and self.texts.setdefault(name, str(text)) != str(text):
            raise _wrong(row.line, f"gives query [{name}] another text")
        many = row.first(_MANY)
        if many is None:
            self.add(row.line, name, str(row.needed(_DOCUMENT_ID)), row.needed(_GRADE))
            return
        if not isinstance(many, Mapping):
            raise _wrong(row.line, "has judgments that are no object of grades by document")
        for document, grade in many.items():
            self.add(row.line, name, document, grade)

    def add(self, line: int, query: str, document: str, grade: Any) -> None:
        number = _whole(grade)
        if number is None:
            raise _wrong(line, f"has a grade that is no whole number: [{grade}]")
        if self.grades.setdefault(query, {}).setdefault(document, number) != number:
            raise _wrong(line, f"gives document [{document}] another grade for query [{query}]")


def _whole(grade: Any) -> int | None:
    if isinstance(grade, bool):
        return None
    try:
        number = float(grade)
        return int(number) if number == int(number) else None
    except (TypeError, ValueError, OverflowError):
        return None


def _first_line(text: str) -> str:
    return next((words for _, words in _lines(text)), "")


def _lines(text: str) -> Iterator[tuple[int, str]]:
    """Lines that say something, with their numbers. Only line feeds end them: ids may hold other separators."""
    for number, line in enumerate(text.removeprefix("\ufeff").split("\n"), 1):
        if line.strip():
            yield number, line.strip("\r")


def _heading(first: str, *, queries: bool = False) -> str | None:
    """What separates the columns, where the line is a heading."""
    ids, others = (_QUERY_ID, _TEXT) if queries else (_JUDGED_QUERY_ID + _JUDGED_TEXT, _GRADE)
    for delimiter in ("\t", ",", ";"):
        names = {name.strip().strip('"').lower() for name in first.split(delimiter)}
        if names & set(ids) and names & set(others):
            return delimiter
    return None


def _csv_rows(text: str, delimiter: str) -> Iterator[_Row]:
    reader = csv.reader(StringIO(text.removeprefix("\ufeff"), newline=""), delimiter=delimiter, strict=True)
    heading: list[str] = []
    try:
        for cells in reader:
            if not any(cell.strip() for cell in cells):
                continue
            if not heading:
                heading = [cell.strip().lower() for cell in cells]
                continue
            if len(cells) != len(heading):
                raise _wrong(reader.line_num, f"has {len(cells)} columns, the heading {len(heading)}")
            yield _Row(reader.line_num, dict(zip(heading, cells, strict=True)))
    except csv.Error as error:
        raise _wrong(reader.line_num, f"is no CSV: {error}") from None


def _json_rows(text: str) -> Iterator[_Row]:
    for number, line in _lines(text):
        try:
            value = orjson.loads(line)
        except orjson.JSONDecodeError as error:
            raise _wrong(number, f"is no JSON: {error.msg}") from None
        if not isinstance(value, dict):
            raise _wrong(number, "is no JSON object")
        yield _Row(number, {name.lower(): found for name, found in value.items()})


def _tabbed(text: str) -> Iterator[tuple[int, str, str]]:
    for number, line in _lines(text):
        query, tab, words = line.partition("\t")
        if not tab or not query.strip() or not words.strip():
            raise _wrong(number, "is no query: write ID, a tab and the text, or begin with a heading or with {")
        yield number, query.strip(), words.strip()


def _wrong(line: int, what: str) -> ValueError:
    return ValueError(f"line {line} {what}")
