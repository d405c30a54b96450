"""Stored endpoints whose settings are not what this version writes are left aside with a sentence."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from sidecar.registry.store import document_endpoint
from sidecar.services.catalogue import Catalogue
from tests.services.conftest import Bench
from tests.services.recordings import basic_recordings, services

Json = Any
CATALOGUE = Catalogue.discover()
OF_ALL_TYPES = ("x", 7, True, 1.5, ["x"], {"x": "x"})


def refusal(document: Json) -> str | None:
    endpoint = document_endpoint(document["inference_id"], document)
    return CATALOGUE.refusal(endpoint)  # type: ignore[arg-type]


def altered(document: Json, names: tuple[str, ...]) -> Iterator[Json]:
    """``document`` with one of its service settings of every other JSON type."""
    settings = document["service_settings"]
    for name in names:
        for value in OF_ALL_TYPES:
            if name in settings and type(value) is not type(settings[name]):
                yield document | {"service_settings": settings | {name: value}}


@pytest.mark.parametrize("service", services())
async def test_stored_settings_of_another_form_are_told(service: str, bench: Bench, tmp_path: Path) -> None:
    """What a newer version or a hand may have written: its calls would else end in an internal error."""
    for case in basic_recordings(service):
        bench.provider.play_create(case)
        assert (await bench.send("PUT", case.create["path"], case.create["body"]))["status"] == 200
    with closing(sqlite3.connect(tmp_path / "1" / "endpoints.db")) as connection:
        documents = [json.loads(text) for (text,) in connection.execute("SELECT document FROM endpoints")]
    assert len(documents) == len(basic_recordings(service))
    for document in documents:
        assert refusal(document) is None
        for other in altered(document, ("model_id", "rate_limit")):
            assert refusal(other) is not None, other


def test_an_endpoint_without_what_every_generation_requires_is_told() -> None:
    stored = {"inference_id": "e", "task_type": "text_embedding", "service": "openai"}
    assert refusal(stored | {"service_settings": {}}) == "[model_id] is missing"
    assert refusal(stored | {"service_settings": {"model_id": "m"}}) is None
    assert (
        refusal(stored | {"service_settings": {"model_id": "m"}, "task_settings": {"user": 7}}) == "its user is a int"
    )
