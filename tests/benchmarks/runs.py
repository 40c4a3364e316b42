"""A run that was never made, to be told of."""

from benchmarks.figures import Sample, Table
from benchmarks.reports.reports import Run
from benchmarks.reports.targets import BARS, judge

RATES = {"botfarm": {1: 600, 32: 4_800, 128: 6_500}, "plain": {1: 500, 32: 1_000, 128: 1_000}}


def samples() -> list[Sample]:
    made = []
    for number in range(3):
        for peer, rates in RATES.items():
            for clients, rate in rates.items():
                setting = f"{clients} clients" if clients > 1 else "1 client"
                made.append(Sample("changes", "lock changes", setting, peer, "1/s", rate + number * 10))
                made.append(Sample("changes", "latency p99", setting, peer, "ms", 1_000 * clients / rate))
            half = "half of plain's highest rate"
            made.append(Sample("changes", "latency p99, open loop", half, peer, "ms", 5_000 / rates[32]))
        made.append(Sample("events", "change to stream p99", "1,000 changes/s", "botfarm", "ms", 12.0 + number))
        made.append(Sample("reads", "memory of the api", "1,000 connections", "botfarm", "B", 96 * 2**20))
    return made


def a_run(**changes: object) -> Run:
    table = Table(samples())
    fields: dict[str, object] = {
        "when": "2026-11-24T12:00:00+00:00",
        "commit": "0123456789ab",
        "machine": {"CPU": "Some CPU", "cores": "2", "kernel": "Linux 6.1"},
        "versions": {"Postgres": "18.6"},
        "parts": ["changes", "events", "reads"],
        "rounds": 3,
        "seconds": 10.0,
        "quick": False,
        "without": ["etcd"],
        "failures": {},
        "table": table,
        "verdicts": judge(BARS, table),
    }
    return Run(**(fields | changes))  # type: ignore[arg-type]  # fields by name, of their own types
