"""A metric that both API and worker export has one meaning."""

import time
from collections.abc import Mapping

import pytest
from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from api.observability.metrics import Metrics
from domain.metrics import FARM_GAUGES, PASSWORD_UNREADABLE
from domain.processes.probes import Figures, Finding, Probe
from worker import metrics as worker_metrics
from worker.supervision import status_server
from worker.supervision.status_server import Processes, Report

FARM: Figures = dict.fromkeys(FARM_GAUGES, 1)
SHARED = {name for name, _ in (*FARM_GAUGES.values(), PASSWORD_UNREADABLE)}

Meanings = Mapping[str, tuple[str, str]]


class Fixed(Probe):
    """A probe that has found these figures."""

    def __init__(self, figures: Figures) -> None:
        super().__init__("fixed", lambda: figures)
        self._figures = figures

    def finding(self) -> Finding:
        return Finding(self._figures, time.monotonic())


def meanings(exported: bytes) -> Meanings:
    """Type and text of each metric by name."""
    families = text_string_to_metric_families(exported.decode())
    return {family.name: (family.type, family.documentation) for family in families}


def of_api() -> Meanings:
    return meanings(Metrics(figures=lambda: {"gauges": FARM}, waiting=lambda: 0).render())


def of_worker() -> Meanings:
    registry = CollectorRegistry()
    figures: Figures = {**dict.fromkeys(status_server.GAUGES, 1), "heartbeats": {}}
    report = Report(processes=lambda: Processes(1, (1,), 0), postgres=Fixed(figures), redis=Fixed({}))
    registry.register(status_server.Figures(report))
    assert worker_metrics.UNREADABLE is not None  # its import registers the counters of a process
    return {**meanings(generate_latest(REGISTRY)), **meanings(generate_latest(registry))}


def ambiguous(first: Meanings, second: Meanings) -> set[str]:
    return {name for name in first.keys() & second.keys() if first[name] != second[name]}


def own(exported: Meanings) -> Meanings:
    return {name: meaning for name, meaning in exported.items() if name.startswith("botfarm_")}


def test_a_metric_of_both_has_one_type_and_one_text() -> None:
    api, worker = own(of_api()), own(of_worker())

    assert ambiguous(api, worker) == set()
    assert api.keys() & worker.keys() == SHARED


@pytest.mark.parametrize(("kind", "text"), [(Gauge, "Another text"), (Counter, FARM_GAUGES["epoch"][1])])
def test_a_metric_with_two_meanings_would_be_seen(kind: type[Gauge | Counter], text: str) -> None:
    planted = CollectorRegistry()
    kind("botfarm_epoch", text, registry=planted)

    assert ambiguous(of_api(), meanings(generate_latest(planted))) == {"botfarm_epoch"}
