"""State of the local models, read when metrics are read: nothing has to be pushed while models work."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Protocol

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector


class ModelState(Protocol):
    """What the metrics read of one model at work."""

    @property
    def model(self) -> str: ...
    @property
    def threads(self) -> int: ...
    @property
    def workers(self) -> int: ...
    @property
    def queued_items(self) -> int: ...
    @property
    def queued_tokens(self) -> int: ...
    @property
    def refused(self) -> int: ...
    @property
    def dropped(self) -> int: ...
    @property
    def truncated(self) -> int: ...
    @property
    def failures(self) -> int: ...
    @property
    def tokenise_seconds(self) -> float: ...


_GAUGES = (
    ("workers", "Workers of the model.", "workers"),
    ("queued_items", "Texts that wait.", "queued_items"),
    ("queued_tokens", "Tokens that wait.", "queued_tokens"),
)
_COUNTERS = (
    ("refused", "Calls refused because the queue was full or their time too short.", "refused"),
    ("dropped", "Texts dropped because nobody waited for them any more.", "dropped"),
    ("truncated", "Texts that were longer than the model reads.", "truncated"),
    ("failures", "Texts that could not be run.", "failures"),
    ("tokenise_seconds", "Time spent on tokenising.", "tokenise_seconds"),
)


class ModelCollector(Collector):
    """Turns the states of models into metrics."""

    def __init__(self, states: Callable[[], Iterable[ModelState]]) -> None:
        self._states = states

    def describe(self) -> Iterable[Metric]:
        """Nothing: asking here would ask the models before they are there."""
        return ()

    def collect(self) -> Iterator[Metric]:
        """One family per figure, one sample per model and number of threads."""
        states = list(self._states())
        families: tuple[
            tuple[type[GaugeMetricFamily] | type[CounterMetricFamily], tuple[tuple[str, str, str], ...]], ...
        ]
        families = ((GaugeMetricFamily, _GAUGES), (CounterMetricFamily, _COUNTERS))
        for family, figures in families:
            for name, text, attribute in figures:
                metric = family(f"sidecar_model_{name}", text, labels=("model", "threads"))
                for state in states:
                    metric.add_metric((state.model, str(state.threads)), float(getattr(state, attribute)))
                yield metric
