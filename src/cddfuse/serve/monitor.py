"""Numbers about the service, as Prometheus reads them."""

from collections.abc import Callable

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    generate_latest,
)

from cddfuse.serve.queue import Queue

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_BUCKETS = (0.05, 0.1, 0.25, 0.5, 1, 2, 5, 10, 20, 60, 120)
_GAUGES = {
    "present": "Requests uploaded, waiting or worked on.",
    "running": "Requests worked on.",
    "ready": "Whether the default network is loaded.",
}


class Monitor:
    """Numbers of one application, apart from those of others in the process."""

    def __init__(self) -> None:
        registry = self._registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        self._answers = Counter(
            "cddfuse_requests",
            "Requests by status.",
            ("method", "path", "status"),
            registry=registry,
        )
        self._seconds = Histogram(
            "cddfuse_request_seconds",
            "Time from request to answer.",
            ("path",),
            buckets=_BUCKETS,
            registry=registry,
        )
        self._gauges = {
            name: Gauge(f"cddfuse_{name}", about, registry=registry)
            for name, about in _GAUGES.items()
        }

    def watch(self, queue: Queue, ready: Callable[[], bool]) -> None:
        """Show the state of a queue, and whether the service is ready; again if it restarts."""
        values: dict[str, Callable[[], float]] = {
            "present": lambda: queue.present,
            "running": lambda: queue.running,
            "ready": ready,
        }
        for name, value in values.items():
            self._gauges[name].set_function(value)

    def answered(self, method: str, path: str, status: int, seconds: float) -> None:
        """Take up an answer. No name is one that a client chose."""
        self._answers.labels(method, path, str(status)).inc()
        self._seconds.labels(path).observe(seconds)

    def text(self) -> bytes:
        """All numbers."""
        return generate_latest(self._registry)
