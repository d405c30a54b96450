"""Writes docs/departures.md: where answers differ from Elasticsearch's on purpose, and why.

    python -m tools.departures          # writes the file

The rows come from the departures that the tests keep beside the recorded cases.
"""

from __future__ import annotations

import json
from pathlib import Path

from sidecar.services.catalogue import Catalogue
from tests.recorded.departures import DEPARTURES

ROOT = Path(__file__).parent.parent
DOCUMENT = ROOT / "docs" / "departures.md"
SERVICES = ROOT / "tests" / "services" / "departures"
VERSIONS = ("9.4.3", "8.19.8")
API = "API"
_HEAD = """# Departures

Recorded requests that the sidecar answers, or passes to a provider, differently from Elasticsearch, each with its
reason. Every other recorded request is answered alike; a test holds this table, the reasons kept beside the recordings
and the cases that differ together. `python -m tools.departures` writes it anew.

| service | case | version | reason |
|---|---|---|---|
"""

_BESIDE_HEAD = """
What recordings and nodes also show, and that test does not compare:

| what | reason |
|---|---|
"""
_BESIDE = (
    (
        "Lists of services (`GET _inference/_services`, alone and by task type, and its `filter_path`) name "
        + " and ".join(f"`{service.name}`" for service in Catalogue.discover() if not service.in_elasticsearch)
        + " too; the others are as in the release.",
        "No Elasticsearch has them, and they work in every generation.",
    ),
    (
        "An API key of blanks alone (`create/api-key-blank`) reaches the provider as `Bearer`, no blank behind it.",
        "HTTP has no blanks at the end of a header: who reads one drops them.",
    ),
    (
        "What a credential or a header holds beyond ASCII is sent as UTF-8; Elasticsearch sends the lowest byte of "
        "each UTF-16 unit (`中` becomes `-`).",
        "A key is sent as it was given, or refused, never as another one.",
    ),
    (
        "In the generations before 8.19 a provider is sent what 8.19 and later send it (34 cases of 8.16.1 and 14 of "
        "8.14.1 differ in nothing else): `stream` and `stream_options` of completions, Cohere's `input_type` and the "
        "path of its reranking, texts of validation calls and whether there is one, how often a stream is tried.",
        "The answers are those of the generation; the providers are those of today.",
    ),
)

_FRONT_HEAD = """
## In front of a cluster

Writes through the front to a cluster without the licence, beside those straight to one that has it: 391 of 406
recorded ones agree on 9.4.3, 360 of 371 on 8.19.8 (with `SIDECAR_API_GENERATION=auto`). The others are of these kinds.

| what | reason |
|---|---|
"""
_FRONT = (
    (
        "One text of a bulk that cannot be embedded fails its document alone, with its other fields; "
        "Elasticsearch fails all documents of its call to the provider.",
        "Nothing is wrong with the others.",
    ),
    (
        "Of two fields that fail, the first is named; Elasticsearch names either.",
        "",
    ),
    (
        "A bulk's update keeps the chunks of `semantic_text` fields that it does not touch. Elasticsearch drops "
        "them where it reads the document from its log of writes: after a second write of it, or any realtime "
        "read in its shard, before the next refresh (8.19.8 and 9.4.3, with the licence too).",
        "It could not be found by them.",
    ),
    (
        "An `upsert` document that a bulk inserts gets its vectors; Elasticsearch stores it without.",
        "It could not be found by them.",
    ),
    (
        "Beside `_inference_fields` of one field, those of the others are made; Elasticsearch refuses the "
        "document for a duplicate field.",
        "The document is complete then.",
    ),
    (
        "`_inference_fields` that a document brings are made anew where its own marker says that they are of another "
        "text; Elasticsearch never looks.",
        "A document that was read, changed and written back whole would be found by what it no longer says.",
    ),
    (
        "With the default `SIDECAR_API_GENERATION` an endpoint whose body says nothing of chunking gets the chunking "
        "of 9.4, also before an 8.19 cluster.",
        "It is in the endpoint's answers; `auto` makes endpoints as the cluster would.",
    ),
    (
        "Errors of the JSON parser name line and column without repeating the body.",
        "Bodies hold what is not meant for logs.",
    ),
    (
        "`PUT _mapping` that gives a filled `semantic_text` field another `inference_id` is refused on 9.x, "
        "because the cluster looks for an endpoint of its own.",
        "It cannot have one without the licence; a new index can name it.",
    ),
    (
        "A bulk update of a document that is not there is answered with that, also where its text could not be "
        "embedded.",
        "Nothing is embedded for it.",
    ),
    (
        "An update that only writes the same text again is `updated`, not `noop`, where the index has a marker.",
        "The marker says when.",
    ),
)

