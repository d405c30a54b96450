"""``sidecar search``: one question, several ways of searching, one list."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any

import orjson
import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from sidecar.cli.query_option import read_query
from sidecar.cli.sentences import tell
from sidecar.cli.whole_table import print_whole
from sidecar.cli.workbench import ElasticsearchUrl, index_name, open_workbench, user_errors
from sidecar.core.errors import IllegalArgumentError, RelayedError
from sidecar.elastic.fields import field_at
from sidecar.elastic.index_catalog import IndexCatalog, IndexView
from sidecar.elastic.source import text_at, well_formed
from sidecar.elastic.version import server_version
from sidecar.search.client_executor import ClientExecutor
from sidecar.search.defaults import LegKind
from sidecar.search.engine import Search, SearchEngine
from sidecar.search.fusion import Normalizer
from sidecar.search.marked_fields import MarkedCatalog
from sidecar.search.question import Fuse, Leg, Question, best_passage
from sidecar.search.scope import mapped_field
from sidecar.settings import UserError

_SNIPPET = 160
_LEAST_ID = 12
_DEFAULT_FIELD = "text"
_SEARCHED = {
    LegKind.DENSE: ("dense_vector", "semantic_text"),
    LegKind.SPARSE: ("sparse_vector", "rank_features", "semantic_text"),
}


def search(
    index: Annotated[str, typer.Argument(callback=index_name, help="Index, alias or pattern.")],
    question: Annotated[str, typer.Argument(help="What to look for.")],
    *,
    bm25: Annotated[list[str] | None, typer.Option(metavar="FIELD", help="Search the words of FIELD.")] = None,
    sparse: Annotated[
        list[str] | None,
        typer.Option(metavar="FIELD[=ENDPOINT]", help="Search the token weights in FIELD."),
    ] = None,
    dense: Annotated[
        list[str] | None, typer.Option(metavar="FIELD[=ENDPOINT]", help="Search the vectors in FIELD.")
    ] = None,
    fuse: Annotated[Fuse, typer.Option(help="How several lists become one.")] = Fuse.LINEAR,
    normalizer: Annotated[Normalizer, typer.Option(help="How linear fusion scales scores.")] = Normalizer.MINMAX,
    rank_constant: Annotated[int, typer.Option(min=1, help="The k of rrf.")] = 60,
    weight: Annotated[
        list[str] | None, typer.Option(metavar="KIND:FIELD=NUMBER", help="Weight of a list, such as bm25:text=2.")
    ] = None,
    rerank: Annotated[str | None, typer.Option(metavar="ENDPOINT", help="Rerank the list.")] = None,
    field: Annotated[
        str | None, typer.Option(help="The text that is reranked and shown; default: the one that was embedded.")
    ] = None,
    window: Annotated[
        int | None, typer.Option(min=1, max=10_000, help="Hits per list that are fused and reranked.")
    ] = None,
    min_score: Annotated[float | None, typer.Option(help="Least score of the reranker (or of linear fusion).")] = None,
    size: Annotated[int, typer.Option(min=1, max=10_000, help="Hits to show.")] = 10,
    query: Annotated[str | None, typer.Option("--filter", help="Only documents that match (JSON, or @FILE).")] = None,
    explain: Annotated[bool, typer.Option("--explain", help="Show ranks, scores and token weights.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    show_request: Annotated[
        bool, typer.Option("--show-request", help="Print the search request instead of sending it.")
    ] = False,
    elasticsearch_url: ElasticsearchUrl = None,
) -> None:
    """Search by words, by token weights, by vectors; fuse and rerank. Everything works on a Basic licence.

    Without --bm25, --sparse and --dense the index says which fields it has, and all of them are searched.
    """
    with user_errors():
        legs = (
            *(Leg(LegKind.WORDS, name) for name in bm25 or []),
            *(_leg(LegKind.SPARSE, text) for text in sparse or []),
            *(_leg(LegKind.DENSE, text) for text in dense or []),
        )
        asked = Asked(
            index=index,
            question=Question(
                text=question,
                legs=legs,
                fuse=fuse,
                normalizer=normalizer,
                rank_constant=rank_constant,
                weights=_weights(weight or [], legs),
                rerank=rerank,
                rerank_field=field,
                window=window,
                min_score=min_score,
                filter=read_query(query),
            ),
            size=size,
            field=field,
            with_source=as_json,
            explain=explain,
        )
        request, answer, warnings = asyncio.run(_run(asked, elasticsearch_url, is_sent=not show_request))
    if show_request:
        typer.echo(_json(request))
        return
    _tell_failures(answer, warnings)
    if as_json:
        shown = {"hits": answer["hits"]["hits"], "total": answer["hits"].get("total"), "_shards": answer.get("_shards")}
        shown |= {"warnings": warnings} if warnings else {}
        typer.echo(_json(shown))
        return
    console = Console()
    hits = answer["hits"]["hits"]
    print_whole(hits_table(hits, asked.shown_field, question, explain=explain, width=console.width), console)


@dataclass(slots=True)
class Asked:
    """One call of the command. ``shown_field`` is known when the index has said what was embedded."""

    index: str
    question: Question
    size: int
    field: str | None
    with_source: bool
    explain: bool
    shown_field: str = _DEFAULT_FIELD


async def _run(
    asked: Asked, elasticsearch_url: str | None, *, is_sent: bool
) -> tuple[dict[str, Any], dict[str, Any], Sequence[str]]:
    """The request, the answer to it, and what the engine warns of."""
    async with open_workbench(elasticsearch_url) as bench:
        catalog = MarkedCatalog(IndexCatalog(bench.client), bench.client)
        views = await catalog.resolve(asked.index)
        if not views:
            raise UserError(f"There is no such index: [{asked.index}].")
        _check_vectors(asked.question.legs, views)
        asked.shown_field = _shown_field(asked.field, asked.question, views)
        asked.question = _with_field(asked.question, asked.shown_field)
        request: dict[str, Any] = {"size": asked.size, "retriever": asked.question.retriever(views)}
        if not asked.with_source:
            request["_source"] = [asked.shown_field]
        if not is_sent:
            return request, {}, ()
        engine = SearchEngine(catalog, bench.embedder)
        parameters = {"sidecar.explain": "true"} if asked.explain else {}
        try:
            outcome = await engine.answer(
                Search(asked.index, request, parameters),
                ClientExecutor(bench.client),
                await server_version(bench.client),
            )
        finally:
            await engine.close()
    answer = outcome.value if outcome.reply is None else outcome.reply.json()
    if outcome.status >= 400:
        raise RelayedError(outcome.status, answer)
    return request, answer, outcome.warnings


def _check_vectors(legs: Sequence[Leg], views: Sequence[IndexView]) -> None:
    """Raises ``IllegalArgumentError`` where a list's field is there and of a type that it cannot search anywhere."""
    for leg in legs:
        known = _SEARCHED.get(leg.kind)
        fields = [field for view in views if (field := mapped_field(view.mapping, leg.field)) is not None]
        types = dict.fromkeys(str(field.get("type", "object")) for field in fields)
        if known is not None and types and not set(types) & {*known, "alias"}:
            raise IllegalArgumentError(
                f"field [{leg.field}] is of type [{', '.join(types)}]: --{leg.kind.value} searches fields of type"
                f" [{'] or ['.join(known)}]"
            )


