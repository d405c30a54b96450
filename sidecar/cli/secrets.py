"""``sidecar secrets``: the key that encrypts the endpoints' secrets."""

from __future__ import annotations

import asyncio

import typer

from sidecar.elastic.client import create_client, require_answer
from sidecar.registry.secrets import new_key as make_key
from sidecar.resources import create_registry
from sidecar.services.catalogue import Catalogue
from sidecar.settings import load_settings

secrets = typer.Typer(help="The key of the endpoints' secrets: make one, rotate.", no_args_is_help=True)


@secrets.command()
def new_key() -> None:
    """Print a fresh key for SIDECAR_SECRET_KEY."""
    typer.echo(make_key())


@secrets.command()
def rotate() -> None:
    """Encrypt all stored secrets anew with the first of the keys in SIDECAR_SECRET_KEY."""
    count = asyncio.run(_rotate())
    typer.echo(f"Encrypted the secrets of {count} endpoint{'' if count == 1 else 's'} anew.")


async def _rotate() -> int:
    settings = load_settings()
    elasticsearch = create_client(settings) if settings.elasticsearch_urls else None
    registry = create_registry(settings, elasticsearch, Catalogue.discover())
    try:
        if elasticsearch is not None:
            await require_answer(elasticsearch, settings.elasticsearch_urls)
        await registry.start()
        return await registry.rotate_secrets()
    finally:
        await registry.close()
        if elasticsearch is not None:
            await elasticsearch.close()
