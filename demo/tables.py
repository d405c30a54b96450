"""What the demo shows: hits side by side, scores, and why a passage was found."""

from collections.abc import Mapping, Sequence

from rich import box
from rich.table import Table
from rich.text import Text

from demo.judged_corpus import Passage
from demo.searches import METHODS, Result, scores

_GRADES = {3: ("●●●", "bold green"), 2: ("●●○", "green"), 1: ("●○○", "yellow"), 0: ("○○○", "dim")}
_SHOWN = 5
_BAR = 24


def legend() -> Text:
    """What the dots mean."""
    parts: list[str | tuple[str, str]] = []
    for grade, meaning in ((3, "answers it"), (2, "in part"), (1, "touches it"), (0, "does not help")):
        dots, style = _GRADES[grade]
        parts += [(dots, style), f" {meaning}   "]
    return Text.assemble(*parts)


def side_by_side(result: Result) -> Table:
    """The first hits of every method as titles, coloured by judgement, with nDCG@10 below."""
    table = Table(
        title=Text.assemble((result.question.text, "bold"), f"   ({result.question.kind})"),
        title_justify="left",
        box=box.SIMPLE_HEAD,
        show_footer=True,
        padding=(0, 1),
    )
    table.add_column("", justify="right", footer="nDCG")
    for method in METHODS:
        table.add_column(method, footer=f"{result.ndcg(method):.2f}", ratio=1, overflow="fold")
    for place in range(_SHOWN):
        row = [_title(result, method, place) for method in METHODS]
        table.add_row(str(place + 1), *row)
    return table


def _title(result: Result, method: str, place: int) -> Text:
    hits = result.hits[method]
    if place >= len(hits):
        return Text("")
    dots, style = _GRADES[min(3, max(0, result.question.judgements.get(hits[place].id, 0)))]
    return Text.assemble((dots, style), " ", (str(hits[place].source.get("title", hits[place].id)), style))


def score_table(results: Sequence[Result]) -> Table:
    """nDCG@10 of every method: all questions, and each kind."""
    kinds = list(dict.fromkeys(result.question.kind for result in results))
    table = Table(title="nDCG@10", title_justify="left", box=box.SIMPLE_HEAD)
    table.add_column("", no_wrap=True)
    table.add_column(f"all\n{len(results)}", justify="right", style="bold")
    for kind in kinds:
        count = sum(result.question.kind == kind for result in results)
        name = kind.replace("/", "\n").replace(" ", "\n")
        table.add_column(f"{name}\n{count}", justify="right")
    table.add_column("", min_width=_BAR, no_wrap=True)
    best = max(scores(results, method) for method in METHODS)
    for method in METHODS:
        overall = scores(results, method)
        cells = [f"{scores(results, method, kind):.3f}" for kind in kinds]
        bar = Text("█" * round(_BAR * overall), style="green" if overall == best else "blue")
        table.add_row(method, f"{overall:.3f}", *cells, bar)
    return table


def explanation(
    result: Result, passage: Passage, asked: Mapping[str, float], document: Mapping[str, float], most: int = 12
) -> Table:
    """Why sparse search found a passage: the tokens both have, and what each adds to the score."""
    shared = {
        token: (weight, document[token], weight * document[token])
        for token, weight in asked.items()
        if token in document
    }
    heaviest = sorted(shared.items(), key=lambda item: -item[1][2])
    words = set(result.question.text.lower().replace("?", " ").replace(",", " ").split())
    table = Table(
        title=Text.assemble("Why sparse search finds ", (passage.title, "bold"), f" for: {result.question.text}"),
        title_justify="left",
        box=box.SIMPLE_HEAD,
        show_footer=True,
    )
    table.add_column("token", footer=f"{len(shared)} shared tokens")
    table.add_column("in the question", justify="right")
    table.add_column("in the passage", justify="right")
    table.add_column("adds to the score", justify="right", footer=f"{sum(s[2] for s in shared.values()):.2f}")
    table.add_column("")
    largest = heaviest[0][1][2] if heaviest else 1.0
    for token, (weight, held, product) in heaviest[:most]:
        name = Text(token, style="" if token in words else "cyan")
        table.add_row(name, f"{weight:.2f}", f"{held:.2f}", f"{product:.2f}", "█" * round(_BAR * product / largest))
    table.caption = Text.assemble(("coloured", "cyan"), ": tokens that the question itself does not contain")
    table.caption_justify = "left"
    return table
