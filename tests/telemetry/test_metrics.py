"""Metrics: counted where they belong, apart per application, readable by Prometheus."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from prometheus_client.parser import text_string_to_metric_families

from sidecar.runtime.config import Lane
from sidecar.runtime.statistics import BatchReport
from sidecar.telemetry import Metrics


def samples(metrics: Metrics) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    body, content_type = metrics.render()
    assert content_type.startswith("text/plain")
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(body.decode())
        for sample in family.samples
    }


def value(metrics: Metrics, name: str, **labels: str) -> float:
    return samples(metrics)[f"sidecar_{name}", frozenset(labels.items())]


def test_requests_are_counted_by_template() -> None:
    metrics = Metrics()
    for status in (200, 200, 404):
        metrics.observe_request("PUT", "/_inference/{inference_id}", status, 0.02)
    metrics.observe_request("BREW", "unknown", 405, 0.01)
    route = "/_inference/{inference_id}"
    assert value(metrics, "http_requests_total", method="PUT", route=route, status="200") == 2
    assert value(metrics, "http_requests_total", method="PUT", route=route, status="404") == 1
    assert value(metrics, "http_requests_total", method="OTHER", route="unknown", status="405") == 1
    seconds = value(metrics, "http_request_duration_seconds_sum", method="PUT", route=route)
    assert seconds == pytest.approx(0.06)


def test_inference_and_upstream() -> None:
    metrics = Metrics()
    metrics.observe_inference("openai", "text_embedding", "ok", 16, 0.5)
    metrics.observe_inference("openai", "text_embedding", "status_exception", 4, 0.5)
    metrics.upstream_call("openai", 503, 0.1)
    metrics.upstream_call("openai", 200, 0.1)
    metrics.upstream_retry("openai", 503)
    labels = {"service": "openai", "task_type": "text_embedding"}
    assert value(metrics, "inference_requests_total", **labels, outcome="ok") == 1
    assert value(metrics, "inference_inputs_total", **labels) == 20
    assert value(metrics, "inference_duration_seconds_count", **labels) == 2
    assert value(metrics, "upstream_calls_total", service="openai", status="503") == 1
    assert value(metrics, "upstream_retries_total", service="openai", status="503") == 1


@dataclass
class State:
    model: str
    threads: int = 1
    workers: int = 2
    queued_items: int = 5
    queued_tokens: int = 500
    refused: int = 1
    dropped: int = 0
    truncated: int = 3
    failures: int = 0
    tokenise_seconds: float = 0.25


def test_models_are_read_when_metrics_are_read() -> None:
    metrics = Metrics()
    states: list[State] = []
    metrics.watch_models(lambda: states)
    metrics.render()
    states += [State("splade-tiny"), State("bge", queued_items=0)]
    assert value(metrics, "model_queued_items", model="splade-tiny", threads="1") == 5
    assert value(metrics, "model_queued_items", model="bge", threads="1") == 0
    assert value(metrics, "model_refused_total", model="bge", threads="1") == 1
    assert value(metrics, "model_truncated_total", model="bge", threads="1") == 3
    assert value(metrics, "model_tokenise_seconds_total", model="bge", threads="1") == 0.25
    report = BatchReport("bge", Lane.INGEST, 8, 8, 900, 1000, 0.5, 0.125)
    metrics.observe_batch(report)
    assert value(metrics, "model_batch_items_sum", model="bge") == 8
    assert value(metrics, "model_batch_tokens_sum", model="bge") == 1000
    assert value(metrics, "model_queue_seconds_sum", model="bge") == 0.5
    assert value(metrics, "model_run_seconds_sum", model="bge") == 0.125


def test_two_applications_share_nothing() -> None:
    one, other = Metrics(), Metrics()
    one.upstream_retry("openai", 429)
    assert not any(name == "sidecar_upstream_retries_total" for name, _ in samples(other))
