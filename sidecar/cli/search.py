"""``sidecar search``: one question, several ways of searching, one list."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, Any

import orjson
import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from sidecar.cli.query_option import read_query
from sidecar.cli.workbench import ElasticsearchUrl, open_workbench, user_errors
from sidecar.elastic.source import text_at
from sidecar.search.fusion import Linear, Normalizer, Rrf
from sidecar.search.hits import Hit
from sidecar.search.queries import heaviest
from sidecar.search.searcher import Reranker, Retriever, SearchAnswer, Searcher, SearchRequest
from sidecar.settings import UserError

_SNIPPET = 160


class Fuse(StrEnum):
    """How several retrievers' hits become one list."""

    RRF = "rrf"
    LINEAR = "linear"


def search(
    index: Annotated[str, typer.Argument(help="Index, alias or pattern.")],
    question: Annotated[str, typer.Argument(help="What to look for.")],
    *,
    bm25: Annotated[list[str] | None, typer.Option(metavar="FIELD", help="Search the words of FIELD.")] = None,
    sparse: Annotated[
        list[str] | None, typer.Option(metavar="FIELD=ENDPOINT", help="Search the token weights in FIELD.")
    ] = None,
    dense: Annotated[
        list[str] | None, typer.Option(metavar="FIELD=ENDPOINT", help="Search the vectors in FIELD.")
    ] = None,
    fuse: Annotated[Fuse, typer.Option(help="How several lists become one.")] = Fuse.RRF,
    normalizer: Annotated[Normalizer, typer.Option(help="How linear fusion scales scores.")] = Normalizer.MINMAX,
    rank_constant: Annotated[int, typer.Option(min=1, help="The k of rrf.")] = 60,
    weight: Annotated[
        list[str] | None, typer.Option(metavar="KIND:FIELD=NUMBER", help="Weight of a list, such as bm25:text=2.")
    ] = None,
    rerank: Annotated[str | None, typer.Option(metavar="ENDPOINT", help="Rerank the fused list.")] = None,
    field: Annotated[str, typer.Option(help="The text that is reranked and shown.")] = "text",
    window: Annotated[int, typer.Option(min=1, max=10_000, help="Hits per list that are fused and reranked.")] = 50,
    min_score: Annotated[float | None, typer.Option(help="Least score of the reranker (or of linear fusion).")] = None,
    size: Annotated[int, typer.Option(min=1, max=10_000, help="Hits to show.")] = 10,
    query: Annotated[str | None, typer.Option("--filter", help="Only documents that match (JSON, or @FILE).")] = None,
    explain: Annotated[bool, typer.Option("--explain", help="Show ranks, scores and token weights.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    elasticsearch_url: ElasticsearchUrl = None,
) -> None:
    """Search by words, by token weights, by vectors; fuse and rerank. Everything works on a Basic licence."""
    with user_errors():
        retrievers = (
            *(Retriever("bm25", name) for name in bm25 or []),
            *(Retriever("sparse", *_assignment("--sparse", text, "FIELD=ENDPOINT")) for text in sparse or []),
            *(Retriever("dense", *_assignment("--dense", text, "FIELD=ENDPOINT")) for text in dense or []),
        )
        if not retrievers:
            retrievers = (Retriever("bm25", field),)
        weights = _weights(weight or [], retrievers)
        fusion: Rrf | Linear = (
            Rrf(rank_constant, window, weights)
            if fuse is Fuse.RRF
            else Linear(normalizer, window, weights, min_score if rerank is None else None)
        )
        reranker = None if rerank is None else Reranker(rerank, field, window, min_score)
        request = SearchRequest(
            index, question, retrievers, fusion, reranker, size, read_query(query), _source(as_json, field)
        )

        async def run() -> SearchAnswer:
            async with open_workbench(elasticsearch_url) as bench:
                return await Searcher(bench.client, bench.embedder).search(request)

        answer = asyncio.run(run())
    if as_json:
        body: dict[str, Any] = {"hits": [hit.as_json() for hit in answer.hits]}
        if explain:
            body |= {"tokens": answer.tokens}
        typer.echo(orjson.dumps(body, option=orjson.OPT_INDENT_2).decode())
        return
    console = Console()
    console.print(hits_table(answer.hits, field, question, explain=explain))
    if explain:
        for name, tokens in answer.tokens.items():
            console.print(f"[bold]{name}[/bold]  {token_line(tokens)}")


def hits_table(hits: list[Hit], field: str, title: str, *, explain: bool = False) -> Table:
    """Place, id, score and the beginning of the text; with ``explain`` what each retriever said."""
    table = Table(title=Text(title), title_justify="left", show_lines=explain)
    table.add_column("#", justify="right")
    table.add_column("id", no_wrap=True)
    table.add_column("score", justify="right")
    if explain:
        table.add_column("from", no_wrap=True)
    table.add_column(field, overflow="fold")
    for place, hit in enumerate(hits, 1):
        row = [str(place), hit.id, f"{hit.score:.4f}"]
        if explain:
            row.append(_origin(hit))
        table.add_row(*row, Text(snippet(hit.source, field)))
    return table


def snippet(source: Mapping[str, Any], field: str, length: int = _SNIPPET) -> str:
    """The beginning of a field's text on one line."""
    text = " ".join((text_at(source, field) or "").split())
    return text if len(text) <= length else text[: length - 1].rstrip() + "…"


def token_line(tokens: Mapping[str, float], most: int = 20) -> str:
    """The heaviest tokens with their weights, on one line."""
    return "  ".join(f"{token} {weight:.2f}" for token, weight in heaviest(tokens, most))


def _origin(hit: Hit) -> str:
    lines = [f"{name} #{rank} {hit.scores[name]:.3f}" for name, rank in hit.ranks.items()]
    if hit.rerank_score is not None:
        lines.append(f"rerank {hit.rerank_score:.4f}")
    return "\n".join(lines)


def _source(as_json: bool, field: str) -> tuple[str, ...] | None:
    """Only the text for people, the whole source for programs."""
    return None if as_json else (field,)


def _assignment(option: str, text: str, form: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not (equals and name and value):
        raise UserError(f"{option} {text}: write {form}.")
    return name, value


def _weights(texts: list[str], retrievers: tuple[Retriever, ...]) -> dict[str, float] | None:
    known = [retriever.name for retriever in retrievers]
    weights = {}
    for text in texts:
        name, number = _assignment("--weight", text, "KIND:FIELD=NUMBER")
        if name not in known:
            raise UserError(f"--weight {text}: there is no list of that name, only {', '.join(known)}.")
        try:
            weights[name] = float(number)
        except ValueError:
            raise UserError(f"--weight {text}: [{number}] is not a number.") from None
    return weights or None
