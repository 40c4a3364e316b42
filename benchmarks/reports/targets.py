"""The bars: what Botfarm sets out to reach, as ratios of figures of one run, or as plain bounds."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from benchmarks.figures import Figure, Table


@dataclass(frozen=True, slots=True)
class Name:
    """What a figure is found by."""

    part: str
    measure: str
    setting: str
    peer: str

    def __str__(self) -> str:
        return f"{self.part}: {self.measure}, {self.setting}, {self.peer}"


@dataclass(frozen=True, slots=True)
class Bar:
    """`of`, divided by `to` where there is one, must be at least (or at most) `bound`."""

    text: str
    of: Name
    to: Name | None
    bound: float
    demand: Literal["at least", "at most"] = "at least"
    unit: str = ""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of a bar. `value` is None, and it is not reached, when a figure it needs is missing or zero."""

    bar: Bar
    value: float | None
    lowest: float | None = None
    highest: float | None = None
    missing: tuple[Name, ...] = ()

    @property
    def reached(self) -> bool:
        if self.value is None:
            return False
        return self.value >= self.bar.bound if self.bar.demand == "at least" else self.value <= self.bar.bound

    @property
    def word(self) -> str:
        if self.value is None:
            return "not measured"
        return "reached" if self.reached else "missed"


_LARGE, _SMALL = "1 M users, 99 % locked", "1 k users, none locked"


def judge(bars: Sequence[Bar], table: Table) -> list[Verdict]:
    return [_judge(bar, table) for bar in bars]


def _judge(bar: Bar, table: Table) -> Verdict:
    names = [bar.of] if bar.to is None else [bar.of, bar.to]
    found = [_find(name, table) for name in names]
    figures = [figure for figure in found if figure is not None]
    if len(figures) < len(names):
        missing = (name for name, figure in zip(names, found, strict=True) if figure is None)
        return Verdict(bar, None, missing=tuple(missing))
    value = _ratio([figure.median for figure in figures])
    each = _each_round(figures)
    return Verdict(bar, value, min(each, default=None), max(each, default=None))


def _find(name: Name, table: Table) -> Figure | None:
    return table.find(part=name.part, measure=name.measure, setting=name.setting, peer=name.peer)


def _each_round(figures: Sequence[Figure]) -> list[float]:
    """The ratio within each round, whose figures met the same noise; none where the rounds do not pair."""
    if len({len(figure.values) for figure in figures}) > 1:
        return []
    ratios = [_ratio(values) for values in zip(*(figure.values for figure in figures), strict=True)]
    return [ratio for ratio in ratios if ratio is not None]


def _ratio(values: Sequence[float]) -> float | None:
    """None where the second is nothing, to which nothing compares."""
    first, *second = values
    if not second:
        return first
    return first / second[0] if second[0] else None


def _by(clients: int) -> str:
    return "1 client" if clients == 1 else f"{clients} clients"


def _changes(clients: int, peer: str) -> Name:
    return Name("changes", "lock changes", _by(clients), peer)


def _against(peer: str, clients: int, bound: float) -> Bar:
    return Bar(f"botfarm / {peer}, {_by(clients)}", _changes(clients, "botfarm"), _changes(clients, peer), bound)


def _open_loop(peer: str) -> Name:
    return Name("changes", "latency p99, open loop", "half of plain's highest rate", peer)


def _pool(peer: str) -> Name:
    return Name("contention", "pool acquires", "32 clients", peer)


def _pool_time(users: str) -> Bar:
    measure, setting = "pool acquire p50", f"1 caller, {users}"
    large, small = (Name("plans", measure, setting, peer) for peer in (_LARGE, _SMALL))
    return Bar(f"{measure}, {users}: 1 M, 99 % locked / 1 k, none locked", large, small, 2.0, "at most")


def _handing_on(bound: float, *, besides: str = "") -> Bar:
    setting = f"1,000 waiters, holds of 0.3 s{besides}"
    text = f"hand-over p99, 1,000 waiters on 50 users{besides}"
    return Bar(text, Name("handover", "hand-over p99", setting, "botfarm"), None, bound, "at most", "ms")


BARS = (
    _against("pgbench", 32, 0.5),
    _against("pgbench", 128, 0.8),
    _against("plain", 1, 1.0),
    _against("plain", 32, 4.0),
    _against("plain", 128, 6.0),
    _against("etcd", 32, 1.0),
    _against("etcd", 128, 1.2),
    Bar(
        "p99 botfarm / p99 plain, open loop at half of plain's highest rate",
        _open_loop("botfarm"),
        _open_loop("plain"),
        1.0,
        "at most",
    ),
    Bar(
        f"pool acquire: {_LARGE} / {_SMALL}",
        _pool(_LARGE),
        _pool(_SMALL),
        0.5,
    ),
    _pool_time("1 user"),
    _pool_time("10 users"),
    Bar(
        "single lock changes: 1 M users / 1 k users",
        Name("growth", "lock changes", "32 clients", "1 M users"),
        Name("growth", "lock changes", "32 clients", "1 k users"),
        0.8,
    ),
    Bar(
        "speed: last / first 100 k of 1 M cycles on 100 k users",
        Name("growth", "cycles", "100 k users", "last 100 k"),
        Name("growth", "cycles", "100 k users", "first 100 k"),
        0.85,
    ),
    Bar(
        "heap: after the last / first 100 k of 1 M cycles on 100 k users",
        Name("growth", "heap", "100 k users", "last 100 k"),
        Name("growth", "heap", "100 k users", "first 100 k"),
        1.2,
        "at most",
    ),
    Bar(
        "change to stream, p99 at 1,000 changes/s",
        Name("events", "change to stream p99", "1,000 changes/s", "botfarm"),
        None,
        100,
        "at most",
        "ms",
    ),
    Bar(
        "backlog drain / highest rate of changes",
        Name("events", "backlog", "events", "drain"),
        Name("events", "backlog", "events", "highest rate of changes"),
        3.0,
    ),
    _handing_on(100),
    _handing_on(500, besides=", Redis stopped"),
    Bar(
        "lock read: cached / uncached",
        Name("reads", "lock reads", "32 clients", "cached"),
        Name("reads", "lock reads", "32 clients", "uncached"),
        1.5,
    ),
)
