"""The primary dies and a standby that lacks its last grants takes over: no token falls or is granted twice."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

from domain.configuration.settings import Settings
from domain.postgres import engines, schema_version
from standalone.servers import data_places
from standalone.servers.postgres import Postgres
from tests.api.farms import LINE, Farm, farming
from tests.chaos.clusters import Node
from tests.chaos.endings import PATIENCE_SECONDS
from tests.chaos.fences import Granted, judge
from tests.patience import eventually

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(PATIENCE_SECONDS)]

EPOCH = "SELECT epoch FROM relay_state"
USERS = 8
JSON_EXACT = 2**53
ROUNDS = 5


@dataclass
class Book:
    """Every grant that a caller was answered: by its token, and by the lock_version, which was the token before."""

    tokens: list[Granted] = field(default_factory=list)
    versions: list[Granted] = field(default_factory=list)

    def add(self, other: "Book") -> None:
        """What was granted at the same time, to other users."""
        self.tokens += other.tokens
        self.versions += other.versions

    def enter(self, user: dict[str, Any]) -> None:
        self.tokens.append(Granted(user["id"], user["lock"]["token"]))
        self.versions.append(Granted(user["id"], user["lock_version"]))

    def rounds(self, farm: Farm, user_ids: list[str], *, count: int = ROUNDS) -> None:
        """Acquire and release each user, by name and out of the pool; then one by waiting in line for it."""
        for _ in range(count):
            for user_id in user_ids:
                self.serve(farm, farm.acquire(user_id))
            answer = farm.pool(count=len(user_ids))
            assert answer.status_code == 200, answer.text
            for lock in answer.json()["users"]:
                self._note(farm, lock)
        self._wait_in_line(farm, user_ids[0])

    def serve(self, farm: Farm, answer: httpx.Response) -> None:
        assert answer.status_code == 200, answer.text
        self._note(farm, answer.json())

    def _note(self, farm: Farm, held: dict[str, Any]) -> None:
        self.enter(held)
        assert farm.release(held["id"], lease_id=held["lease_id"]).status_code == 200

    def _wait_in_line(self, farm: Farm, user_id: str) -> None:
        held = farm.acquire(user_id).json()
        waiting = farm.meanwhile(farm.acquire, user_id, wait_seconds=20)
        assert eventually(lambda: bool(farm.client.get(LINE).json()) or waiting.done())
        self._note(farm, held)
        self.serve(farm, waiting.result())


@dataclass
class Site:
    """A primary and two standbys, the farm's settings, and what was started and must end."""

    primary: Node
    standbys: list[Node]
    settings: Settings
    stack: ExitStack
    folder: Path

    def serve(self, node: Node) -> Farm:
        """An API on that node; its connections stay open until the test ends, whatever becomes of the node."""
        farm = self.stack.enter_context(farming(self.settings.model_copy(update={"database_url": node.url})))
        farm.spoilt = True
        return farm


@pytest.fixture
def site(settings: Settings, tmp_path: Path) -> Iterator[Site]:
    folders = [tmp_path / name for name in ("primary", "first", "second")]
    primary = Node(Postgres(folders[0]))
    nodes = [primary]
    with ExitStack() as stack:
        try:
            primary.server.start()
            engine = engines.engine(primary.url, patience_seconds=None)
            schema_version.upgrade(engine)
            engine.dispose()
            nodes += [primary.follower(folder) for folder in folders[1:]]
            yield Site(primary, nodes[1:], settings, stack, tmp_path)
        finally:
            stack.close()
            for node in nodes:
                node.server.kill()
            for folder in folders:
                data_places.discard(folder)


def test_after_a_failover_that_lost_grants_no_token_falls_or_is_granted_twice(site: Site) -> None:
    first, book = site.standbys[0], Book()
    old = site.serve(site.primary)
    user_ids = [old.new_user()["id"] for _ in range(USERS)]
    book.rounds(old, user_ids, count=1)
    site.primary.await_lag_of(first)
    early = site.serve(first)  # its connections are opened while the server is a standby
    assert early.acquire(user_ids[0]).status_code == 503
    first.cut_off()
    book.rounds(old, user_ids)
    site.primary.server.kill()

    assert first.promote() == 2
    late = site.serve(first)
    with ThreadPoolExecutor(2) as pool:  # two processes, of which neither has a worker; each has half of the users
        halves = [(early, user_ids[::2]), (late, user_ids[1::2])]
        books = [pool.submit(_own_book, farm, half) for farm, half in halves]
    for each in books:
        book.add(each.result())
    book.rounds(late, user_ids, count=1)

    assert judge(book.tokens).clean, judge(book.tokens)
    assert max(grant.token for grant in book.tokens) < JSON_EXACT
    assert first.ask(EPOCH) == 2
    as_before = judge(book.versions)  # the negative control: what tokens were before they held the epoch
    assert as_before.twice
    assert as_before.fallen


def test_a_standby_that_lost_the_new_epoch_as_well_begins_one_above_it(site: Site) -> None:
    first, second = site.standbys
    book = Book()
    farm = site.serve(site.primary)
    user_ids = [farm.new_user()["id"] for _ in range(USERS)]
    book.rounds(farm, user_ids, count=1)
    for standby in site.standbys:
        site.primary.await_lag_of(standby)
    second.cut_off()  # first: a standby that is ahead of where the new timeline begins cannot follow it
    first.cut_off()
    book.rounds(farm, user_ids, count=2)
    site.primary.server.kill()

    first.promote()
    second.follow(first)
    first.await_lag_of(second)
    second.cut_off()
    book.rounds(site.serve(first), user_ids, count=2)  # in epoch 2, of which the second standby knows nothing
    first.server.kill()
    assert second.promote() == 3
    book.rounds(site.serve(second), user_ids, count=2)

    assert judge(book.tokens).clean, judge(book.tokens)
    assert second.ask(EPOCH) == 3
    assert judge(book.versions).twice  # the negative control, as above


def _own_book(farm: Farm, user_ids: list[str]) -> Book:
    book = Book()
    for _ in range(ROUNDS):
        for user_id in user_ids:
            book.serve(farm, farm.acquire(user_id))
    return book
