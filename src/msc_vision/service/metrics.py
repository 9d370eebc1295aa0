"""Figures of the service for Prometheus."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

MEDIA_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_SECONDS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10)


class ServiceMetrics:
    """Counters of one service, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "msc_vision_http_requests_total",
            "Answers by method, route and status",
            ("method", "route", "status"),
            registry=self.registry,
        )
        self.seconds = Histogram(
            "msc_vision_http_request_seconds",
            "Time to the answer by route",
            ("route",),
            buckets=_SECONDS,
            registry=self.registry,
        )
        self.decisions = Counter(
            "msc_vision_decisions_total", "Decision records made, by verdict", ("verdict",), registry=self.registry
        )
        self.refusals = Counter(
            "msc_vision_refusals_total", "Refused requests by kind of problem", ("kind",), registry=self.registry
        )
        self.jobs = Gauge("msc_vision_jobs", "Scoring jobs by state", ("state",), registry=self.registry)
        self.deliveries = Gauge(
            "msc_vision_webhook_deliveries", "Webhook deliveries by state", ("state",), registry=self.registry
        )
        self.writes_waiting = Gauge("msc_vision_writes_waiting", "Writes in the queue", registry=self.registry)

    def text(self) -> bytes:
        """Return all figures in Prometheus' text format."""
        return generate_latest(self.registry)
