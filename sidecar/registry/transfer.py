"""Endpoints as lines of JSON, and from one place into a store: what is there already stays as it is.

A line holds the stored form of an endpoint and its secrets as they lie there, encrypted: whoever reads the file without
the key learns no secret, and a sidecar with another key cannot use them.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from sidecar.core.errors import SidecarError
from sidecar.registry.store import (
    EndpointStore,
    Record,
    StoreConflictError,
    StoreUnavailableError,
    document_endpoint,
    document_time,
    endpoint_document,
)
from sidecar.settings import UserError


@dataclass(slots=True)
class Transfer:
    """What became of each endpoint, by inference id; ``failed`` with the reason."""

    written: list[str] = field(default_factory=list)
    secrets_written: list[str] = field(default_factory=list)
    present: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)


async def transfer(
    records: Iterable[Record], store: EndpointStore, *, overwrite: bool = False, only_secrets: bool = False
) -> Transfer:
    """Write into an open ``store`` the endpoints that it lacks, and secrets that endpoints in it lack.

    With ``overwrite`` endpoints that are there are replaced, with ``only_secrets`` none is added. One that cannot be
    written is told and does not stop the others; a store that does not answer does.
    """
    outcome = Transfer()
    for record in records:
        try:
            present = await store.get(record.inference_id)
            if present is not None or not only_secrets:
                await _transfer(record, present, store, outcome, overwrite=overwrite)
        except StoreUnavailableError:
            raise
        except StoreConflictError:
            outcome.failed[record.inference_id] = "someone else changed it at the same time"
        except SidecarError as error:
            outcome.failed[record.inference_id] = error.reason or error.type
    return outcome


async def _transfer(
    record: Record, present: Record | None, store: EndpointStore, outcome: Transfer, *, overwrite: bool
) -> None:
    if present is None:
        await store.create(record.endpoint, record.sealed)
        outcome.written.append(record.inference_id)
    elif overwrite:
        await store.update(present, record.endpoint, record.sealed)
        outcome.written.append(record.inference_id)
    elif present.lacks_secrets and record.sealed is not None:
        await store.update(present, present.endpoint, record.sealed)
        outcome.secrets_written.append(record.inference_id)
    else:
        outcome.present.append(record.inference_id)


def to_line(record: Record) -> bytes:
    """The record as one line of JSON."""
    line = {
        "endpoint": endpoint_document(record.endpoint),
        "sealed_secrets": record.sealed,
        "created_at": record.created_at.isoformat(),
        "updated_at": record.updated_at.isoformat(),
    }
    return json.dumps(line, separators=(",", ":")).encode() + b"\n"


def from_lines(lines: Iterable[bytes]) -> Iterator[Record]:
    """The records of :func:`to_line`. Raises :class:`UserError` with the number of a line that is none."""
    for number, line in enumerate(lines, 1):
        if line.strip():
            yield _from_line(line, number)


def _from_line(line: bytes, number: int) -> Record:
    try:
        values: dict[str, Any] = json.loads(line)
        document, sealed = values["endpoint"], values["sealed_secrets"]
        inference_id = document["inference_id"]
    except (KeyError, TypeError, ValueError):
        raise UserError(f"Line {number} is not an endpoint as sidecar endpoints export writes it.") from None
    if not isinstance(inference_id, str) or not isinstance(sealed, str | None):
        raise UserError(f"Line {number} is not an endpoint as sidecar endpoints export writes it.")
    times = document_time(values.get("created_at")), document_time(values.get("updated_at"))
    return Record(document_endpoint(inference_id, document), "", *times, sealed)
