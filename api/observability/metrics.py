"""What the API tells Prometheus."""

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
from domain.requests import Granted, Place

LATENCY_BUCKETS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5)
MEDIA_TYPE = "text/plain; version=0.0.4; charset=utf-8"
GAUGES = {
    ("outbox", "pending"): ("botfarm_outbox_pending", "Changes that wait for their number"),
    ("outbox", "oldest_seconds"): ("botfarm_outbox_oldest_seconds", "Age of the oldest change that waits"),
    ("outbox", "relay_lag"): ("botfarm_relay_lag", "Numbered events that are not on the stream yet"),
    ("outbox", "epoch"): ("botfarm_epoch", "Epoch of the event history"),
    ("worker", "heartbeat_age_seconds"): ("botfarm_worker_heartbeat_age_seconds", "Since a relay was last at work"),
    ("worker", "lapsed_locks"): ("botfarm_locks_lapsed", "Lapsed locks that nobody has tidied yet"),
}

NAMES = {Renewal: "renewed", Place: "queued", bool: "cancelled"}


class Metrics:
    """One registry an app, so that tests may make as many apps as they like.

    `figures` gives the monitor's last database check; `waiting` the lock changes that wait for a lane. `counters` is
    the folder in which this process and others leave what they count, PROMETHEUS_MULTIPROC_DIR for prometheus_client:
    then each tells the sums of all, those that have died included, and its own figures of the database. Without it
    nothing is written.
    """

    def __init__(self, *, figures: Callable[[], Any], waiting: Callable[[], int], counters: str | None = None) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self._registry = CollectorRegistry()
        self._exposed = self._registry if counters is None else _of_all(counters)
        self._exposed.register(_Figures(figures))
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
        self._series = dict[tuple[str, str, int], tuple[Counter, Histogram]]()  # to look labels up takes longer
        self.streams = StreamFigures(self._registry)
        self._outcomes = Counter(
            "botfarm_lock_outcomes_total", "Outcomes of lock changes", ("outcome",), registry=self._registry
        )

        self._audits = Counter(
            "botfarm_audit_total",
            "Acts of administrators, and calls refused for who made them",
            ("what", "outcome"),
            registry=self._registry,
        )
        self._unreadable = Counter(
            "botfarm_password_unreadable_total", "Stored passwords that did not open", registry=self._registry
        )

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
        """Note what is only ever looked up; the other processes see what was noted last."""
        self._lane_waiting.set(self._waiting())

    def render(self) -> bytes:
        """All there is to tell, in the Prometheus text format."""
        self.refresh()
        return generate_latest(self._exposed)


class _Figures(Collector):
    """Figures that the monitor has anyway: a scrape asks the database nothing."""

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
