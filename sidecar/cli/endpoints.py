"""``sidecar endpoints``: what is stored, its copy, and the way back after a loss."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer

from sidecar.cli.workbench import user_errors
from sidecar.elastic.client import create_client, require_answer
from sidecar.registry.sqlite_store import SQLiteStore
from sidecar.registry.store import EndpointStore, Record, StoreLostError, UnreadableEndpoint
from sidecar.registry.transfer import Transfer, from_lines, to_line, transfer
from sidecar.resources import create_stores
from sidecar.services.catalogue import Catalogue
from sidecar.settings import UserError, load_settings
from sidecar.telemetry import configure_logging

endpoints = typer.Typer(help="Stored endpoints: list, export, import, restore after a loss.", no_args_is_help=True)

_FROM_COPY = typer.Option("--copy", help="Read the local copy in the data directory instead of the store.")
_EXIT_FAILED = 1
_T = TypeVar("_T")


@endpoints.command("list")
def list_endpoints(*, copy: Annotated[bool, _FROM_COPY] = False) -> None:
    """Print every stored endpoint, those that this version cannot read and those without their secrets too."""
    catalogue = Catalogue.discover()
    records = _run(_read(copy))
    if not records:
        typer.echo("No endpoints are stored.", err=True)
    for record in records:
        endpoint = record.endpoint
        if isinstance(endpoint, UnreadableEndpoint):
            typer.echo(f"{record.inference_id}\tleft aside: {endpoint.cause}")
            continue
        remark = catalogue.refusal(endpoint)
        remark = f"left aside: {remark}" if remark else "its secrets are missing" if record.lacks_secrets else ""
        typer.echo("\t".join(filter(None, (record.inference_id, endpoint.task_type, endpoint.service, remark))))


@endpoints.command("export")
def export_endpoints(
    file: Annotated[Path | None, typer.Argument(help="File to write; standard output without one.")] = None,
    *,
    copy: Annotated[bool, _FROM_COPY] = False,
) -> None:
    """Write all endpoints as lines of JSON, their secrets encrypted as they are stored."""
    lines = b"".join(to_line(record) for record in _run(_read(copy)))
    if file is None:
        sys.stdout.buffer.write(lines)
        return
    file.touch(mode=0o600)
    file.write_bytes(lines)
    typer.echo(f"Wrote {_endpoints(len(lines.splitlines()))} to {file}.", err=True)


@endpoints.command("import")
def import_endpoints(
    file: Annotated[Path, typer.Argument(help="File that sidecar endpoints export wrote.")],
    *,
    overwrite: Annotated[bool, typer.Option(help="Replace endpoints that are there already.")] = False,
) -> None:
    """Write the endpoints of a file into the store; those that are there already stay as they are."""
    with user_errors():
        try:
            content = file.read_bytes()
        except OSError as error:
            raise UserError(f"Cannot read {file}: {error.strerror}.") from None
        records = list(from_lines(content.splitlines()))
    _report(_run(_write(records, overwrite=overwrite)))


@endpoints.command("restore")
def restore_endpoints(
    *,
    forget: Annotated[
        bool, typer.Option("--forget", help="Accept the loss instead: sidecars forget what the store does not hold.")
    ] = False,
) -> None:
    """Write back from the local copy the endpoints, and the secrets, that a lost or re-created store lacks."""
    if forget:
        _run(_forget())
        typer.echo("The loss is accepted: running sidecars drop the endpoints that the store does not hold.")
        return
    _report(_run(_restore()))


@dataclass(frozen=True, slots=True)
class _Stores:
    store: EndpointStore
    copy: SQLiteStore

    async def settle(self) -> None:
        """Empty a copy that was made for this loss alone, so that nothing comes back from it at the next."""
        if isinstance(self.store, SQLiteStore):
            await self.copy.replace_all([], (await self.store.state()).identity)


@asynccontextmanager
async def _stores(*, needs_store: bool = True) -> AsyncIterator[_Stores]:
    settings = load_settings()
    configure_logging(form=settings.log_format, level="warning")
    elasticsearch = create_client(settings) if settings.elasticsearch_urls else None
    store, copy = create_stores(settings, elasticsearch)
    try:
        if elasticsearch is not None and needs_store:
            await require_answer(elasticsearch, settings.elasticsearch_urls)
        yield _Stores(store, copy)
    finally:
        await store.close()
        await copy.close()
        if elasticsearch is not None:
            await elasticsearch.close()


async def _read(from_copy: bool) -> list[Record]:
    async with _stores(needs_store=not from_copy) as stores:
        if from_copy:
            return await _copied(stores.copy)
        await stores.store.open(create=False)
        return sorted(await stores.store.load(await stores.store.revisions()), key=lambda record: record.inference_id)


async def _copied(copy: SQLiteStore) -> list[Record]:
    try:
        await copy.open(create=False)
    except StoreLostError:
        raise UserError(f"There is no local copy: {copy.description} does not exist.") from None
    return await copy.all()


async def _write(records: list[Record], *, overwrite: bool) -> Transfer:
    async with _stores() as stores:
        await stores.store.open()
        return await transfer(records, stores.store, overwrite=overwrite)


async def _restore() -> Transfer:
    async with _stores() as stores:
        records = await _copied(stores.copy)
        await stores.store.open()
        identity = await stores.copy.read_identity()
        # What the same store lacks was deleted by someone; only secrets can be lost from it.
        is_same = identity == (await stores.store.state()).identity
        outcome = await transfer(records, stores.store, only_secrets=is_same)
        if not outcome.failed:
            await stores.settle()
        return outcome


async def _forget() -> None:
    async with _stores() as stores:
        await _copied(stores.copy)
        identity = await stores.copy.read_identity()
        await stores.store.open()
        if identity is None or identity == (await stores.store.state()).identity:
            raise UserError("Nothing is lost: the local copy is one of this store.")
        await stores.store.accept_loss(identity)
        await stores.settle()


def _run(work: Coroutine[Any, Any, _T]) -> _T:
    with user_errors():
        return asyncio.run(work)


def _endpoints(count: int) -> str:
    return f"{count} endpoint{'' if count == 1 else 's'}"


def _report(outcome: Transfer) -> None:
    typer.echo(
        f"{_endpoints(len(outcome.written))} written, secrets of {len(outcome.secrets_written)} more, "
        f"{len(outcome.present)} were there already, {len(outcome.failed)} failed."
    )
    for inference_id, cause in outcome.failed.items():
        typer.echo(f"{inference_id}: {cause}", err=True)
    if outcome.failed:
        raise typer.Exit(_EXIT_FAILED)
