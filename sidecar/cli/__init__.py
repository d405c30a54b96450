"""The command line: ``sidecar COMMAND``. Each module holds one command or one group of them; here they are listed.

A command's module is imported when it is called, so that help is there at once and no command waits for the models and
clients of the others.
"""

from __future__ import annotations

import sys
from importlib import import_module
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

from sidecar.core.errors import SidecarError
from sidecar.core.user_error import UserError

COMMANDS = {
    "serve": "Serve the Inference API until SIGTERM or Ctrl-C.",
    "index": "Index a file of JSON lines together with the vectors of its texts.",
    "backfill": "Give the documents of an index the vectors they lack.",
    "bind": "Bind fields of an index to endpoints that fill them.",
    "unbind": "Take bindings out of an index's mapping.",
    "bindings": "List the bindings of indices, those of semantic_text fields among them.",
    "search": "Search by words, by token weights, by vectors; fuse and rerank.",
    "eval": "Measure how well an index answers judged queries, by several ways of searching.",
    "connect": "Say which roads the cluster opens, and set up its own endpoints that call this sidecar, where it may.",
    "disconnect": "Delete the cluster's endpoints that call this sidecar; those in use stay, unless forced.",
    "config": "Print the effective settings, secrets masked, in the form of a .env file.",
    "mappings": "Index templates and vector fields.",
    "models": "Local models: list, inspect, pull.",
    "endpoints": "Stored endpoints: list, export, import, restore after a loss.",
    "secrets": "The key of the endpoints' secrets: make one, rotate.",
}
"""What ``sidecar --help`` says of each command; command and module ``sidecar.cli.NAME`` have the same name."""


class DeferredCommand(TyperCommand):
    """A command, or a group, that is imported when it is called."""

    def make_context(self, info_name: str | None, args: list[str], parent: Any = None, **extra: Any) -> Any:
        return load_command(str(self.name)).make_context(info_name, args, parent, **extra)


class Commands(TyperGroup):
    """All of :data:`COMMANDS`, none of them imported yet."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.commands = {name: DeferredCommand(name=name, help=line) for name, line in COMMANDS.items()}

    def format_help(self, ctx: Any, formatter: Any) -> None:
        self.rich_markup_mode = "rich"  # the plain form, which may be set for mistakes, cuts what commands are for
        super().format_help(ctx, formatter)


def load_command(name: str) -> Any:
    """The real command, or group, of that name."""
    found = getattr(import_module(f"sidecar.cli.{name}"), name)
    app = _program()
    if isinstance(found, typer.Typer):
        app.add_typer(found, name=name)
    else:
        app.command(name)(found)
    return typer.main.get_group(app).commands[name]


def build() -> typer.Typer:
    """The program with all its commands."""
    return _program(
        name="sidecar",
        cls=Commands,
        help="Elasticsearch's Inference API as one small service. Settings: sidecar config, and docs/settings.md.",
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        # a frame would fold what is wrong with the arguments to 80 columns in a log
        rich_markup_mode="rich" if sys.stderr.isatty() else None,
    )


def _program(**settings: Any) -> typer.Typer:
    app = typer.Typer(add_completion=False, **settings)
    # Typer takes a program without commands of its own, or with a single one, for a group only with a callback.
    app.callback()(lambda: None)
    return app


def main() -> None:
    """Run the program; mistakes of its user end it with one sentence and status 2."""
    try:
        build()()
    except UserError as error:
        sentence = str(error)
    except SidecarError as error:
        sentence = f"{error.reason}."
    else:
        return
    print(sentence, file=sys.stderr)
    sys.exit(2)
