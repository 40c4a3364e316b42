"""The worker's own port: `/health` for people and orchestrators, `/metrics` for Prometheus."""

import json
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from socketserver import ThreadingTCPServer
from typing import Any, Literal

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

from domain.metrics import FARM_GAUGES
from domain.processes.probes import Finding, Probe

LOOPS = ("sequencing", "publishing", "expiry", "line", "retention", "webhooks", "resealing")
NEED_REDIS = {"publishing", "webhooks"}
BEAT_SECONDS = 5.0  # a loop without a heartbeat for longer is down
CLIENT_TIMEOUT_SECONDS = 5.0
METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8"
GAUGES = {
    **FARM_GAUGES,
    "last_seq": ("botfarm_last_seq", "The last number given to an event"),
    "webhooks_active": ("botfarm_webhooks_active", "Webhooks to which events are sent"),
    "webhooks_failing": ("botfarm_webhooks_failing", "Active webhooks whose last attempt failed"),
    "webhooks_paused": ("botfarm_webhooks_paused", "Webhooks that are paused"),
    "webhooks_disabled": ("botfarm_webhooks_disabled_now", "Webhooks that are disabled"),
    "webhooks_lag": ("botfarm_webhooks_lag", "Events not yet sent to the active webhook that is furthest behind"),
}

Status = Literal["ok", "degraded", "unavailable"]


@dataclass(frozen=True, slots=True)
class Processes:
    wanted: int
    pids: tuple[int, ...]
    restarts: int


@dataclass(frozen=True, kw_only=True)
class Report:
    """The state of this worker, from the last findings of its probes: a report sends no query.

    It is unavailable without Postgres, without processes, or with a loop that stands still. Without Redis it is
    degraded, because expiry and numbering continue. The heartbeats are those of all workers of the farm.
    """

    processes: Callable[[], Processes]
    postgres: Probe
    redis: Probe

    def health(self) -> tuple[Status, dict[str, Any]]:
        database, broker, processes = self.postgres.finding(), self.redis.finding(), self.processes()
        ages = _ages(database)
        late = [name for name, age in ages.items() if age is None or age > BEAT_SECONDS]
        checks: dict[str, dict[str, Any]] = {
            "processes": {
                "status": _up(len(processes.pids) == processes.wanted),
                "wanted": processes.wanted,
                "pids": processes.pids,
                "restarts": processes.restarts,
            },
            "loops": {"status": _up(not late), "heartbeat_age_seconds": ages},
            "postgres": _shown(database),
            "redis": _shown(broker),
        }
        if not processes.pids or database.figures is None or set(late) - NEED_REDIS:
            return "unavailable", checks
        return ("ok" if all(check["status"] == "ok" for check in checks.values()) else "degraded"), checks


class Figures(Collector):
    """The gauges of the supervisor itself. A gauge without a current value is left out, not exported as zero."""

    def __init__(self, report: Report) -> None:
        self._report = report

    def collect(self) -> Iterator[Metric]:
        database, processes = self._report.postgres.finding(), self._report.processes()
        yield GaugeMetricFamily("botfarm_worker_processes", "Worker processes that run", len(processes.pids))
        yield CounterMetricFamily("botfarm_worker_restarts", "Worker processes started again", processes.restarts)
        up = GaugeMetricFamily("botfarm_up", "Whether this part answers the worker", labels=["part"])
        up.add_metric(["postgres"], float(database.figures is not None))
        up.add_metric(["redis"], float(self._report.redis.finding().figures is not None))
        yield up
        for key, (name, text) in GAUGES.items():
            if database.figures is not None:
                yield GaugeMetricFamily(name, text, database.figures[key])
        beats = GaugeMetricFamily(
            "botfarm_loop_heartbeat_age_seconds", "Seconds since the last heartbeat of a loop", labels=["loop"]
        )
        for loop, age in _ages(database).items():
            if age is not None:
                beats.add_metric([loop], age)
        yield beats


class Port:
    """The HTTP server of a report. Raises OSError when it cannot listen on the address."""

    def __init__(self, host: str, port: int, *, report: Report, counters: str) -> None:
        registry = CollectorRegistry()
        registry.register(Figures(report))
        # The sums over all processes, dead ones included.
        MultiProcessCollector(registry, path=counters)  # type: ignore[no-untyped-call]
        handler = type("Handler", (Handler,), {"report": report, "registry": registry})
        self._server = Server((host, port), handler, family=_family(host))
        self._host = f"[{host}]" if ":" in host else host

    @property
    def number(self) -> int:
        return int(self._server.server_address[1])

    @property
    def url(self) -> str:
        return f"http://{self._host}:{self.number}"

    def start(self) -> None:
        threading.Thread(target=self._server.serve_forever, name="port", daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


class Server(ThreadingTCPServer):
    """Not `http.server.ThreadingHTTPServer`, which resolves its own name over DNS before it listens."""

    allow_reuse_address = True
    daemon_threads = True

    def __init__(
        self, address: tuple[str, int], handler: type[BaseHTTPRequestHandler], *, family: socket.AddressFamily
    ) -> None:
        self.address_family = family
        super().__init__(address, handler)


class Handler(BaseHTTPRequestHandler):
    report: Report
    registry: CollectorRegistry
    timeout = CLIENT_TIMEOUT_SECONDS

    def do_GET(self) -> None:
        match self.path.partition("?")[0]:
            case "/health":
                status, checks = self.report.health()
                code = HTTPStatus.SERVICE_UNAVAILABLE if status == "unavailable" else HTTPStatus.OK
                self._answer(code, "application/json", json.dumps({"status": status, "checks": checks}).encode())
            case "/metrics":
                self._answer(HTTPStatus.OK, METRICS_TYPE, generate_latest(self.registry))
            case _:
                self._answer(HTTPStatus.NOT_FOUND, "text/plain", b"Not found. This port serves /health and /metrics.\n")

    def log_message(self, *_: object) -> None:
        """No line per scrape: they would outnumber all others."""

    def _answer(self, code: HTTPStatus, media_type: str, body: bytes) -> None:
        self.send_response(code)
        self.send_header("Content-Type", media_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def _ages(database: Finding) -> Mapping[str, float | None]:
    ages = (database.figures or {}).get("heartbeats", {})
    return {name: round(ages[name], 3) if name in ages else None for name in LOOPS}


def _shown(finding: Finding) -> dict[str, Any]:
    figures = {key: value for key, value in (finding.figures or {}).items() if key != "heartbeats"}
    error = {"error": finding.error} if finding.error else {}
    return {"status": _up(finding.figures is not None), **figures, **error}


def _up(good: bool) -> Literal["ok", "down"]:  # noqa: FBT001  -- its only argument
    return "ok" if good else "down"


def _family(host: str) -> socket.AddressFamily:
    return socket.getaddrinfo(host, None, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0][0]
