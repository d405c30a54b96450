"""What precision costs: ranking quality and speed of each way to compute the built-in models.

    python -m bench.quantisation PATH_TO_CRANFIELD [--only sparse,dense,rerank] [--fp32 NAME=DIRECTORY ...]

Scores are exhaustive and outside Elasticsearch. Documents run sorted by length in batches of the runtime's token
budget, in one thread per core over one session; tokenising is left out. ``cpu`` is processor time, which other work on
the machine disturbs less than documents per second.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from threadpoolctl import threadpool_limits

from bench.cranfield import Collection, bm25
from sidecar.core.results import SparseEmbedding
from sidecar.core.tasks import InputType
from sidecar.runtime.batch import PaddedBatch
from sidecar.runtime.catalog import BUILT_IN_DIR
from sidecar.runtime.config import RuntimeConfig
from sidecar.runtime.cpus import available_cpus
from sidecar.runtime.directory import ModelDirectory
from sidecar.runtime.engine import Engine, Work
from sidecar.runtime.loading import load_engine
from sidecar.runtime.pooling import Pooling, unit
from sidecar.runtime.session import Session
from sidecar.runtime.sparse_engine import SparseEngine
from sidecar.runtime.sparse_head import WEIGHTS, blocked_graph, split_head

Floats = npt.NDArray[np.float32]
Run = Callable[[list[Work], PaddedBatch], list[Any]]
CANDIDATES = 50


def in_batches(engine: Engine, texts: Sequence[str], run: Run, prompt: str = "") -> tuple[list[Any], float, float]:
    """Results in order, seconds, and processor seconds."""
    config = RuntimeConfig()
    work = [Work(text) for text in engine.word_pieces.encode(texts, prompt)]
    order = sorted(range(len(work)), key=lambda n: len(work[n].encoded))
    batches: list[list[int]] = [[]]
    for n in order:
        if batches[-1] and len(work[n].encoded) * (len(batches[-1]) + 1) > config.batch_tokens:
            batches.append([])
        batches[-1].append(n)

    def one(batch: list[int]) -> list[Any]:
        part = [work[n] for n in batch]
        return run(part, engine.batch(part))

    started, used = time.perf_counter(), time.process_time()
    with ThreadPoolExecutor(available_cpus()) as workers:
        found = list(workers.map(one, batches))
    seconds, processor = time.perf_counter() - started, time.process_time() - used
    results: list[Any] = [None] * len(work)
    for batch, values in zip(batches, found, strict=True):
        for n, value in zip(batch, values, strict=True):
            results[n] = value
    return results, seconds, processor


def sparse_ways() -> dict[str, tuple[Engine, Run]]:
    """The ways to compute token weights, each as an engine and a function of a batch."""
    directory = ModelDirectory.read(BUILT_IN_DIR / "splade-tiny")
    exact, int8 = SparseEngine(directory, exact=True), SparseEngine(directory, exact=False)
    whole, screened, quantised = Session(directory.graph_file, 1), exact.open(1), int8.open(1)
    split = split_head(directory.graph_file, directory.output.name)
    if split is None or exact.head != "screened":
        raise SystemExit("the built-in sparse model is not the one this program measures")
    blocks = Session(blocked_graph(split, int8=False), 1)
    vocabulary = exact.word_pieces.vocabulary(directory.dimensions or 0)

    def maps(work: list[Work], weights: Floats, batch: PaddedBatch) -> list[Any]:
        found = [{vocabulary[n]: float(row[n]) for n in np.flatnonzero(row)} for row in weights]
        return [
            SparseEmbedding({} if text.encoded.is_empty else found[row])
            for text, row in zip(work, batch.rows, strict=True)
        ]

    def run_whole(work: list[Work], batch: PaddedBatch) -> list[Any]:
        (logits,) = whole.run(batch.feeds, ["logits"])
        weights = np.log1p(np.maximum(logits, 0)) * batch.mask[:, :, None]
        return maps(work, weights.max(axis=1), batch)

    return {
        "fp32, whole logits, log and maximum outside": (exact, run_whole),
        "fp32, 16 blocks in the graph": (exact, lambda work, b: maps(work, blocks.run(b.feeds, [WEIGHTS])[0], b)),
        "int8, 16 blocks, a scale per row": (int8, lambda work, b: int8.run(quantised, work, b)),
        "fp32, screened (default)": (exact, lambda work, b: exact.run(screened, work, b)),
    }


def sparse_scores(queries: list[SparseEmbedding], documents: list[SparseEmbedding]) -> Floats:
    scores = np.zeros((len(queries), len(documents)), np.float32)
    for column, document in enumerate(documents):
        weights = document.tokens
        for row, query in enumerate(queries):
            scores[row, column] = sum(weight * weights.get(token, 0.0) for token, weight in query.tokens.items())
    return scores


def measure_sparse(collection: Collection) -> None:
    texts, queries = list(collection.documents.values()), list(collection.queries.values())
    reference: list[SparseEmbedding] | None = None
    print("\n| splade-tiny | nDCG@10 | Recall@100 | docs/s | cpu ms/doc | tokens that differ | largest difference |")
    print("|---|---|---|---|---|---|---|")
    for name, (engine, run) in sparse_ways().items():
        in_batches(engine, texts[:200], run)
        documents, seconds, cpu = in_batches(engine, texts, run)
        asked, _, _ = in_batches(engine, queries, run)
        documents = [SparseEmbedding({t.replace(".", "__"): w for t, w in d.tokens.items()}) for d in documents]
        asked = [SparseEmbedding({t.replace(".", "__"): w for t, w in d.tokens.items()}) for d in asked]
        reference = reference or documents
        pairs = list(zip(reference, documents, strict=True))
        changed = sum(len(one.tokens.keys() ^ other.tokens.keys()) for one, other in pairs)
        total = sum(len(one.tokens) for one in reference)
        largest = max(
            abs(one.tokens.get(token, 0.0) - other.tokens.get(token, 0.0))
            for one, other in pairs
            for token in one.tokens.keys() | other.tokens.keys()
        )
        quality, found = collection.quality(sparse_scores(asked, documents))
        print(
            f"| {name} | {quality:.4f} | {found:.3f} | {len(texts) / seconds:.0f} | {cpu / len(texts) * 1e3:.1f} "
            f"| {changed / total:.1%} | {largest:.1g} |",
            flush=True,
        )


def dense_engine(path: Path, like: Path) -> tuple[Engine, Session]:
    """An engine for the graph under ``path`` with the configuration of the built-in directory ``like``."""
    directory = ModelDirectory.read(like)
    directory = replace(directory, graph_file=ModelDirectory.read(path).graph_file)
    engine = load_engine(directory, exact=True)
    return engine, engine.open(1)


def measure_dense(collection: Collection, fp32: dict[str, Path]) -> None:
    texts, queries = list(collection.documents.values()), list(collection.queries.values())
    print(
        "\n| dense | nDCG@10 | Recall@100 | docs/s | cpu ms/doc | cosine to fp32, mean (least) |"
        "\n|---|---|---|---|---|---|"
    )
    for name in ("all-MiniLM-L6-v2", "bge-small-en-v1.5"):
        reference: Floats | None = None
        for label, path in (("fp32", fp32.get(name)), ("int8 (built in)", BUILT_IN_DIR / name)):
            if path is None:
                continue
            engine, session = dense_engine(path, BUILT_IN_DIR / name)
            run: Run = lambda work, batch, e=engine, s=session: e.run(s, work, batch)  # type: ignore[misc]  # noqa: E731
            prompts = engine.directory.prompts
            found, seconds, cpu = in_batches(engine, texts, run, prompts.of(InputType.INGEST))
            asked, _, _ = in_batches(engine, queries, run, prompts.of(InputType.SEARCH))
            documents = np.stack(found)
            near = "" if reference is None else f"{(c := (documents * reference).sum(1)).mean():.4f} ({c.min():.4f})"
            reference = documents if label == "fp32" else reference
            quality, recalled = collection.quality(np.stack(asked) @ documents.T)
            print(
                f"| {name}, {label} | {quality:.4f} | {recalled:.3f} | {len(texts) / seconds:.0f} "
                f"| {cpu / len(texts) * 1e3:.1f} | {near} |",
                flush=True,
            )


def measure_rerank(collection: Collection) -> None:
    """Late interaction of bge-small on the first candidates of BM25, in several readings."""
    engine, session = dense_engine(BUILT_IN_DIR / "bge-small-en-v1.5", BUILT_IN_DIR / "bge-small-en-v1.5")
    directory = engine.directory

    def vectors(_: list[Work], batch: PaddedBatch) -> list[Any]:
        (hidden,) = session.run(batch.feeds, [directory.output.name])
        sentences = unit((directory.pooling or Pooling()).pool(hidden, batch.mask))
        return [(unit(hidden[row, : batch.lengths[row]]).astype(np.float16), sentences[row]) for row in batch.rows]

    first = bm25(collection)
    print(f"\n| BM25 and its first {CANDIDATES} reranked | nDCG@10 |\n|---|---|")
    print(f"| BM25, standard tokens | {collection.quality(first)[0]:.4f} |")
    top = np.argsort(-first, axis=1, kind="stable")[:, :CANDIDATES]
    documents, _, _ = in_batches(engine, list(collection.documents.values()), vectors)
    prompt = directory.prompts.of(InputType.SEARCH)
    for asked, how in ((prompt, "query with its prompt"), ("", "query without prompt")):
        queries, _, _ = in_batches(engine, list(collection.queries.values()), vectors, asked)
        skip = len(engine.word_pieces.encode([asked])[0]) - 1 if asked else 1
        readings: dict[str, Callable[[Any, Any], float]] = {
            "cosine": lambda q, d: float(q[1] @ d[1]),
            "MaxSim, [CLS] and [SEP] too": lambda q, d: maxsim(q[0], d[0]),
            "MaxSim, words only": lambda q, d: maxsim(q[0][1:-1], d[0][1:-1]),
            "MaxSim, words only + cosine": lambda q, d: maxsim(q[0][1:-1], d[0][1:-1]) + float(q[1] @ d[1]),
            "MaxSim + cosine": lambda q, d: maxsim(q[0], d[0]) + float(q[1] @ d[1]),
        }
        if asked:
            readings["MaxSim, without the prompt's words + cosine"] = (
                lambda q, d, s=skip: maxsim(q[0][s:-1], d[0][1:-1]) + float(q[1] @ d[1])  # type: ignore[misc]
            )
        for name, score in readings.items():
            scores = np.full_like(first, -np.inf)
            for row, query in enumerate(queries):
                for column in top[row]:
                    scores[row, column] = score(query, documents[column])
            print(f"| {name}; {how} | {collection.quality(scores)[0]:.4f} |", flush=True)


def maxsim(query: npt.NDArray[Any], document: npt.NDArray[Any]) -> float:
    """Mean over query tokens of the largest cosine; -1 without tokens."""
    if not len(query) or not len(document):
        return -1.0
    return float((query.astype(np.float32) @ document.astype(np.float32).T).max(axis=1).mean())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("path", type=Path, help="directory with cran.all.1400, cran.qry and cranqrel")
    parser.add_argument("--only", default="sparse,dense,rerank", help="parts, separated by commas")
    parser.add_argument("--fp32", action="append", default=[], metavar="NAME=DIRECTORY", help="unquantised model")
    options = parser.parse_args()
    threadpool_limits(1, user_api="blas")
    collection = Collection.read(options.path)
    parts = options.only.split(",")
    print(f"{len(collection.documents)} documents, {len(collection.queries)} questions, {available_cpus()} cores")
    if "sparse" in parts:
        measure_sparse(collection)
    if "dense" in parts:
        measure_dense(collection, {name: Path(path) for name, _, path in (x.partition("=") for x in options.fp32)})
    if "rerank" in parts:
        measure_rerank(collection)


if __name__ == "__main__":
    main()
