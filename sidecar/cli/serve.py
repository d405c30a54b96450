"""``sidecar serve``."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import structlog
import typer

from sidecar import server
from sidecar.settings import Settings, UserError, load_settings, unknown_settings
from sidecar.settings.documentation import is_secret
from sidecar.settings.table import PREFIX
from sidecar.telemetry import configure_logging

_SETTING = typer.Option("--set", metavar="NAME=VALUE", help="Any other setting, such as --set queue_items=100.")


def serve(
    *,
    host: Annotated[str | None, typer.Option(help="Address to listen on.")] = None,
    port: Annotated[str | None, typer.Option(help="Port to listen on; 0 takes a free one.")] = None,
    data_dir: Annotated[Path | None, typer.Option(help="Directory of endpoints and keys.")] = None,
    elasticsearch_url: Annotated[str | None, typer.Option(help="Elasticsearch that keeps the endpoints.")] = None,
    api_generation: Annotated[str | None, typer.Option(help="Generation of the Inference API to speak.")] = None,
    log_format: Annotated[str | None, typer.Option(help="json, console or auto.")] = None,
    log_level: Annotated[str | None, typer.Option(help="debug, info, warning or error.")] = None,
    config: Annotated[Path | None, typer.Option(help="File of settings, TOML or YAML.")] = None,
    others: Annotated[list[str] | None, _SETTING] = None,
) -> None:
    """Serve the Inference API until SIGTERM or Ctrl-C. Flags come before environment, .env and settings file."""
    given: dict[str, Any] = {
        "host": host,
        "port": port,
        "data_dir": data_dir,
        "elasticsearch_url": elasticsearch_url,
        "api_generation": api_generation,
        "log_format": log_format,
        "log_level": log_level,
        "config_file": config,
    }
    settings = load_settings(given | _assignments(others or []))
    configure_logging(form=settings.log_format, level=settings.log_level)
    log = structlog.stdlib.get_logger(__name__)
    for sentence in unknown_settings(settings.config_file):
        log.warning("unknown_setting", hint=sentence)
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        runner.run(server.serve(settings))


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """uvloop, which takes a sixth off a request's processor time; ``None``, asyncio's own loop, where there is none."""
    if sys.platform == "win32":
        return None
    import uvloop  # noqa: PLC0415 - not to be had on Windows

    return uvloop.new_event_loop


def _assignments(texts: list[str]) -> dict[str, str]:
    values = {}
    for text in texts:
        name, equals, value = text.partition("=")
        field = name.strip().lower().removeprefix("sidecar_")
        if not equals or field not in Settings.model_fields:
            raise UserError(f"--set {name}: write NAME=VALUE with the name of a setting (sidecar config lists them).")
        if is_secret(Settings.model_fields[field]):
            raise UserError(
                f"--set {name}: every process can read the command line; set {PREFIX}{field.upper()}, or use a settings"
                " file."
            )
        values[field] = value
    return values
