"""What the sidecar tells about itself: structured logs and Prometheus metrics."""

from sidecar.telemetry.logs import configure_logging
from sidecar.telemetry.metrics import METRICS, Metrics

__all__ = ["METRICS", "Metrics", "configure_logging"]
