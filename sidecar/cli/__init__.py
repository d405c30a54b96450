"""The command line: ``sidecar COMMAND``. Each module holds one command or one group of them; here they are listed."""

from __future__ import annotations

import sys

import typer

from sidecar.cli import backfill, config, index, mappings, models, search, secrets, serve
from sidecar.core.errors import SidecarError
from sidecar.settings import UserError

COMMANDS = (serve.serve, index.index, backfill.backfill, search.search, config.config)
GROUPS = {"mappings": mappings.mappings, "models": models.models, "secrets": secrets.secrets}


def build() -> typer.Typer:
    """The program with all its commands."""
    app = typer.Typer(
        name="sidecar",
        help="Elasticsearch's Inference API as one small service. Settings: sidecar config, and docs/settings.md.",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
    )
    for command in COMMANDS:
        app.command()(command)
    for name, group in GROUPS.items():
        app.add_typer(group, name=name)
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
