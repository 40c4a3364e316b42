"""The play in its scenes, and the books that come out of it."""

import contextlib
import time
from collections.abc import Callable
from pathlib import Path

import httpx
from rich.console import Console

from demo import consumer, farm, leases, ledger, scenes
from demo.answers import KEEPALIVE_SECONDS
from demo.consumer import Consumer
from demo.crowds import Crowd
from demo.events import CHANGES, Event
from demo.farm import Farm
from demo.journals import Journals
from demo.ledger import Books
from demo.options import Options
from demo.report import Outcome
from demo.servers import Server

PATIENCE_SECONDS = 30.0
POLL_SECONDS = 0.1
OVERTIME_SECONDS = 30.0  # for clients that hang
EXPIRY_SECONDS = 20.0  # the longest lease, and the sweep that follows its lapse
CATCH_UP_SECONDS = 15.0
SETTLE_SECONDS = 0.5  # what is told twice may be told late


def perform(console: Console, options: Options, *, server: Server, folder: Path) -> Outcome:
    """Raises DemoError or httpx.HTTPError when it cannot be played to its end."""
    with _http(server) as http, contextlib.ExitStack() as stack:
        start = consumer.latest(http)
        key = f"{server.redis_prefix}events"
        reader = stack.enter_context(Consumer(server.redis_url, key=key, after=start))
        crowd = stack.enter_context(Crowd(size=options.clients, seconds=options.seconds, folder=folder))
        journals = Journals(folder)
        loaded = _load(console, http)
        _gather(console, crowd, api_url=server.api_url, loaded=loaded, size=options.clients)
        _work(console, crowd, journals, seconds=options.seconds)
        problems = crowd.problems()
        _await_expiries(console, crowd, journals, reader)
        stream, feed = _both_sides(console, http, reader, after=start)
        books = Books(journals.entries, stream, feed, frozenset(loaded.created), crowd.killed, start)
        problems += reader.problems
    return Outcome(books, ledger.check(books), problems, options.seconds, options.clients, options.server is None)


def _load(console: Console, http: httpx.Client) -> Farm:
    users = farm.rows()
    with scenes.counting(console, f"Loading {len(users):,} bot users", total=len(users)) as show:
        loaded = farm.load(http, users, loaded=lambda done: show(done, f"{done:,}"))
        show(len(users), f"{len(loaded.created):,} created, {len(loaded.already):,} there already")
    return loaded


def _gather(console: Console, crowd: Crowd, *, api_url: str, loaded: Farm, size: int) -> None:
    with scenes.waiting(console, f"Starting {size} clients") as note:
        crowd.start(api_url=api_url, users=loaded.users)
        note("a process each")


def _work(console: Console, crowd: Crowd, journals: Journals, *, seconds: float) -> None:
    with scenes.counting(console, "Locking, renewing, releasing", total=seconds) as show:
        crowd.go()
        began = time.monotonic()
        while crowd.busy and (spent := time.monotonic() - began) < seconds + OVERTIME_SECONDS:
            time.sleep(POLL_SECONDS)
            show(spent, _tally(crowd, journals, seconds=min(spent, seconds)))
        show(seconds, _tally(crowd, journals, seconds=seconds))


def _tally(crowd: Crowd, journals: Journals, *, seconds: float) -> str:
    changes = sum(entry.outcome in CHANGES for entry in journals.read())
    rate = changes / max(seconds, POLL_SECONDS)
    return f"{changes:,} changes, {rate:,.0f}/s, [red]{len(crowd.killed)} killed[/]"


def _await_expiries(console: Console, crowd: Crowd, journals: Journals, reader: Consumer) -> None:
    left = ledger.left_behind(leases.of_entries(journals.read()), crowd.killed)
    with scenes.counting(console, "Locks left behind expire", total=len(left)) as show:

        def expired() -> bool:
            missing = len(ledger.unexpired(left, list(reader.events)))
            show(len(left) - missing, f"{len(left) - missing} of {len(left)}")
            return missing == 0

        _until(expired, seconds=EXPIRY_SECONDS)


def _both_sides(
    console: Console, http: httpx.Client, reader: Consumer, *, after: str
) -> tuple[list[Event], list[Event]]:
    """What stream and feed tell up to one place. Others may be at work too: neither side's end is ours to choose."""
    with scenes.waiting(console, "Comparing journals and events") as note:
        feed = consumer.read_feed(http, after=after)
        end = feed[-1:]
        _until(lambda: all(map(reader.reached, end)), seconds=CATCH_UP_SECONDS)
        time.sleep(SETTLE_SECONDS)
        stream = list(reader.events)
        feed += consumer.read_feed(http, after=feed[-1].cursor if feed else after)
        last = max((event.place for event in (*stream[-1:], *end)), default=(0, 0))
        note(f"{len(stream):,} events")
    return stream, [event for event in feed if event.place <= last]


def _until(reached: Callable[[], bool], *, seconds: float) -> None:
    """Return when it is so, or when the time is up: the ledger tells then what is missing."""
    deadline = time.monotonic() + seconds
    while not reached() and time.monotonic() < deadline:
        time.sleep(POLL_SECONDS)


def _http(server: Server) -> httpx.Client:
    limits = httpx.Limits(keepalive_expiry=KEEPALIVE_SECONDS)
    return httpx.Client(base_url=f"{server.api_url}/api/v1/", timeout=PATIENCE_SECONDS, limits=limits)
