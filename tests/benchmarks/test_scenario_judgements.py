"""What the scenarios of the benchmark take for a measurement: each judgement meets a cheat that it must catch."""

import json
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from uuid import uuid4

import pytest

from benchmarks.failures import Unmeasured
from benchmarks.load import percentiles
from benchmarks.load.event_consumers import Seen, complete
from benchmarks.load.random_load import Storm, parse, storm
from benchmarks.load.waiting_callers import Tally
from benchmarks.parts import contention, plans, reads

TOLD = "STORM broken\t0\nSTORM seconds\t2.0\nSTORM p50_ms\t1.5\nSTORM p99_ms\t3.5\nSTORM count granted\t40\n"
BY_INDEX = "->  Index Scan using users_available_at on users u  (cost=0.28..7647.82 rows=833 width=30)"


@pytest.mark.skipif(shutil.which("wrk") is None, reason="wrk is not installed")
def test_a_service_that_grants_to_everybody_is_caught() -> None:
    grant = {"id": str(uuid4()), "lease_id": str(uuid4()), "lock": {"token": 7}}

    with answering(grant) as url, pytest.raises(Unmeasured, match=r"(?=.*'double')(?=.*'old token')"):
        storm(url, {}, kind="hot", clients=8, seconds=1, user_ids=[uuid4()])


@pytest.mark.parametrize(
    ("output", "reason"),
    [
        (TOLD + "STORM count wrong\t1\nSTORM wrong\t503 overloaded\n", "503 overloaded"),
        (TOLD.replace("broken\t0", "broken\t2"), "without an answer"),
        (TOLD.replace("STORM count granted\t40\n", ""), "without an answer"),
        ("unable to connect to 127.0.0.1:1 Connection refused", "Connection refused"),
    ],
)
def test_a_storm_with_any_wrong_answer_is_no_measurement(output: str, reason: str) -> None:
    with pytest.raises(Unmeasured, match=reason):
        parse(output)


def test_a_random_load_is_reported_as_rates() -> None:
    found = parse("Running 2s test\n" + TOLD + "STORM count released\t38\n")

    assert (found.changes, found.rate("granted"), found.p99_ms) == (39.0, 20.0, 3.5)


def test_pools_that_refuse_often_are_no_measurement() -> None:
    assert contention.false_share(Storm(1, 1, 1, {"granted": 999, "refused": 1})) == 0.001

    with pytest.raises(Unmeasured, match=r"2\.0% of the calls"):
        contention.false_share(Storm(1, 1, 1, {"granted": 98, "refused": 2}))


@pytest.mark.parametrize("numbers", [[5, 7], [5, 6, 6, 7], [6, 5, 7], [5, 6, 7, 8], []])
def test_events_missing_repeated_or_out_of_order_are_no_measurement(numbers: list[int]) -> None:
    with pytest.raises(Unmeasured, match="of 3 events"):
        complete([seen(number) for number in numbers], after=4, until=7)


def test_events_that_all_came_in_order_are_a_measurement() -> None:
    assert [event.lag_ms for event in complete([seen(5), seen(6)], after=4, until=6)] == [250.0, 250.0]


def test_two_holders_are_seen_in_the_events_of_a_user() -> None:
    acquired, released, expired = (f"botfarm.lock.{verb}.v1" for verb in ("acquired", "released", "expired"))

    assert contention.twice_held([acquired, released, acquired, expired, acquired]) == 0
    assert contention.twice_held([acquired, acquired, released]) == 1


def test_two_holders_are_seen_by_the_waiters() -> None:
    tally = Tally(begin_at=0)
    tally.grant("a", 1, asked=0, now=1)

    with pytest.raises(Unmeasured, match="granted to two"):
        tally.grant("a", 2, asked=0, now=2)


@pytest.mark.parametrize(
    ("answered", "asked", "from_answer_ms", "from_sending_ms"),
    [
        (2, 0, 3_000, 4_000),  # it was waiting
        (None, 0, 0, 4_000),  # it knew before the one who gave back
        (2, 4, 1_000, 1_000),  # it came later
    ],
)
def test_a_hand_over_counts_from_the_release_or_from_when_somebody_asked(
    answered: float | None, asked: float, from_answer_ms: float, from_sending_ms: float
) -> None:
    tally = Tally(begin_at=0, holder={"a": 1})
    tally.give_back("a", now=1)
    if answered is not None:
        tally.given_back("a", now=answered)

    tally.grant("a", 2, asked=asked, now=5)
    tally.given_back("a", now=6)  # too late to count for anybody

    assert (tally.from_answer_ms, tally.from_sending_ms) == ([from_answer_ms], [from_sending_ms])
    assert tally.answered == {}


@pytest.mark.parametrize(
    "plan",
    [
        "",
        "->  Index Scan using lock_requests_line on lock_requests q",
        "->  Seq Scan on users u",
        "->  Index Scan using users_login_key on users u",
        "->  Bitmap Heap Scan on users u\n  ->  Bitmap Index Scan on users_available_at",
        f"{BY_INDEX}\n->  Seq Scan on users other",
        f"->  Sort\n  Sort Key: u.login\n  {BY_INDEX}",
    ],
)
def test_a_plan_that_reads_users_in_any_other_way_is_not_by_the_index(plan: str) -> None:
    assert plans.by_index(f"Limit\n  ->  LockRows\n        {BY_INDEX}\n              Filter: x")

    assert not plans.by_index(plan)


@pytest.mark.parametrize(("peer", "hits"), [("cached", 0.5), ("uncached", 0.01)])
def test_reads_from_where_they_should_not_come_are_no_measurement(peer: str, hits: float) -> None:
    reads.insist("cached", hits=0.99)
    reads.insist("uncached", hits=0)

    with pytest.raises(Unmeasured, match="from the cache"):
        reads.insist(peer, hits=hits)


def test_a_percentile_is_a_value_that_was_measured() -> None:
    values = [float(n) for n in range(1, 201)]

    assert [percentiles.percentile(reversed(values), percent) for percent in (0, 50, 99, 100)] == [1, 100, 198, 200]
    assert percentiles.percentile([7.0], 99) == 7
    with pytest.raises(ValueError, match="no values"):
        percentiles.percentile([], 50)


def seen(number: int) -> Seen:
    return Seen(number, "botfarm.lock.acquired.v1", happened_at=10.0, arrived_at=10.25, expires_at=None)


@contextmanager
def answering(content: object) -> Iterator[str]:
    """A service that answers this, whatever it is asked."""
    body = json.dumps(content, separators=(",", ":")).encode()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"] or 0))
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Nobody reads it."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