def _shown_field(named: str | None, question: Question, views: Sequence[IndexView]) -> str:
    """The field that is shown and reranked: the one named, else the text that is searched, else one that was embedded.

    Raises:
        IllegalArgumentError: a reranker has no text to read, since nothing says which it is.
    """
    names = ", ".join(view.name for view in views)
    if named is not None:
        if all(mapped_field(view.mapping, named) is None for view in views):
            raise IllegalArgumentError(f"no index of [{names}] has a field [{named}]")
        return named
    if found := next(_texts(question, views), None):
        return found
    if question.rerank is not None and not _has(_DEFAULT_FIELD, views):
        raise IllegalArgumentError(f"nothing says which text of [{names}] is to be reranked: say --field FIELD")
    return _DEFAULT_FIELD


def _texts(question: Question, views: Sequence[IndexView]) -> Iterator[str]:
    """Fields with the text that is meant, the likeliest first."""
    made = {binding.target: binding.sources for view in views for binding in view.bindings}
    made |= {found.name: (*found.sources, found.name) for view in views for found in view.semantic}
    for leg in question.legs:
        yield from made.get(leg.field, ())
    for leg in question.legs:
        if leg.kind is LegKind.WORDS:
            yield from _stored(leg.field, views)
    yield from (source for sources in made.values() for source in sources)


def _stored(field: str, views: Sequence[IndexView]) -> Iterator[str]:
    """The fields of a leg of words as documents hold them: without weights, and a multi-field's own field."""
    for name in (part.strip().partition("^")[0] for part in field.split(",")):
        if "*" in name:
            continue
        if not _has(name, views) and (parent := name.rpartition(".")[0]):
            yield parent
        else:
            yield name


