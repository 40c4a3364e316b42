"""Epochs: one history is told from another, and the relay's place never goes back."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import Connection, Engine, text

from domain.events import epochs, feed, outbox
from domain.events.epochs import Look, State
from domain.postgres import engines
from tests.domain.farms import Farm
from tests.domain.postgres.threads import together


def numbered(farm: Farm, count: int, *, published: int) -> None:
    """`count` numbered events, the first `published` of them on the stream."""
    farm.add_many(count)
    farm.do(lambda conn: outbox.sequence(conn, limit=1_000))
    farm.do(lambda conn: epochs.advance(conn, epoch=1, published_seq=published))


def note(farm: Farm, incarnation: str) -> None:
    """Let the state be about another database."""
    farm.do(lambda conn: conn.execute(text("UPDATE relay_state SET incarnation = :noted"), {"noted": incarnation}))


def own(engine: Engine, work: Callable[[Connection], bool]) -> bool:
    with engine.begin() as conn:
        return work(conn)


def epochs_of_events(farm: Farm) -> list[int]:
    return farm.do(lambda conn: list(conn.execute(text("SELECT epoch FROM events ORDER BY seq")).scalars()))


def test_a_new_farm_is_in_its_first_epoch_before_its_first_event(own_farm: Farm) -> None:
    assert own_farm.do(epochs.read) == State(epoch=1, incarnation=None, last_seq=0, published_seq=0)


def test_the_watermark_advances_and_never_goes_back(own_farm: Farm) -> None:
    numbered(own_farm, 5, published=3)

    own_farm.do(lambda conn: epochs.advance(conn, epoch=1, published_seq=2))
    after_slow = own_farm.do(epochs.read).published_seq
    own_farm.do(lambda conn: epochs.advance(conn, epoch=1, published_seq=4))

    assert (after_slow, own_farm.do(epochs.read).published_seq) == (3, 4)


def test_a_relay_of_an_older_epoch_moves_no_watermark(own_farm: Farm) -> None:
    numbered(own_farm, 5, published=3)
    own_farm.do(lambda conn: epochs.start(conn, epoch=2))

    own_farm.do(lambda conn: epochs.advance(conn, epoch=1, published_seq=5))

    assert own_farm.do(epochs.read).published_seq == 3


def test_a_new_epoch_begins_after_the_last_published_event_and_takes_over_the_others(own_farm: Farm) -> None:
    numbered(own_farm, 5, published=3)

    first_seq = own_farm.do(lambda conn: epochs.start(conn, epoch=2))

    assert first_seq == 4
    assert epochs_of_events(own_farm) == [1, 1, 1, 2, 2]
    assert own_farm.do(epochs.read).epoch == 2


def test_numbers_go_on_across_epochs(own_farm: Farm) -> None:
    numbered(own_farm, 2, published=2)
    own_farm.do(lambda conn: epochs.start(conn, epoch=2))

    own_farm.add_many(2)
    own_farm.do(lambda conn: outbox.sequence(conn, limit=10))

    assert epochs_of_events(own_farm) == [1, 1, 2, 2]
    assert own_farm.do(epochs.read).last_seq == 4


def test_an_epoch_that_has_begun_is_not_begun_again(own_farm: Farm) -> None:
    numbered(own_farm, 5, published=3)
    own_farm.do(lambda conn: epochs.start(conn, epoch=2))
    own_farm.do(lambda conn: epochs.advance(conn, epoch=2, published_seq=5))

    own_farm.do(lambda conn: epochs.start(conn, epoch=2))
    own_farm.do(lambda conn: epochs.start(conn, epoch=1))

    assert own_farm.do(epochs.read).epoch == 2
    assert epochs_of_events(own_farm) == [1, 1, 1, 2, 2]


def test_an_epoch_may_be_skipped(own_farm: Farm) -> None:
    numbered(own_farm, 3, published=2)

    own_farm.do(lambda conn: epochs.start(conn, epoch=5))

    assert epochs_of_events(own_farm) == [1, 1, 5]


def test_every_number_belongs_to_the_epoch_that_holds_it(own_farm: Farm) -> None:
    numbered(own_farm, 5, published=3)
    own_farm.do(lambda conn: epochs.start(conn, epoch=2))

    held = own_farm.do(lambda conn: [epochs.of_seq(conn, seq=seq) for seq in range(6)])

    assert held == [1, 1, 1, 1, 2, 2]
    assert str(own_farm.do(lambda conn: feed.at(conn, seq=4))) == "2-4"


@pytest.mark.parametrize("published", range(6))
def test_a_look_tells_the_state_and_the_epoch_that_holds_the_watermark(own_farm: Farm, published: int) -> None:
    numbered(own_farm, 5, published=3)
    own_farm.do(lambda conn: epochs.start(conn, epoch=2))
    own_farm.do(lambda conn: conn.execute(text(f"UPDATE relay_state SET published_seq = {published}")))

    looks = [own_farm.do(epochs.look), own_farm.do(epochs.lock_and_look)]

    expected = Look(
        State(epoch=2, incarnation=None, last_seq=5, published_seq=published),
        found=own_farm.do(epochs.incarnation),
        published_epoch=own_farm.do(lambda conn: epochs.of_seq(conn, seq=published)),
    )
    assert looks == [expected, expected]
    assert expected.published_epoch == (1 if published <= 3 else 2)


def test_a_look_knows_the_database_that_was_adopted_and_no_other(own_farm: Farm) -> None:
    unknown = own_farm.do(epochs.look)
    own_farm.do(epochs.adopt)
    known = own_farm.do(epochs.look)
    note(own_farm, "1/00000002/1")
    another = own_farm.do(epochs.look)

    assert [look.known for look in (unknown, known, another)] == [False, True, False]


def test_the_first_incarnation_is_noted_without_a_new_epoch(own_farm: Farm) -> None:
    found = own_farm.do(epochs.incarnation)

    raised = own_farm.do(epochs.adopt)

    assert not raised
    assert own_farm.do(epochs.read) == State(epoch=1, incarnation=found, last_seq=0, published_seq=0)


def test_the_same_incarnation_changes_nothing(own_farm: Farm) -> None:
    own_farm.do(epochs.adopt)

    raised = own_farm.do(epochs.adopt)

    assert not raised
    assert own_farm.do(epochs.read).epoch == 1


def test_another_incarnation_raises_the_epoch_once(own_farm: Farm) -> None:
    numbered(own_farm, 3, published=2)
    found = own_farm.do(epochs.incarnation)
    note(own_farm, "1/00000001/1")

    raised = together([lambda: own_farm.do(epochs.adopt)] * 4)

    assert sorted(raised) == [False, False, False, True]
    assert own_farm.do(epochs.read) == State(epoch=2, incarnation=found, last_seq=3, published_seq=2)
    assert epochs_of_events(own_farm) == [1, 1, 2]
    assert str(own_farm.do(lambda conn: feed.at(conn, seq=3))) == "2-3"


def test_an_epoch_is_adopted_whole_on_a_connection_that_autocommits(own_farm: Farm) -> None:
    numbered(own_farm, 3, published=2)
    note(own_farm, "1/00000001/1")
    url = own_farm.engine.url.render_as_string(hide_password=False)
    single = engines.engine(url, pool_size=4, autocommit=True, prepare=True)

    raised = together([lambda: own(single, epochs.adopt)] * 4)

    single.dispose()
    assert sorted(raised) == [False, False, False, True]
    assert own_farm.do(epochs.read).epoch == 2
    assert epochs_of_events(own_farm) == [1, 1, 2]


def test_an_adoption_waits_for_the_numbers_that_are_being_given_and_takes_them_over(own_farm: Farm) -> None:
    """The numbers are seen although they were committed after the adoption began to wait."""
    own_farm.add_many(3)
    note(own_farm, "1/00000001/1")
    with own_farm.engine.begin() as relay, ThreadPoolExecutor(1) as pool:
        outbox.sequence(relay, limit=10)
        adoption = pool.submit(own_farm.do, epochs.adopt)
        own_farm.await_waiting()
        relay.commit()

    assert adoption.result()
    assert epochs_of_events(own_farm) == [2, 2, 2]


@pytest.mark.parametrize(
    ("noted", "epoch"),
    [
        ("{cluster}/{timeline:08X}/1", 4),  # copied within the cluster
        ("{cluster}/{earlier:08X}/{oid}", 3 + 2),  # promoted by way of a server that was promoted as well
        ("1/000000FF/1", 4),  # restored in another cluster, whose timelines say nothing here
        ("another machine", 4),
    ],
)
def test_the_epoch_rises_by_as_much_as_the_timeline_did(own_farm: Farm, noted: str, epoch: int) -> None:
    cluster, timeline, oid = own_farm.do(epochs.incarnation).split("/")
    now = int(timeline, 16)
    own_farm.do(lambda conn: epochs.start(conn, epoch=3))
    # Timelines begin at 1; as 32 bits, -1 stands two before it.
    note(own_farm, noted.format(cluster=cluster, timeline=now, earlier=(now - 2) % 2**32, oid=oid))

    own_farm.do(epochs.adopt)

    assert own_farm.do(epochs.read).epoch == epoch


def test_a_copy_of_the_database_is_another_incarnation(own_farm: Farm, shared_engine: Engine) -> None:
    with shared_engine.connect() as conn:
        copy = epochs.incarnation(conn)

    here = own_farm.do(epochs.incarnation)

    assert here != copy
    assert here.split("/")[:2] == copy.split("/")[:2]
    assert here == own_farm.do(epochs.incarnation)


def test_the_relays_sign_of_life_has_an_age(own_farm: Farm) -> None:
    never = own_farm.do(epochs.beat_age)

    own_farm.do(epochs.beat)

    age = own_farm.do(epochs.beat_age)
    assert never is None
    assert age is not None
    assert 0 <= age < 30


@pytest.mark.parametrize("lock", [epochs.lock, epochs.lock_and_look])
def test_the_state_is_locked_against_a_second_relay_until_the_transaction_ends(
    own_farm: Farm, lock: Callable[[Connection], object]
) -> None:
    with own_farm.engine.begin() as first:
        lock(first)
        skipped = own_farm.do(
            lambda conn: conn.execute(text("SELECT id FROM relay_state FOR UPDATE SKIP LOCKED")).all()
        )

    assert skipped == []
    assert own_farm.do(epochs.lock).last_seq == 0
