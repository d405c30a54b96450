"""``sidecar models``: what can answer locally."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import orjson
import typer
from rich import box
from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

from sidecar.cli.sentences import print_sentence
from sidecar.cli.whole_table import print_whole
from sidecar.resources import runtime_config
from sidecar.runtime.catalog import BUILT_IN, Catalog, LocalModelInfo
from sidecar.runtime.errors import ModelError
from sidecar.runtime.hub import pull as pull_model
from sidecar.settings import UserError, load_settings

models = typer.Typer(help="Local models: list, inspect, pull.", no_args_is_help=True)
_SHOWN = ("name", "kind", "tasks", "dimensions", "max_length", "precision", "licence")
_HEADINGS = ("model", "kind", "tasks", "dims", "tokens", "precision", "licence")
_Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@models.command(name="list")
def list_models(*, as_json: _Json = False) -> None:
    """List the models that are here, and the names that stand for them."""
    catalog = _catalog()
    found: list[dict[str, Any]] = []
    for name in catalog.names():
        try:
            found.append(_described(catalog.resolve(name)[0]))
        except ModelError as error:
            found.append({"name": name, "error": error.reason})
    aliases = catalog.aliases()
    if as_json:
        typer.echo(orjson.dumps({"models": found, "aliases": aliases}, option=orjson.OPT_INDENT_2).decode())
        return
    table = Table(*(Column(name, min_width=len(name)) for name in _HEADINGS), box=box.SIMPLE_HEAD)
    for model in found:
        if "error" not in model:
            cells = (model[key] for key in _SHOWN)
            table.add_row(*(Text(", ".join(cell) if isinstance(cell, list) else str(cell or "")) for cell in cells))
    console = Console()
    print_whole(table, console)
    for model in found:
        if "error" in model:
            _print_line(console, f"{model['name']} cannot be used: {model['error']}")
    for alias, target in aliases.items():
        _print_line(console, f"{alias} is answered by {target}")


def _print_line(console: Console, text: str) -> None:
    """A line as it is: names and reasons hold brackets, which are no markup."""
    print_sentence(text, console)


@models.command()
def inspect(name: Annotated[str, typer.Argument(help="Name, alias or directory of a model.")]) -> None:
    """Show what is known of one model, as JSON."""
    path = Path(name).expanduser()
    is_folder = path.is_dir()
    info = _catalog(allow_paths=is_folder).resolve(str(path.resolve()) if is_folder else name)[0]
    typer.echo(orjson.dumps(_described(info), option=orjson.OPT_INDENT_2).decode())


@models.command()
def pull(
    name: Annotated[str, typer.Argument(help="Model on the Hugging Face hub, such as intfloat/multilingual-e5-small.")],
    *,
    revision: Annotated[str | None, typer.Option(help="Branch, tag or commit; default: main.")] = None,
) -> None:
    """Fetch a model from the Hugging Face hub into the models directory; HF_ENDPOINT and HF_TOKEN are heeded."""
    settings = load_settings()
    if name.lower() in (known.lower() for pair in BUILT_IN.items() for known in pair):
        raise UserError(f"{name} is carried in the package; there is nothing to pull.")
    pull_model(name, settings.models_path, revision=revision)
    info = Catalog(runtime_config(settings)).resolve(name)[0]
    _print_line(Console(), f"{info.name}: {info.kind.value}, {info.graph}, {info.directory}")


def _catalog(*, allow_paths: bool = False) -> Catalog:
    return Catalog(replace(runtime_config(load_settings()), allow_paths=allow_paths))


def _described(info: LocalModelInfo) -> dict[str, Any]:
    return {
        "name": info.name,
        "asked_for": info.model_id,
        "kind": info.kind.value,
        "tasks": sorted(str(task) for task in info.tasks),
        "dimensions": info.dimensions,
        "max_length": info.max_length,
        "precision": info.precision.value,
        "graph": info.graph,
        "revision": info.revision,
        "directory": str(info.directory),
        "source": info.source,
        "licence": info.licence,
        "is_built_in": info.is_built_in,
    }
