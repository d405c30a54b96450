"""``sidecar connect``: which roads a cluster opens, and Elasticsearch's own endpoints that point at this sidecar."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Annotated

import typer
from elasticsearch import ApiError, AsyncElasticsearch
from rich.console import Console
from rich.table import Table
from rich.text import Text

from sidecar.cli.sentences import tell
from sidecar.cli.whole_table import print_whole
from sidecar.cli.workbench import ElasticsearchUrl, require_cluster, user_errors
from sidecar.core.tasks import TaskType
from sidecar.elastic.outward_endpoints import (
    PREFIX,
    OutwardEndpoint,
    Source,
    address,
    existing,
    field_mapping,
    outward_endpoints,
)
from sidecar.elastic.roads import ClusterFacts, Road, cluster_facts, roads
from sidecar.inference.endpoint_embedder import EndpointEmbedder
from sidecar.inference.facade import Inference
from sidecar.resources import open_resources
from sidecar.settings import Settings, UserError, load_settings
from sidecar.telemetry import configure_logging

SidecarUrl = Annotated[
    str | None,
    typer.Option("--url", metavar="URL", help="Address of this sidecar as the cluster's nodes reach it."),
]
Prefix = Annotated[str, typer.Option(help="What the ids of the cluster's endpoints begin with.")]
_USABLE = (TaskType.SPARSE_EMBEDDING, TaskType.TEXT_EMBEDDING, TaskType.EMBEDDING, TaskType.RERANK)
_EXIT_FAILED = 1


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one endpoint of the cluster."""

    inference_id: str
    result: str
    is_failure: bool = False


def connect(
    *,
    url: SidecarUrl = None,
    endpoint: Annotated[
        list[str] | None, typer.Option(metavar="INFERENCE_ID", help="An endpoint to offer; default: all that can be.")
    ] = None,
    prefix: Prefix = PREFIX,
    dry_run: Annotated[bool, typer.Option(help="Print the requests; send none.")] = False,
    elasticsearch_url: ElasticsearchUrl = None,
) -> None:
    """Say which roads the cluster opens, and set up its own endpoints that call this sidecar, where it may.

    The sidecar must be running: Elasticsearch makes a test call for each. Doing it again changes nothing.
    """
    with user_errors():
        failed = asyncio.run(_connect(url, endpoint or [], prefix, elasticsearch_url, dry_run=dry_run))
    if failed:
        raise typer.Exit(_EXIT_FAILED)


async def _connect(
    url: str | None, wanted: list[str], prefix: str, elasticsearch_url: str | None, *, dry_run: bool
) -> bool:
    settings = load_settings({"elasticsearch_url": elasticsearch_url})
    configure_logging(form=settings.log_format, level="warning")
    sidecar_url = reachable_url(settings, url)
    if settings.elasticsearch_url is None:
        raise UserError("Set SIDECAR_ELASTICSEARCH_URL, or --elasticsearch-url, to the address of the cluster.")
    await require_cluster(elasticsearch_url)
    async with open_resources(settings) as resources:
        client = resources.elasticsearch
        assert client is not None  # noqa: S101
        facts = await cluster_facts(client)
        _show_roads(facts, roads(facts))
        sources = await _sources(resources.inference, wanted)
        offered = {source: outward_endpoints(source, sidecar_url, facts.version, prefix) for source in sources}
        may_call = facts.calls_endpoints and facts.has("x-pack-inference")
        if dry_run:
            for each in itertools.chain.from_iterable(offered.values()):
                print(each.request)
            if not may_call:
                tell("Elasticsearch may not call the sidecar here: it would refuse these requests.")
            return False
        if not may_call:
            print("Elasticsearch may not call the sidecar here: no endpoints were set up.")
            return False
        outcomes = {source: [await _put(client, each) for each in wished] for source, wished in offered.items()}
    failed = {source for source, of_source in outcomes.items() if any(outcome.is_failure for outcome in of_source)}
    _show(itertools.chain.from_iterable(outcomes.values()))
    _show_fields([source for source in sources if source not in failed], prefix)
    return bool(failed)


def reachable_url(settings: Settings, url: str | None) -> str:
    """The sidecar's address for the cluster's nodes.

    Raises:
        UserError: it listens on all interfaces, and no address was given.
    """
    if url is not None:
        if not url.startswith(("http://", "https://")):
            raise UserError(f"--url {url}: write http://HOST:PORT.")
        return url.rstrip("/")
    if settings.host in ("0.0.0.0", "::"):  # noqa: S104 - compared, not bound
        raise UserError("Give --url, the address under which the cluster's nodes reach this sidecar.")
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    return f"http://{host}:{settings.port}"


async def _sources(inference: Inference, wanted: list[str]) -> list[Source]:
    """Raises ``ResourceNotFoundError`` for an id of no endpoint."""
    chosen = [await inference.find(name) for name in wanted] or await inference.endpoints()
    embedder = EndpointEmbedder(inference)
    sources = []
    for endpoint in chosen:
        if endpoint.task_type in _USABLE:
            profile = await embedder.profile(endpoint.inference_id)
            similarity = None if profile.similarity is None else str(profile.similarity)
            sources.append(Source(endpoint.inference_id, endpoint.task_type, profile.dimensions, similarity))
        elif wanted:
            raise UserError(f"Elasticsearch cannot use [{endpoint.inference_id}], a {endpoint.task_type} endpoint.")
    return sources


async def _put(client: AsyncElasticsearch, wanted: OutwardEndpoint) -> Outcome:
    there = await existing(client, wanted.inference_id)
    if there is not None:
        is_ours = address(there) == wanted.url
        text = "is there already" if is_ours else f"is there already and calls [{address(there)}]: left as it is"
        return Outcome(wanted.inference_id, text, is_failure=not is_ours)
    try:
        await client.inference.put(
            task_type=wanted.task_type, inference_id=wanted.inference_id, inference_config=dict(wanted.body)
        )
    except ApiError as error:
        return Outcome(wanted.inference_id, f"refused: {refusal(error)}", is_failure=True)
    return Outcome(wanted.inference_id, "set up")


def refusal(error: ApiError) -> str:
    """Status and reason of an error of the cluster, with the cause's where there is one."""
    details = error.body.get("error") if isinstance(error.body, dict) else None
    if not isinstance(details, dict):
        return f"status {error.status_code}"
    cause = details.get("caused_by") or {}
    reasons = [str(part.get("reason")) for part in (details, cause) if part.get("reason")]
    return f"status {error.status_code}, {' '.join(reasons)}"


def _show_roads(facts: ClusterFacts, found: tuple[Road, ...]) -> None:
    licence = facts.licence or "unknown"
    print_whole(roads_table(found, f"Elasticsearch {facts.version}, licence {licence}"), Console())


def roads_table(found: Sequence[Road], title: str) -> Table:
    """One line per road: whether it is open, and why."""
    table = Table(title=Text(title), show_header=False)
    for road in found:
        table.add_row("open" if road.is_open else "closed", Text(road.name), Text(road.reason))
    return table


def _show(outcomes: Iterable[Outcome]) -> None:
    for outcome in outcomes:
        print(f"{outcome.inference_id}: {outcome.result}")


def _show_fields(sources: list[Source], prefix: str) -> None:
    for source in sources:
        if source.task_type is not TaskType.RERANK:
            print(f"A field for [{source.inference_id}]: {json.dumps(field_mapping(source, prefix))}")
