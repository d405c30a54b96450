"""``sidecar config``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import orjson
import typer

from sidecar.settings import load_settings, unknown_settings
from sidecar.settings.documentation import settings_markdown


def config(
    *,
    file: Annotated[Path | None, typer.Option("--config", help="File of settings, TOML or YAML.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    markdown: Annotated[bool, typer.Option("--markdown", help="Print the table of all settings instead.")] = False,
) -> None:
    """Print the effective settings, secrets masked, in the form of a .env file."""
    if markdown:
        typer.echo(settings_markdown(), nl=False)
        return
    settings = load_settings({"config_file": file})
    effective = settings.effective()
    if as_json:
        typer.echo(orjson.dumps(effective, option=orjson.OPT_INDENT_2).decode())
    else:
        for name, value in effective.items():
            typer.echo(f"{name}={_text(value)}")
    for sentence in unknown_settings(settings.config_file):
        print(sentence, file=sys.stderr)


def _text(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, list):
        return ",".join(value)
    return value if isinstance(value, str) else orjson.dumps(value).decode()
