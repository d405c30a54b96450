"""Prometheus metrics, as methods that other rooms call without knowing Prometheus."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Generic, Protocol, TypeVar

from aiohttp import web
from prometheus_client import CollectorRegistry, Counter, Histogram, ProcessCollector
from prometheus_client.exposition import choose_encoder

from sidecar.telemetry.model_collector import ModelCollector, ModelState
from sidecar.telemetry.process_collector import ProcessState, ProcessStateCollector

# From a short query on a small model (1 ms) to a long completion of a provider.
_SECONDS = (0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
_ITEMS = (1, 2, 4, 8, 16, 32, 64, 128)
_TOKENS = (8, 32, 128, 256, 512, 1024, 2048, 4096, 8192)
_Metric = TypeVar("_Metric", Counter, Histogram)
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS"})


class Batch(Protocol):
    """What the metrics read of a batch that a local model ran."""

    @property
    def model(self) -> str: ...
    @property
    def items(self) -> int: ...
    @property
    def padded_tokens(self) -> int: ...
    @property
    def queue_seconds(self) -> float: ...
    @property
    def run_seconds(self) -> float: ...


class Children(Generic[_Metric]):
    """A metric's children by label values, looked up without the checks that ``labels`` makes every time."""

    def __init__(self, metric: _Metric) -> None:
        self._metric: _Metric = metric
        self._children: dict[tuple[str, ...], _Metric] = {}

    def of(self, *values: str) -> _Metric:
        child = self._children.get(values)
        if child is None:
            child = self._children[values] = self._metric.labels(*values) if values else self._metric
        return child