_SEARCHES_HEAD = """
Searches through the front to a cluster without the licence, beside those of one that has it (9.4.3, trial): 420 of 423
recorded cases agree, and of 1,500 bodies made of recorded ones by changing one value 1,497. 8.19.8 against the same
recordings: 349. Of the 74 others 44 have, whole, the answer of an 8.19.8 with the trial licence and nothing in front:
scores of quantised vectors, which differ between the lines, vectors shown in `_source`, dense semantic queries that
filters do not narrow, no `diversify` and no `lookup` and `embedding` builders. The other 30 it refuses or fails at, and
each was held against what it does answer: 24 `rrf`, `linear` and `pinned` against arithmetic over its answers for their
children (`minmax` of equal scores leaves them there), 4 searches of a field with several endpoints against its answers
index by index, `match` of a number against `match` of its digits (500 there for the number), a `chunk_rescorer` whose
keys are all ignored against the reranker without it. All agree.

| what | reason |
|---|---|
"""
_SEARCHES = (
    (
        "`_search/template` on a node without its template module stays refused.",
        "The cluster renders templates; distributions have the module.",
    ),
    (
        "The mapping of a `semantic_text` field with `index_options` shows `model_settings` from its creation on.",
        "A cluster without the endpoint takes the options only with them.",
    ),
    ("`profile` shows the last search as it was sent, not `RankDocsQuery`.", "That is what ran."),
    (
        "`collapse` with `inner_hits` over a `semantic` query of vectors shows in each group those of the search's own "
        "neighbours; the cluster looks for neighbours in each group anew.",
        "The query that the cluster gets names its vector and their number; it knows of no text to look again with.",
    ),
    (
        "Over indices that give one field different endpoints a `semantic` highlighter may show chunks of fields that "
        "the query does not name.",
        "What keeps fields apart there is the cluster's filter by index, which its highlighter does not heed.",
    ),
    (
        "A tree with a `rescorer`, `diversify` or `random_reranker` under a fusion counts its child's matches.",
        "As the cluster does; of `knn` below it only the hits that came back.",
    ),
    (
        "Names of clauses below `rrf`, `linear` and `pinned` are in `matched_queries`, that of a child's retriever in "
        "the place of its query's.",
        "As below `text_similarity_reranker` in the cluster.",
    ),
    (
        "`random_reranker` over a `text_similarity_reranker`, at any depth, is answered; the cluster fails with 500 "
        "(`missing a rewrite`).",
        "A fault of the cluster's.",
    ),
    (
        "`rrf` and `linear` take a nested retriever with a smaller window than their own; `text_similarity_reranker` "
        "and `rescorer` refuse it, as in the cluster.",
        "No node without the module says what it would do.",
    ),
    (
        "Where two things are wrong with a body, one of them within `rrf` or `linear`, either is named. Elsewhere it "
        "is the first, as in the cluster, which is asked.",
        "The cluster without the licence does not read them.",
    ),
    (
        "A compound retriever without an index in the address searches all indices, `text_similarity_reranker` over "
        "another or a `rescorer` of which nothing is left finds nothing, and `collapse` with `inner_hits` beside one "
        "takes `routing`, `ignore_unavailable` and the like; the cluster answers 400.",
        "It trips over its own inner requests.",
    ),
    (
        "A `rescorer` and a `diversify` over a dense `semantic` query count what its neighbours within their window "
        "match; the cluster counts as many as `size` says, and 8.19.8 rescores only those.",
        "The cluster gets one query, which finds the hits and counts them.",
    ),
    (
        "A leg of which shards failed is told of by a `Warning` too, where `allow_partial_search_results` is not "
        "false; where it is, the search fails with the leg's error as its cause, on 8.19.8 too.",
        "The page is fetched by a search of its own, whose shards need not fail.",
    ),
    (
        "`explain` of a `text_similarity_reranker` has below `match on required clause` the child's explanation, in "
        "indices without nested fields too.",
        "What the cluster wraps its last query in is not known.",
    ),
    ("`text_similarity_reranker` without an `inference_id` works: `.rerank-v1-elasticsearch` is built in.", ""),
)


def rows() -> list[tuple[str, str, str, str]]:
    """Service, case, versions and reason, sorted; cases of the API that belong to no service come last."""
    found: dict[tuple[str, str, str], list[str]] = {}
    for path in sorted(SERVICES.glob("*.json")):
        written = json.loads(path.read_text())
        by_version = written if written.keys() <= set(VERSIONS) else dict.fromkeys(VERSIONS, written)
        for version in VERSIONS:
            for case, reason in by_version.get(version, {}).items():
                found.setdefault((path.stem, case, reason), []).append(version)
    services = [(service, case, ", ".join(of), reason) for (service, case, reason), of in sorted(found.items())]
    return services + _api_rows()


def _api_rows() -> list[tuple[str, str, str, str]]:
    found: dict[tuple[str, str], list[str]] = {}
    for version, written in DEPARTURES.items():
        for case, reason in written.items():
            found.setdefault((case, reason), []).append(version)
    return [(API, case, ", ".join(versions), reason) for (case, reason), versions in sorted(found.items())]


def document() -> str:
    """The whole page."""
    cells = ([f"`{service}`" if service != API else API, f"`{case}`", *rest] for service, case, *rest in rows())
    table = "".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |\n" for row in cells)
    beside, writes, searches = (
        "".join(f"| {what} | {reason} |\n" for what, reason in of) for of in (_BESIDE, _FRONT, _SEARCHES)
    )
    return _HEAD + table + _BESIDE_HEAD + beside + _FRONT_HEAD + writes + _SEARCHES_HEAD + searches


if __name__ == "__main__":
    DOCUMENT.write_text(document())
