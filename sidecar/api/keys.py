"""Typed keys under which the application keeps what handlers need."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from aiohttp import web

from sidecar.api.bodies import BodyLimits
from sidecar.core.generations import DEFAULT_GENERATION, Generation

if TYPE_CHECKING:
    from sidecar.inference.facade import Inference


@dataclass(frozen=True, slots=True)
class ApiOptions:
    """What the HTTP side takes from the settings.

    ``shows_traces`` allows ``error_trace``; ``search_deadline`` and ``ingest_deadline`` bound, in seconds, calls that
    Elasticsearch makes through the compatibility routes: it gives a search up after 10 s, and waits for ingestion.
    ``model_names`` are names of models that callers of OpenAI's and Cohere's forms use, with the endpoints that answer.
    """

    generation: Generation = DEFAULT_GENERATION
    node_name: str = "sidecar"
    shows_traces: bool = True
    search_deadline: float = 9.0
    ingest_deadline: float = 60.0
    bodies: BodyLimits = field(default_factory=BodyLimits)
    model_names: Mapping[str, str] = field(default_factory=dict)


INFERENCE: web.AppKey[Inference] = web.AppKey("INFERENCE")
API_OPTIONS: web.AppKey[ApiOptions] = web.AppKey("API_OPTIONS", ApiOptions)
