"""Retrieval quality end to end: the Cranfield collection in a real index, asked by the engine in every way it has.

    python -m bench.quality DIRECTORY [--elasticsearch-url URL] [--index NAME] [--slice N/M] [--reranked HITS]

DIRECTORY holds the collection (``bench.cranfield`` says in which form). Without a URL a node with a Basic licence is
started. The index is filled with the built-in models; one that is there already gets only what it lacks, so a run that
was interrupted goes on. A reranked list ends with the hits that were reranked, and so does its recall. Measures are
those of ``ir-measures``; intervals are 95 %, p is against the first row.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import orjson

from bench.cranfield import Collection
from sidecar.cli.workbench import Workbench, open_workbench
from sidecar.elastic.index_catalog import IndexCatalog
from sidecar.elastic.version import server_version
from sidecar.ingest.fieldmap import parse_field_maps
from sidecar.ingest.indexing import Indexing, IndexJob
from sidecar.ingest.planning import make_plan
from sidecar.search.asking import Asking
from sidecar.search.client_executor import ClientExecutor
from sidecar.search.comparing import compared, values_of
from sidecar.search.defaults import WINDOW, LegKind
from sidecar.search.engine import SearchEngine
from sidecar.search.marked_fields import MarkedCatalog
from sidecar.search.preparation import Preparation
from sidecar.search.query_templates import DEFAULT, PLACE, RANK_FUSION, Template, default_templates
from tools.elasticsearch_node import choose_line, start_node

INDEX = "quality-cranfield"
SPARSE, DENSE, RERANK = ".elser-2-elasticsearch", ".multilingual-e5-small-elasticsearch", ".rerank-v1-elasticsearch"
MEASURES = ("nDCG@10", "R@100")
RERANKED = 50
"""Hits that are reranked unless told otherwise: the list ends with them."""
STANDARD = "BM25, standard analyser"
ENGLISH = "BM25, English analyser"
NAMES = {
    LegKind.SPARSE.value: "sparse",
    LegKind.DENSE.value: "dense",
    RANK_FUSION: "rrf",
    DEFAULT: "linear, the default",
}
_MAPPINGS: dict[str, Any] = {
    "properties": {
        "number": {"type": "keyword"},
        "text": {"type": "text", "analyzer": "english", "fields": {"standard": {"type": "text"}}},
    }
}


async def fill(bench: Workbench, index: str, collection: Collection) -> None:
    """The collection with its vectors in ``index``: whatever is not there yet."""
    if not await bench.client.indices.exists(index=index):
        settings = {"number_of_shards": 1, "number_of_replicas": 0}
        await bench.client.indices.create(index=index, mappings=_MAPPINGS, settings=settings)
    fields = parse_field_maps([f"text:text_sparse={SPARSE}", f"text:text_dense={DENSE}"])
    job = IndexJob(index, await make_plan(bench.embedder, fields), id_field="number")
    work = Indexing(bench.client, bench.embedder, job)
    lines = [orjson.dumps({"number": name, "text": text}) for name, text in collection.documents.items()]
    await work.run(lines)
    if not work.summary.ok:
        raise SystemExit(f"Not everything could be indexed: {work.summary}")
    await bench.client.indices.refresh(index=index)


def ways(found: Mapping[str, Template], *, reranked_hits: int) -> dict[str, Template]:
    """What is compared: the legs, their fusions, and these reranked. ``found``: what the index can have."""
    result = {ENGLISH: found[LegKind.WORDS.value]}
    result[STANDARD] = {"standard": {"query": {"match": {"text.standard": {"query": PLACE}}}}}
    result |= {name: found[key] for key, name in NAMES.items()}
    for key in (RANK_FUSION, DEFAULT) if reranked_hits else ():
        result[f"{NAMES[key]}, reranked"] = reranked(found[key], reranked_hits)
    return result


def reranked(template: Template, hits: int) -> Template:
    """The first ``hits`` in the reranker's order."""
    body = {
        "retriever": template,
        "field": "text",
        "inference_id": RERANK,
        "inference_text": PLACE,
        "rank_window_size": hits,
    }
    return {"text_similarity_reranker": body}


async def measure(bench: Workbench, options: argparse.Namespace, collection: Collection) -> None:
    """Asks, measures and prints a table."""
    catalog = MarkedCatalog(IndexCatalog(bench.client), bench.client)
    version = await server_version(bench.client)
    engine = SearchEngine(catalog, bench.embedder)
    asking = Asking(engine, ClientExecutor(bench.client), version, options.index)
    number, of = map(int, options.slice.split("/"))
    questions = {
        query: text
        for place, (query, text) in enumerate(collection.queries.items())
        if query in collection.judgements and place % of == number - 1
    }
    grades = {
        query: {document: int(gain) for document, gain in collection.judgements[query].items()} for query in questions
    }
    scope = await Preparation(catalog, bench.embedder).scope(options.index, {}, version)
    rankings = {}
    for name, template in ways(default_templates(scope), reranked_hits=options.reranked).items():
        began = time.monotonic()
        found = await asking.rankings(template, questions, WINDOW)
        print(f"{name}: {time.monotonic() - began:.1f} s", file=sys.stderr, flush=True)
        rankings[name] = {query: [one.id for one in ranking] for query, ranking in found.items()}
    await engine.close()
    measures = tuple(options.measure or MEASURES)
    values = values_of(measures, grades, rankings)
    rows = compared(values, ENGLISH)
    first = rows[0].estimates[measures[0]].mean
    print(f"\n{len(questions)} queries, {len(collection.documents)} documents, Elasticsearch {version}\n")
    print("| | " + " | ".join(measures) + f" | {measures[0]} over {ENGLISH} | p |")
    print("|---|" + "---|" * (len(measures) + 2))
    for row in rows:
        cells = [f"{one.mean:.3f} ({one.low:.3f} to {one.high:.3f})" for one in row.estimates.values()]
        p = f"{row.p[measures[0]]:.4f}" if row.p else ""
        gain = f"{100 * (row.estimates[measures[0]].mean / first - 1):+.1f} %" if row.p else ""
        print(f"| {row.name} | " + " | ".join(cells) + f" | {gain} | {p} |")


async def run(options: argparse.Namespace, url: str) -> None:
    collection = Collection.read(options.directory)
    async with open_workbench(url) as bench:
        await fill(bench, options.index, collection)
        await measure(bench, options, collection)
        if not options.keep:
            await bench.client.indices.delete(index=options.index)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.quality")
    parser.add_argument("directory", type=Path)
    parser.add_argument("--elasticsearch-url")
    parser.add_argument("--index", default=INDEX)
    parser.add_argument("--keep", action="store_true", help="leave the index there")
    parser.add_argument("--slice", default="1/1", help="only the Nth of M parts of the queries, such as 1/5")
    parser.add_argument("--measure", action="append", help="as ir-measures names it; may be repeated")
    parser.add_argument(
        "--reranked", type=int, default=RERANKED, help="hits that are reranked; 0: none, which is quick"
    )
    options = parser.parse_args()
    with ExitStack() as stack:
        url = options.elasticsearch_url
        if url is None:
            url = stack.enter_context(start_node(choose_line(), license="basic")).url
        asyncio.run(run(options, url))


if __name__ == "__main__":
    main()