class Metrics:
    """The metrics of one application, with a registry of their own; all methods are quick and safe for threads."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self._requests = self._counter("http_requests", "Requests answered.", "method", "route", "status")
        self._malformed = self._counter("malformed_requests", "Requests that were not HTTP.")
        self._request_seconds = self._histogram(
            "http_request_duration_seconds", "Time to answer a request.", _SECONDS, "method", "route"
        )
        self._inferences = self._counter(
            "inference_requests", "Inference calls by result.", "service", "task_type", "outcome"
        )
        self._inputs = self._counter("inference_inputs", "Inputs of inference calls.", "service", "task_type")
        self._truncated_inputs = self._counter(
            "inference_truncated_inputs", "Inputs answered for that were cut when read.", "service", "task_type"
        )
        self._inference_seconds = self._histogram(
            "inference_duration_seconds", "Time of an inference call.", _SECONDS, "service", "task_type"
        )
        self._upstream_calls = self._counter(
            "upstream_calls", "Calls to providers; status 0: no answer.", "service", "status"
        )
        self._upstream_seconds = self._histogram(
            "upstream_call_duration_seconds", "Time of a call to a provider.", _SECONDS, "service"
        )
        self._upstream_retries = self._counter(
            "upstream_retries",
            "Calls to providers that were repeated, by the status that caused it.",
            "service",
            "status",
        )
        self._cache_inputs = self._counter(
            "embedding_cache_inputs", "Inputs of embedding calls by whether they were kept: hit or miss.", "outcome"
        )
        self._cache_calls = self._counter(
            "embedding_cache_saved_calls", "Embedding calls answered without asking the endpoint."
        )
        self._cache_tokens = self._counter(
            "embedding_cache_saved_tokens", "Tokens not embedded again, estimated at four characters each."
        )
        self._pipeline_fates = self._counter(
            "front_pipeline_fields",
            "Filled fields of documents that ingest pipelines drop or change, or might.",
            "fate",
        )
        self._batch_items = self._histogram("model_batch_items", "Texts of a batch.", _ITEMS, "model")
        self._batch_tokens = self._histogram(
            "model_batch_tokens", "Tokens of a batch, padding included.", _TOKENS, "model"
        )
        self._queue_seconds = self._histogram("model_queue_seconds", "Longest wait in a batch.", _SECONDS, "model")
        self._run_seconds = self._histogram("model_run_seconds", "Time of a batch in the model.", _SECONDS, "model")

    def malformed_request(self) -> None:
        """One request that was not HTTP."""
        self._malformed.of().inc()

    def observe_request(self, method: str, route: str, status: int, seconds: float) -> None:
        """One request: ``route`` is its template, never its path, whose ids would have no end."""
        method = method if method in _METHODS else "OTHER"
        self._requests.of(method, route, str(status)).inc()
        self._request_seconds.of(method, route).observe(seconds)

    def observe_inference(self, service: str, task_type: str, outcome: str, inputs: int, seconds: float) -> None:
        """One inference call; ``outcome`` is ``ok`` or the type of the error."""
        self._inferences.of(service, task_type, outcome).inc()
        self._inputs.of(service, task_type).inc(inputs)
        self._inference_seconds.of(service, task_type).observe(seconds)

    def observe_truncated(self, service: str, task_type: str, inputs: int) -> None:
        """Inputs of one call that its answer says were cut."""
        self._truncated_inputs.of(service, task_type).inc(inputs)

    def observe_cache(self, hits: int, misses: int, saved_calls: int, saved_tokens: int) -> None:
        """One embedding call that went by the cache, by its inputs."""
        self._cache_inputs.of("hit").inc(hits)
        self._cache_inputs.of("miss").inc(misses)
        self._cache_calls.of().inc(saved_calls)
        self._cache_tokens.of().inc(saved_tokens)

    def observe_pipeline_fate(self, fate: str) -> None:
        """One filled field of one document; ``fate`` is ``dropped``, ``changed``, or ``unknown``."""
        self._pipeline_fates.of(fate).inc()

    def upstream_call(self, service: str, status: int, seconds: float) -> None:
        """One call to a provider, retries counted each; ``status`` 0 when no answer came."""
        self._upstream_calls.of(service, str(status)).inc()
        self._upstream_seconds.of(service).observe(seconds)

    def upstream_retry(self, service: str, status: int) -> None:
        """A call that is repeated because of ``status``."""
        self._upstream_retries.of(service, str(status)).inc()

    def observe_batch(self, batch: Batch) -> None:
        """One batch of a local model."""
        self._batch_items.of(batch.model).observe(batch.items)
        self._batch_tokens.of(batch.model).observe(batch.padded_tokens)
        self._queue_seconds.of(batch.model).observe(batch.queue_seconds)
        self._run_seconds.of(batch.model).observe(batch.run_seconds)

    def watch_models(self, states: Callable[[], Iterable[ModelState]]) -> None:
        """Show, whenever the metrics are read, what ``states`` tells of local models: queues, workers, refusals."""
        self.registry.register(ModelCollector(states))

    def watch_process(self, state: Callable[[], ProcessState]) -> None:
        """Show, whenever the metrics are read, the state of the whole process."""
        self.registry.register(ProcessStateCollector(state))

    def render(self, accept: str = "") -> tuple[bytes, str]:
        """All metrics and their content type: Prometheus' text form, or OpenMetrics where ``accept`` asks for it."""
        encode, content_type = choose_encoder(accept)
        return encode(self.registry), content_type

    def _counter(self, name: str, help: str, *labels: str) -> Children[Counter]:
        return Children(Counter(f"sidecar_{name}", help, labels, registry=self.registry))

    def _histogram(self, name: str, help: str, buckets: tuple[float, ...], *labels: str) -> Children[Histogram]:
        return Children(Histogram(f"sidecar_{name}", help, labels, buckets=buckets, registry=self.registry))


METRICS: web.AppKey[Metrics] = web.AppKey("METRICS", Metrics)


async def get_metrics(request: web.Request) -> web.StreamResponse:
    """``GET /metrics``."""
    body, content_type = request.app[METRICS].render(request.headers.get("Accept", ""))
    return web.Response(body=body, headers={"Content-Type": content_type})