def _has(field: str, views: Sequence[IndexView]) -> bool:
    return any(field_at(view.mapping, field) is not None for view in views)


def _with_field(question: Question, field: str) -> Question:
    return question if question.rerank_field is not None else replace(question, rerank_field=field)


def _tell_failures(answer: Mapping[str, Any], warnings: Sequence[str]) -> None:
    """Shards that failed left hits out: said where it is seen and does not mix with the hits."""
    told = list(warnings)
    shards = answer.get("_shards") or {}
    if shards.get("failed"):
        reasons = dict.fromkeys(
            str((failure.get("reason") or {}).get("reason", "no reason given"))
            for failure in shards.get("failures", ())
        )
        told.append(f"{shards['failed']} of {shards['total']} shards failed, hits may be missing: {'; '.join(reasons)}")
    for text in told:
        tell(text)


def hits_table(
    hits: Sequence[Mapping[str, Any]], field: str, title: str, *, explain: bool = False, width: int = 200
) -> Table:
    """Place, id, score and the beginning of the text; with ``explain`` below it what each leg said.

    Readable from 80 columns on: what is said of a hit has the text's width, and ids that are longer than a quarter of
    the ``width``, in columns, are folded.
    """
    table = Table(title=Text(title), title_justify="left", show_lines=explain)
    table.add_column("#", justify="right")
    table.add_column("id", overflow="fold", max_width=max(_LEAST_ID, width // 4))
    table.add_column("score", justify="right", no_wrap=True)
    table.add_column(Text(field), overflow="fold")
    for place, hit in enumerate(hits, 1):
        row = [Text(str(place)), Text(well_formed(str(hit["_id"]))), Text(f"{hit.get('_score') or 0.0:.4f}")]
        text = best_passage(hit) or text_at(hit.get("_source") or {}, field) or ""
        shown = Text(snippet(text))
        if explain and (details := origin(hit.get("_sidecar") or {})):
            shown.append(f"\n{details}", style="dim")
        table.add_row(*row, shown)
    return table


def snippet(text: str, length: int = _SNIPPET) -> str:
    """The beginning of a text on one line."""
    line = " ".join(well_formed(text).split())
    return line if len(line) <= length else line[: length - 1].rstrip() + "…"


def origin(details: Mapping[str, Any]) -> str:
    """What ``_sidecar`` says of a hit, a line for each leg and its tokens."""
    lines = []
    if "relevance" in details:
        lines.append(f"reranked {details['relevance']:.4f}, before #{details.get('place_before')}")
    inner = details.get("of", details)
    for leg in inner.get("legs", ()):
        if leg.get("rank") is not None:
            lines.append(f"{leg['retriever']} #{leg['rank']} {leg['score']:.3f} adds {leg['adds']:.4f}")
        lines += [_token_line(leg["tokens"])] if leg.get("tokens") else []
    if inner.get("tokens"):
        lines.append(_token_line(inner["tokens"]))
    return "\n".join(lines)


def _token_line(tokens: Sequence[Mapping[str, Any]], most: int = 5) -> str:
    return "  " + ", ".join(f"{token['token']} {token['product']:.2f}" for token in tokens[:most])


def _json(value: Any) -> str:
    try:
        return orjson.dumps(value, option=orjson.OPT_INDENT_2).decode()
    except TypeError:  # half a surrogate pair: it goes out as the escape that Elasticsearch writes
        return json.dumps(value, indent=2)


def _leg(kind: LegKind, text: str) -> Leg:
    name, equals, endpoint = text.partition("=")
    if not name or (equals and not endpoint):
        raise UserError(f"--{kind.value} {text}: write FIELD=ENDPOINT, or FIELD where the index names the endpoint.")
    return Leg(kind, name, endpoint or None)


def _weights(texts: list[str], legs: tuple[Leg, ...]) -> dict[str, float]:
    known = [leg.name for leg in legs]
    weights = {}
    for text in texts:
        name, equals, number = text.rpartition("=")
        if not (equals and name and number):
            raise UserError(f"--weight {text}: write KIND:FIELD=NUMBER.")
        if name not in known:
            raise UserError(f"--weight {text}: there is no list of that name, only {', '.join(known)}.")
        try:
            weights[name] = float(number)
        except ValueError:
            raise UserError(f"--weight {text}: [{number}] is not a number.") from None
    return weights
