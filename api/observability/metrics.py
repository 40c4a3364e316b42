"""The metrics of the API, for Prometheus."""

from collections import Counter as Counts
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

from api.observability.stream_metrics import StreamFigures
from domain.errors import NoUserFree, Refusal
from domain.locks import Grant, Released, Renewal
from domain.metrics import FARM_GAUGES, PASSWORD_UNREADABLE
from domain.requests import Granted, Place

LATENCY_BUCKETS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5)
MEDIA_TYPE = "text/plain; version=0.0.4; charset=utf-8"
# By part and field of the database check.
GAUGES = {
    **{("gauges", field): definition for field, definition in FARM_GAUGES.items()},
    ("worker", "heartbeat_age_seconds"): (
        "botfarm_worker_heartbeat_age_seconds",
        "Seconds since the last heartbeat of a relay",
    ),
}

NAMES = {Renewal: "renewed", Place: "queued", bool: "cancelled"}


class Metrics:
    """One registry per app, so that tests may make any number of apps.

    `figures` returns the last database check of the monitor; `waiting` the number of lock changes that wait for a lane.
    `counters` is the folder to which all API processes write their counts (PROMETHEUS_MULTIPROC_DIR of
    prometheus_client): with it each process exports the sums over all, dead ones included, and the figures of its own
    database check. Without it nothing is written.
    """

    def __init__(self, *, figures: Callable[[], Any], waiting: Callable[[], int], counters: str | None = None) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self._registry = CollectorRegistry()
        self._exported = self._registry if counters is None else _of_all(counters)
        self._exported.register(_Figures(figures))
        self._waiting = waiting
        self._lane_waiting = Gauge(
            "botfarm_lane_waiting",
            "Lock changes that wait for a lane",
            registry=self._registry,
            multiprocess_mode="livesum",
        )
        processes = Gauge(
            "botfarm_api_processes", "API processes", registry=self._registry, multiprocess_mode="livesum"
        )
        processes.set(1)
        self._requests = Counter(
            "botfarm_http_requests_total", "HTTP requests", ("method", "route", "status"), registry=self._registry
        )
        self._seconds = Histogram(
            "botfarm_http_request_seconds",
            "Time to answer",
            ("method", "route"),
            buckets=LATENCY_BUCKETS,
            registry=self._registry,
        )
        self._series = dict[tuple[str, str, int], tuple[Counter, Histogram]]()  # labels() takes longer
        self.streams = StreamFigures(self._registry)
        self._outcomes = Counter(
            "botfarm_lock_outcomes_total", "Outcomes of lock changes", ("outcome",), registry=self._registry
        )

        self._audits = Counter(
            "botfarm_audit_total",
            "Acts of administrators, and calls refused because of their principal",
            ("what", "outcome"),
            registry=self._registry,
        )
        self._unreadable = Counter(*PASSWORD_UNREADABLE, registry=self._registry)

    def audited(self, *, what: str, outcome: str) -> None:
        self._audits.labels(what, outcome).inc()

    def unreadable(self) -> None:
        self._unreadable.inc()

    def request(self, *, method: str, route: str, status: int, seconds: float) -> None:
        series = self._series.get((method, route, status))
        if series is None:
            series = self._requests.labels(method, route, str(status)), self._seconds.labels(method, route)
            self._series[method, route, status] = series
        count, duration = series
        count.inc()
        duration.observe(seconds)

    def outcomes(self, outcomes: Sequence[object]) -> None:
        for name, count in Counts(map(_name, outcomes)).items():
            self._outcomes.labels(name).inc(count)

    def refresh(self) -> None:
        """Set the gauges that are read on demand; other processes export the value that was set last."""
        self._lane_waiting.set(self._waiting())

    def render(self) -> bytes:
        """All metrics in the Prometheus text format."""
        self.refresh()
        return generate_latest(self._exported)


class _Figures(Collector):
    """Gauges from the last check of the monitor, so that a scrape sends the database no query."""

    def __init__(self, figures: Callable[[], Any]) -> None:
        self._figures = figures

    def collect(self) -> Iterator[Metric]:
        figures = self._figures()
        yield GaugeMetricFamily("botfarm_postgres_up", "Whether Postgres answered the last check", int(bool(figures)))
        for (part, field), (name, text) in GAUGES.items():
            value = figures.get(part, {}).get(field)
            if value is not None:
                yield GaugeMetricFamily(name, text, value)

    def describe(self) -> Iterable[Metric]:
        return ()


def _of_all(counters: str) -> CollectorRegistry:
    registry = CollectorRegistry()
    MultiProcessCollector(registry, path=counters)  # type: ignore[no-untyped-call]
    return registry


def _name(outcome: object) -> str:
    match outcome:
        case Grant(again=again) | Granted(again=again):
            kind = "pool-granted" if isinstance(outcome, Granted) else "granted"
            return f"{kind}-again" if again else kind
        case Released(released=released):
            return "released" if released else "already-free"
        case NoUserFree(counted=False):
            return "NoUserFreeUncounted"
        case Refusal():
            return type(outcome).__name__
        case _:
            return NAMES.get(type(outcome), "failed")
