"""What ingest pipelines make of documents, asked of the cluster before the documents are written.

The vectors belong to the text that is stored, and pipelines may change it. Only what they make of the text is taken
from here: the document itself goes through the pipelines when it is written, in the cluster as ever.
Source: Elasticsearch API reference, "Simulate data ingestion" (from 8.12 on).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import quote

import orjson
import structlog

from sidecar.front.exchange import Exchange
from sidecar.front.source_text import SourceText, read_source

_log = structlog.stdlib.get_logger(__name__)
_WANTED = "docs.doc._index,docs.doc._source,docs.doc.result,docs.doc.error"


@dataclass(frozen=True, slots=True)
class Draft:
    """A document on its way into ``index``."""

    index: str
    id: str | None
    source: bytes


@dataclass(frozen=True, slots=True)
class Outcome:
    """What pipelines made of a draft: ``source`` is ``None`` where they drop or refuse it."""

    index: str
    source: SourceText | None


async def simulate(exchange: Exchange, drafts: Sequence[Draft], pipeline: str | None) -> list[Outcome]:
    """The drafts behind the pipeline named by the request (``None``: the index's default) and the final one.

    Documents that a cluster will not simulate come back as they are.
    """
    docs = []
    for draft in drafts:
        named = {"_index": draft.index} | ({} if draft.id is None else {"_id": draft.id})
        docs.append(orjson.dumps(named)[:-1] + b',"_source":' + draft.source.strip() + b"}")
    chosen = "" if pipeline is None else f"&pipeline={quote(pipeline, safe='')}"
    target = f"/_ingest/_simulate?filter_path={_WANTED}{chosen}"
    answer = await exchange.call("POST", target, b'{"docs":[' + b",".join(docs) + b"]}")
    body = answer.json() if answer.status == 200 else {}
    made = body.get("docs") or []
    if len(made) != len(drafts):
        _log.warning("pipelines cannot be simulated", status=answer.status, pipeline=pipeline)
        return [Outcome(draft.index, read_source(draft.source, strict=False)) for draft in drafts]
    return [_outcome(draft, one.get("doc") or {}) for draft, one in zip(drafts, made, strict=True)]


def _outcome(draft: Draft, doc: dict[str, object]) -> Outcome:
    index = str(doc.get("_index", draft.index))
    source = doc.get("_source")
    if (doc.get("error") and source is None) or doc.get("result") == "noop":
        return Outcome(index, None)
    value = source if isinstance(source, dict) else {}
    return Outcome(index, SourceText(orjson.dumps(value), value))
