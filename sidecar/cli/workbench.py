"""What commands that work without a running server need: a client and the endpoints, opened and closed together."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from typing import Annotated

import typer
from elasticsearch import ApiError, AsyncElasticsearch, TransportError

from sidecar.cli.sentences import tell
from sidecar.core.errors import RelayedError, SidecarError
from sidecar.elastic.client import create_client, failure_text, require_answer
from sidecar.inference.embedder import Embedder
from sidecar.inference.endpoint_embedder import EndpointEmbedder
from sidecar.inference.facade import Inference
from sidecar.ingest.stop import RunStoppedError
from sidecar.resources import open_resources
from sidecar.settings import UserError, load_settings
from sidecar.telemetry import configure_logging

ElasticsearchUrl = Annotated[
    str | None,
    typer.Option(metavar="URL", help="Elasticsearch to work on; default: SIDECAR_ELASTICSEARCH_URL."),
]

Niceness = Annotated[
    int,
    typer.Option(min=0, max=19, help="How far the run gives way to what else wants the processor; 0: not at all."),
]
GIVING_WAY = 10

EXIT_USAGE = 2
_CREDENTIALS = {
    401: ": check SIDECAR_ELASTICSEARCH_API_KEY or _USERNAME and _PASSWORD",
    403: "; the privileges that it takes stand in docs/settings.md",
}


def index_name(value: str | None) -> str | None:
    """Refuses an empty name, which to Elasticsearch means all indices and in a script an unset variable."""
    if value is not None and not value.strip(" ,"):
        raise typer.BadParameter("the name is empty")
    return value


NO_ELASTICSEARCH = (
    "Set SIDECAR_ELASTICSEARCH_URL, or --elasticsearch-url, to the address of an Elasticsearch,"
    " such as http://localhost:9200."
)


@dataclass(frozen=True, slots=True)
class Workbench:
    """A client of the cluster and the endpoints that are configured."""

    client: AsyncElasticsearch
    embedder: Embedder
    inference: Inference


@asynccontextmanager
async def open_workbench(elasticsearch_url: str | None) -> AsyncIterator[Workbench]:
    """The configured cluster with this sidecar's own endpoints; no server needs to run."""
    settings = load_settings({"elasticsearch_url": elasticsearch_url})
    # A progress bar and a table say what happens; the log adds what goes wrong, unless more is asked for.
    level = settings.log_level if "log_level" in settings.model_fields_set else "warning"
    configure_logging(form=settings.log_format, level=level, without_repeats=True)
    if settings.elasticsearch_url is None:
        raise UserError(NO_ELASTICSEARCH)
    await require_cluster(elasticsearch_url)
    async with open_resources(settings, is_guest=True) as resources:
        assert resources.elasticsearch is not None  # noqa: S101
        yield Workbench(resources.elasticsearch, EndpointEmbedder(resources.inference), resources.inference)


def give_way(niceness: int) -> None:
    """Lowers the priority of this thread and of those that it starts to ``niceness`` (Linux: sched(7)).

    A long run beside a service takes what the searches leave, and all of an idle machine. Never raises a priority.
    """
    if hasattr(os, "setpriority"):
        with suppress(OSError):
            if os.getpriority(os.PRIO_PROCESS, 0) < niceness:
                os.setpriority(os.PRIO_PROCESS, 0, niceness)


async def require_cluster(elasticsearch_url: str | None) -> None:
    """Raises :class:`UserError` where nothing answers, which is to be told before endpoints are looked for there."""
    async with open_client(elasticsearch_url):
        pass


@asynccontextmanager
async def open_client(elasticsearch_url: str | None) -> AsyncIterator[AsyncElasticsearch]:
    """A client of the configured cluster.

    Raises :class:`UserError` where none is configured, or nothing answers.
    """
    settings = load_settings({"elasticsearch_url": elasticsearch_url})
    client = create_client(settings)
    try:
        await require_answer(client, settings.elasticsearch_urls)
        yield client
    finally:
        await client.close()


@contextmanager
def user_errors() -> Iterator[None]:
    """Shows what a person can change as a sentence, and ends with status 2."""
    try:
        yield
    except UserError as error:
        message = str(error)
    except RelayedError as error:
        message = _reason(error.body)
    except SidecarError as error:
        message = error.reason or str(error)
    except RunStoppedError as error:
        message = str(error)
    except ValueError as error:
        message = str(error)
    except (ApiError, TransportError) as error:
        message = f"Elasticsearch: {failure_text(error)}."
        if isinstance(error, ApiError) and isinstance(error.body, dict):
            hint = _CREDENTIALS.get(error.status_code, "")
            message = f"Elasticsearch answered [{error.status_code}]: {_reason(error.body)}{hint}"
    else:
        return
    tell(message, style="red")
    raise typer.Exit(EXIT_USAGE)


def _reason(body: Mapping[str, object]) -> str:
    """The reason of an error, with the cause where it alone says nothing ("all shards failed")."""
    error = body.get("error")
    if not isinstance(error, dict):
        return str(error)
    reason = str(error.get("reason"))
    if suppressed := [one for one in error.get("suppressed") or () if isinstance(one, dict)]:
        # What stands above says only that something below failed.
        return "; ".join(dict.fromkeys(map(_innermost, suppressed)))
    causes = error.get("root_cause") or ()
    cause = next((str(each["reason"]) for each in causes if isinstance(each, dict) and each.get("reason")), reason)
    return reason if cause == reason else f"{reason}: {cause}"


def _innermost(error: Mapping[str, object]) -> str:
    """The reason at the end of an error's causes, those of its first failed shard included."""
    cause = error.get("caused_by")
    shards = error.get("failed_shards")
    if not isinstance(cause, dict) and isinstance(shards, list) and shards and isinstance(shards[0], dict):
        cause = shards[0].get("reason")
    return _innermost(cause) if isinstance(cause, dict) else str(error.get("reason"))
