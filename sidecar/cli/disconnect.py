"""``sidecar disconnect``: takes away what ``sidecar connect`` set up."""

from __future__ import annotations

import asyncio
from typing import Annotated

import typer
from elasticsearch import ApiError

from sidecar.cli.connect import Prefix, SidecarUrl, reachable_url, refusal
from sidecar.cli.sentences import tell
from sidecar.cli.workbench import ElasticsearchUrl, open_client, user_errors
from sidecar.elastic.outward_endpoints import PREFIX, pointing_at
from sidecar.settings import load_settings

_EXIT_FAILED = 1


def disconnect(
    *,
    url: SidecarUrl = None,
    prefix: Prefix = PREFIX,
    force: Annotated[bool, typer.Option(help="Delete endpoints although indices or pipelines use them.")] = False,
    dry_run: Annotated[bool, typer.Option(help="Print the requests; send none.")] = False,
    elasticsearch_url: ElasticsearchUrl = None,
) -> None:
    """Delete the cluster's endpoints that call this sidecar; those in use stay, unless forced."""
    with user_errors():
        failed = asyncio.run(_disconnect(url, prefix, elasticsearch_url, force=force, dry_run=dry_run))
    if failed:
        raise typer.Exit(_EXIT_FAILED)


async def _disconnect(
    url: str | None, prefix: str, elasticsearch_url: str | None, *, force: bool, dry_run: bool
) -> bool:
    sidecar_url = reachable_url(load_settings({"elasticsearch_url": elasticsearch_url}), url)
    failed = False
    async with open_client(elasticsearch_url) as client:
        pointing = await pointing_at(client, sidecar_url, prefix)
        if not pointing:
            tell(f"No endpoint of the cluster calls {sidecar_url}.")
        for endpoint in pointing:
            task_type, inference_id = endpoint["task_type"], endpoint["inference_id"]
            if dry_run:
                print(f"DELETE /_inference/{task_type}/{inference_id}{'?force=true' if force else ''}")
                continue
            try:
                await client.inference.delete(task_type=task_type, inference_id=inference_id, force=force)
            except ApiError as error:
                failed = True
                print(f"{inference_id}: refused: {refusal(error)}")
            else:
                print(f"{inference_id}: deleted")
    return failed
