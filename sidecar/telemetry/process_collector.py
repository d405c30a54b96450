"""The state of the whole process as Prometheus metrics, asked for when the metrics are read."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from importlib.metadata import version
from platform import python_version

from prometheus_client.core import GaugeMetricFamily, InfoMetricFamily, Metric
from prometheus_client.registry import Collector


@dataclass(frozen=True, slots=True)
class ProcessState:
    """What there is at this moment; ``loop_delay`` in seconds, the worst of the last ten."""

    store_up: bool
    endpoints: int
    left_aside: int
    without_secrets: int
    loop_delay: float
    upstream_calls: int
    open_streams: int


_GAUGES = (
    ("store_up", "1 while endpoints come from the store and can be written to it.", "store_up"),
    ("endpoints", "Stored endpoints that this sidecar knows.", "endpoints"),
    ("endpoints_left_aside", "Stored endpoints that this version cannot read.", "left_aside"),
    (
        "endpoints_without_secrets",
        "Stored endpoints whose secrets are missing or were encrypted with a key that this sidecar does not have.",
        "without_secrets",
    ),
    ("event_loop_delay_seconds", "The most by which the event loop was late in the last ten seconds.", "loop_delay"),
    ("upstream_calls_in_flight", "Calls to providers under way, streams among them.", "upstream_calls"),
    ("upstream_open_streams", "Streams of providers that are open.", "open_streams"),
)


class ProcessStateCollector(Collector):
    """Turns the state of the process into metrics."""

    def __init__(self, state: Callable[[], ProcessState]) -> None:
        self._state = state

    def describe(self) -> Iterable[Metric]:
        """Nothing: the state is there only once the service runs."""
        return ()

    def collect(self) -> Iterator[Metric]:
        """One gauge per figure, and what was built."""
        state = self._state()
        for name, text, attribute in _GAUGES:
            yield GaugeMetricFamily(f"sidecar_{name}", text, float(getattr(state, attribute)))
        build = {"version": version("elasticsearch-inference-sidecar"), "python": python_version()}
        yield InfoMetricFamily("sidecar_build", "What is running.", build)
