"""``sidecar eval``: how well an index answers judged questions, by several ways of searching side by side."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, TypeVar

import orjson
import typer
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from sidecar.cli.search import origin, snippet
from sidecar.cli.sentences import print_sentence, tell
from sidecar.cli.workbench import ElasticsearchUrl, index_name, open_workbench, user_errors
from sidecar.elastic.index_catalog import IndexCatalog
from sidecar.elastic.version import server_version
from sidecar.search.asking import Asking, Scored
from sidecar.search.client_executor import ClientExecutor
from sidecar.search.comparing import Row, Values, compared, values_of, worst
from sidecar.search.defaults import LegKind
from sidecar.search.engine import SearchEngine
from sidecar.search.fitting import WINDOWS, Configuration, fit
from sidecar.search.judgments import Judgments, read_judgments, read_queries
from sidecar.search.marked_fields import MarkedCatalog
from sidecar.search.measuring import MEASURES, check_measures
from sidecar.search.preparation import Preparation
from sidecar.search.query_templates import (
    DEFAULT,
    Template,
    default_templates,
    leg_templates,
    linear_template,
    read_template,
)
from sidecar.settings import UserError

_T = TypeVar("_T")
_SURE = 0.05
_JUDGMENT_FORMS = (
    "Judgments are lines of QUERY 0 DOCUMENT GRADE, CSV with a heading such as query_id,document_id,grade (or with"
    " query, the text, for query_id), or JSON lines with these names."
)
_QUERY_FORMS = (
    "Queries are lines of ID, tab, TEXT, CSV with a heading such as query_id,query, or JSON lines with these names."
)
_HELD_OUT = "fitted, on queries held out"


def eval(  # noqa: A001
    index: Annotated[str, typer.Argument(callback=index_name, help="Index, alias or pattern.")],
    judgments: Annotated[
        Path, typer.Argument(help="TREC qrels, CSV with a heading such as query_id,document_id,grade, or JSON lines.")
    ],
    *,
    queries: Annotated[
        Path | None, typer.Option(help="The queries' texts by id, where they do not stand with the judgments.")
    ] = None,
    retriever: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=FILE", help="A retriever as JSON, with {{query}} where the query goes."),
    ] = None,
    measure: Annotated[
        list[str] | None, typer.Option(help=f"As ir-measures names it; default: {', '.join(MEASURES)}.")
    ] = None,
    baseline: Annotated[str | None, typer.Option(help="What the others are compared with; default: the first.")] = None,
    depth: Annotated[int, typer.Option(min=1, max=10_000, help="Hits per query that are measured.")] = 100,
    shown: Annotated[int, typer.Option("--worst", min=0, help="How many of the worst queries are explained.")] = 3,
    fitted: Annotated[
        bool, typer.Option("--fit", help="Find weights, window and normaliser for these judgments.")
    ] = False,
    id_field: Annotated[str | None, typer.Option(help="Field with the judgments' ids; default: _id.")] = None,
    field: Annotated[str | None, typer.Option(help="The text that is shown of documents.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    elasticsearch_url: ElasticsearchUrl = None,
) -> None:
    """Measure how well an index answers judged queries, by several ways of searching.

    What the index can have is compared (words, tokens, vectors, their fusions), and retrievers of yours.
    It needs the extra named eval.
    """
    with user_errors():
        measures = tuple(dict.fromkeys(measure or MEASURES))
        check_measures(measures)
        judged = _read(judgments, read_judgments, _JUDGMENT_FORMS)
        questions = judged.asked(None if queries is None else _read(queries, read_queries, _QUERY_FORMS))
        own = dict(_own_template(text) for text in retriever or [])
        asked = Asked(index, judged, questions, own, measures, baseline, depth, shown, fitted, id_field, field)
        report = asyncio.run(_run(asked, elasticsearch_url))
    if as_json:
        typer.echo(orjson.dumps(report.as_json(), option=orjson.OPT_INDENT_2).decode())
        return
    _print(report, asked, Console())
    if not any(one.mean for row in report.rows for one in row.estimates.values()):
        ids = "[_id]" if id_field is None else f"[{id_field}]"
        tell(f"No way of searching found a document that answers a query: are the judgments' ids those in {ids}?")


@dataclass(frozen=True, slots=True)
class Asked:
    """One call of the command."""

    index: str
    judgments: Judgments
    questions: Mapping[str, str]
    templates: Mapping[str, Template]
    measures: tuple[str, ...]
    baseline: str | None
    depth: int
    worst: int
    is_fitted: bool
    id_field: str | None
    field: str | None


@dataclass(frozen=True, slots=True)
class Place:
    """Where a document stands in a ranking (``None``: not in it), and why."""

    id: str
    grade: int
    place: int | None
    hit: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Failure:
    """One of the worst queries: its values by way of searching, what came first, and where its answers stand."""

    query: str
    text: str
    values: Mapping[str, float]
    first: Place | None
    relevant: Sequence[Place]


@dataclass(frozen=True, slots=True)
class Fitted:
    """What ``--fit`` found: the retriever to paste, and what it is worth on queries that the choice did not see."""

    best: Configuration
    chosen: Sequence[Configuration]
    template: Template
    rows: Sequence[Row]


@dataclass(frozen=True, slots=True)
class Report:
    """All that was found."""

    rows: Sequence[Row]
    baseline: str
    values: Mapping[str, Values]
    explained: str
    failures: Sequence[Failure]
    fitted: Fitted | None

    def as_json(self) -> dict[str, Any]:
        """Everything, as JSON takes it."""
        return {
            "baseline": self.baseline,
            "retrievers": {row.name: _row_json(row) for row in self.rows},
            "queries": self.values,
            "worst": {"retriever": self.explained, "queries": [asdict(failure) for failure in self.failures]},
            "fit": None
            if self.fitted is None
            else {
                "retriever": self.fitted.template,
                "chosen": [asdict(one) for one in self.fitted.chosen],
                "quality": {row.name: _row_json(row) for row in self.fitted.rows},
            },
        }


async def _run(asked: Asked, elasticsearch_url: str | None) -> Report:
    async with open_workbench(elasticsearch_url) as bench:
        catalog = MarkedCatalog(IndexCatalog(bench.client), bench.client)
        version = await server_version(bench.client)
        if not await catalog.resolve(asked.index):
            raise UserError(f"There is no such index: [{asked.index}].")
        scope = await Preparation(catalog, bench.embedder).scope(asked.index, {}, version)
        engine = SearchEngine(catalog, bench.embedder)
        asking = Asking(engine, ClientExecutor(bench.client), version, asked.index, asked.id_field)
        try:
            templates = {**default_templates(scope), **asked.templates}
            baseline = asked.baseline or next(iter(templates))
            if baseline not in templates:
                raise UserError(f"--baseline {baseline}: there is no such retriever, only {', '.join(templates)}.")
            most = max(WINDOWS) if asked.is_fitted else asked.depth
            legs = leg_templates(scope, max(most, asked.depth))
            rankings = {kind.value: await asking.rankings(leg, asked.questions, most) for kind, leg in legs.items()}
            found: dict[str, dict[str, list[str]]] = {}
            for name, template in templates.items():
                ranking = rankings.get(name) if name not in asked.templates else None
                if ranking is None:
                    ranking = await asking.rankings(template, asked.questions, asked.depth)
                found[name] = {query: _ids(scored)[: asked.depth] for query, scored in ranking.items()}
            values = values_of(asked.measures, asked.judgments.grades, found)
            explained = DEFAULT if DEFAULT in templates else next(reversed(templates))
            failures = await _failures(asked, asking, explained, templates[explained], values)
        finally:
            await engine.close()
        fitted = None
        if asked.is_fitted:
            raw = {kind: rankings[kind.value] for kind in legs}
            fitted = _fitted(asked, raw, lambda window: leg_templates(scope, window))
    return Report(compared(values, baseline), baseline, values, explained, failures, fitted)


def _fitted(
    asked: Asked,
    legs: Mapping[LegKind, Mapping[str, list[Scored]]],
    templates: Callable[[int], Mapping[LegKind, Template]],
) -> Fitted:
    """Chooses, and measures what the choice is worth beside the default."""
    found = fit(legs, asked.judgments.grades)
    grades = {query: asked.judgments.grades[query] for query in found.held_out}
    rankings = {DEFAULT: found.default, _HELD_OUT: found.held_out}
    cut = {name: {query: ids[: asked.depth] for query, ids in one.items()} for name, one in rankings.items()}
    rows = compared(values_of(asked.measures, grades, cut), DEFAULT)
    best = found.best
    weights = dict(zip(legs, best.weights, strict=True))
    template = linear_template(templates(best.window), weights, best.normalizer, best.window)
    return Fitted(best, found.chosen, template, rows)


async def _failures(
    asked: Asked, asking: Asking, name: str, template: Template, values: Mapping[str, Values]
) -> list[Failure]:
    first = asked.measures[0]
    source = [] if asked.field is None else [asked.field]
    failures = []
    for query in worst(values[name][first], asked.judgments.grades, asked.worst):
        text, grades = asked.questions[query], asked.judgments.grades[query]
        hits = await asking.hits(template, text, asked.depth, explain=True, source=source)
        places = [
            Place(document, grades.get(document, 0), place, hit)
            for place, (document, hit) in enumerate(((asking.id_of(hit), hit) for hit in hits), 1)
        ]
        by_id = {place.id: place for place in reversed(places)}
        relevant = sorted((one for one in grades if grades[one] > 0), key=lambda one: -grades[one])[:2]
        failures.append(
            Failure(
                query,
                text,
                {way: by_measure[first][query] for way, by_measure in values.items()},
                places[0] if places else None,
                [by_id.get(one, Place(one, grades[one], None, {})) for one in relevant],
            )
        )
    return failures


def _ids(ranking: Sequence[Scored]) -> list[str]:
    return [one.id for one in ranking]


def _read(path: Path, reader: Callable[[str], _T], forms: str) -> _T:
    try:
        return reader(path.read_text("utf-8"))
    except OSError as error:
        raise UserError(f"The file {path} cannot be read: {error.strerror}.") from None
    except ValueError as error:
        raise UserError(f"{path}: {error}. {forms}") from None


def _own_template(text: str) -> tuple[str, Template]:
    name, equals, file = text.partition("=")
    if not (equals and name and file):
        raise UserError(f"--retriever {text}: write NAME=FILE.")
    try:
        return name, read_template(orjson.loads(Path(file).read_bytes()))
    except OSError as error:
        raise UserError(f"The file {file} cannot be read: {error.strerror}.") from None
    except ValueError as error:
        raise UserError(f"{file}: {error}.") from None


# --- shown


def _row_json(row: Row) -> dict[str, Any]:
    return {
        measure: {"mean": one.mean, "interval": [one.low, one.high], "p": row.p.get(measure)}
        for measure, one in row.estimates.items()
    }


def _print(report: Report, asked: Asked, console: Console) -> None:
    count = len(asked.questions)
    title = f"{count} {'query' if count == 1 else 'queries'}, means with 95 % intervals, p against {report.baseline}"
    console.print(quality_table(report.rows, title))
    for failure in report.failures:
        console.print(_failure(failure, report.explained, asked))
    if report.fitted is not None:
        _print_fit(report.fitted, console)


def quality_table(rows: Sequence[Row], title: str) -> Table:
    """A row for every way of searching; differences that chance seldom makes stand bold."""
    table = Table(title=Text(title), title_justify="left", box=box.SIMPLE_HEAD)
    table.add_column("", overflow="fold")
    for measure in rows[0].estimates:
        table.add_column(measure, justify="right")
    for row in rows:
        cells = []
        for measure, one in row.estimates.items():
            p = row.p.get(measure)
            chance = "" if p is None else f"\np {p:.3f}" if p >= 0.001 else "\np < 0.001"
            style = "bold" if p is not None and p < _SURE else ""
            cells.append(Text(f"{one.mean:.3f}\n{one.low:.3f} to {one.high:.3f}{chance}", style))
        table.add_row(Text(row.name), *cells)
    return table


def _failure(failure: Failure, explained: str, asked: Asked) -> Table:
    values = ", ".join(f"{name} {value:.2f}" for name, value in failure.values.items())
    title = f"Query {failure.query}: {snippet(failure.text, 100)}\n{asked.measures[0]}: {values}"
    table = Table(title=Text(title), title_justify="left", box=box.SIMPLE_HEAD, show_lines=True)
    table.add_column(f"in {explained}", justify="right")
    table.add_column("id", overflow="fold")
    table.add_column("grade", justify="right")
    table.add_column("why", overflow="fold")
    places = [] if failure.first is None else [failure.first]
    for place in dict.fromkeys([*(one.id for one in places), *(one.id for one in failure.relevant)]):
        one = next(found for found in (*places, *failure.relevant) if found.id == place)
        where = f"#{one.place}" if one.place is not None else f"not in {asked.depth}"
        why = origin(one.hit.get("_sidecar") or {})
        if asked.field is not None and one.hit:
            why += "\n" + snippet(str((one.hit.get("_source") or {}).get(asked.field, "")))
        table.add_row(where, Text(one.id), str(one.grade), Text(why.strip()))
    return table


def _print_fit(fitted: Fitted, console: Console) -> None:
    console.print(quality_table(fitted.rows, "Fitted to these judgments, measured on queries that the fit did not see"))
    default, held_out = fitted.rows
    measure = next(iter(default.estimates))
    gain = held_out.estimates[measure].mean - default.estimates[measure].mean
    if gain > 0 and held_out.p[measure] < _SURE:
        said = "The fitted retriever is better than the default here:"
    else:
        said = "The default is not surely worse: keep it, unless more judgments say otherwise. The best on all queries:"
    print_sentence(said, console)
    typer.echo(orjson.dumps({"retriever": fitted.template}, option=orjson.OPT_INDENT_2).decode())
