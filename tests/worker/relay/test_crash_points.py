"""Every call that a relay makes to Postgres or Redis is once the last one before it dies.

The points are found by counting, not by a list: the relay dies before its n-th call for n = 1, 2, 3 … until one comes
through unharmed. To the servers, death after a call is death before the next. After each a fresh relay goes on, and the
ledger must be clean.
"""

import contextlib
from collections.abc import Callable

import pytest
from sqlalchemy import text

from tests.worker.farms import Farm, Outsider
from tests.worker.relay.deaths import Death, Died, mortal
from tests.worker.relay.turns import settle
from worker.relay.relay import Relay

MakeRelay = Callable[..., Relay]
Trouble = Callable[[Farm, Outsider], None]

MOST_POINTS = 200
ROUND = 3  # changes before each death
IDLE = 3  # putting a stream right takes a turn or two in which nothing is appended


def nothing(farm: Farm, outsider: Outsider) -> None:
    pass


def deleted(farm: Farm, outsider: Outsider) -> None:
    outsider.client.delete(outsider.key)


def cut(farm: Farm, outsider: Outsider) -> None:
    outsider.cut(2)


def lost(farm: Farm, outsider: Outsider) -> None:
    outsider.lose(2)


def foreign(farm: Farm, outsider: Outsider) -> None:
    outsider.client.xadd(outsider.key, {"hello": "world"})


def forgotten_watermark(farm: Farm, outsider: Outsider) -> None:
    with farm.engine.begin() as conn:
        conn.execute(text("UPDATE relay_state SET published_seq = published_seq - 2"))


def set_back(farm: Farm, outsider: Outsider) -> None:
    farm.set_back(to_seq=farm.state.last_seq - 2)


def restored(farm: Farm, outsider: Outsider) -> None:
    with farm.engine.begin() as conn:
        conn.execute(text("UPDATE relay_state SET incarnation = 'another machine'"))


@pytest.fixture
def deaths(
    database_url: str, redis_url: str, redis_prefix: str, farm: Farm, make_relay: MakeRelay, outsider: Outsider
) -> Callable[..., list[str]]:
    """Let relays die at one point after another; the calls of the one that came through."""

    def die(*, trouble: Trouble, judge: Callable[[int], None]) -> list[str]:
        farm.change(20)
        settle(make_relay())
        for number in range(1, MOST_POINTS):
            trouble(farm, outsider)
            kept = farm.state.last_seq
            (farm.grow if trouble is restored else farm.change)(ROUND)  # a grant would adopt before the relay does
            death = Death(number)
            dying = mortal(database_url, redis_url, prefix=redis_prefix, death=death)
            with dying as relay, contextlib.suppress(Died):
                settle(relay, idle_turns=IDLE)
            settle(make_relay(), idle_turns=IDLE)
            judge(kept)
            if not death.dead:
                return death.calls
        raise AssertionError("no relay came through")

    return die


@pytest.mark.parametrize(
    "trouble", [nothing, deleted, cut, lost, foreign, forgotten_watermark], ids=lambda trouble: trouble.__name__
)
def test_wherever_a_relay_dies_every_change_is_published_once(
    trouble: Trouble, deaths: Callable[..., list[str]], farm: Farm, outsider: Outsider
) -> None:
    def judge(_: int) -> None:
        assert outsider.entries() == farm.numbered()
        assert farm.state.published_seq == farm.state.last_seq == len(outsider.entries())
        assert farm.state.epoch == 1

    calls = deaths(trouble=trouble, judge=judge)

    assert {"do_commit", "redis EVALSHA"} <= set(calls)
    assert any("WITH batch AS" in call for call in calls)
    assert any("UPDATE relay_state" in call for call in calls)


@pytest.mark.parametrize("trouble", [set_back, restored], ids=lambda trouble: trouble.__name__)
def test_wherever_a_relay_dies_a_rewound_database_gets_one_new_epoch(
    trouble: Trouble, deaths: Callable[..., list[str]], farm: Farm, outsider: Outsider
) -> None:
    body, epochs = [20], [1]  # entries on the stream, and the epoch, before each death

    def judge(kept: int) -> None:
        assert outsider.entries()[body[-1] :] == farm.numbered()[kept:]
        assert farm.state.epoch == epochs[-1] + 1
        body.append(len(outsider.entries()))
        epochs.append(farm.state.epoch)

    calls = deaths(trouble=trouble, judge=judge)

    raising = "SELECT FROM relay_state" if trouble is restored else "INSERT INTO epochs"
    assert any(raising in call for call in calls)


def test_a_relay_without_a_watermark_of_its_own_would_be_found_out(
    farm: Farm, make_relay: MakeRelay, outsider: Outsider
) -> None:
    """The comparison itself: one entry that was written twice, as after a crash that nobody looks at."""
    farm.change(5)
    settle(make_relay())
    entry_id, body = outsider.entries()[-1]
    seq = int(entry_id.partition("-")[2])

    outsider.client.xadd(outsider.key, {"e": body}, id=f"1-{seq + 1}")

    assert outsider.entries() != farm.numbered()
