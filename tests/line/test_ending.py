"""Requests that end while something else happens to them: decided by the locked rows, really raced."""

import functools
import random
import time
import uuid
from collections.abc import Callable, Iterator
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import Connection, Engine

from domain import locks, requests
from domain.errors import NotLockHolder, Refusal, RequestEnded, RequestNotFound
from domain.locks import Grant, Release, Renew
from domain.requests import Cancelled, Enqueue, Granted, Undo, Viewer
from tests import patience
from tests.domain.postgres.threads import together
from tests.line.endings import DEADLOCKS, FOREIGN, LAPSED, LOCK, LONG_AGO, MOVE, OWN, SHORT, TTL, Farm, ask_for
from tests.patience import until


@pytest.fixture
def farm(engine: Engine) -> Iterator[Farm]:
    farm = Farm(engine)
    deadlocks = farm.count(DEADLOCKS)
    yield farm
    assert farm.count(DEADLOCKS) == deadlocks


def _move(user_id: UUID, project_id: UUID = FOREIGN) -> Callable[[Connection], object]:
    return lambda conn: conn.execute(MOVE, {"project_id": project_id, "user_id": user_id})


def test_a_request_that_is_granted_just_as_its_principal_ends_it_is_released(farm: Farm) -> None:
    farm.new_users(1)
    ask = ask_for()
    farm.stand(ask)

    outcome = farm.while_held(lambda conn: requests.dispatch(conn, home=farm.home), lambda: farm.cancel(ask.request_id))

    assert isinstance(outcome, Cancelled)
    assert len(outcome.released) == 1
    assert farm.events() == [("acquired", None, "p"), ("released", "holder", "p")]
    assert isinstance(farm.cancel(ask.request_id), RequestEnded)


def test_a_request_that_is_granted_just_as_an_admin_cancels_it_keeps_its_lock(farm: Farm) -> None:
    (user_id,) = farm.new_users(1)
    ask = ask_for()
    farm.stand(ask)

    outcome = farm.while_held(
        lambda conn: requests.dispatch(conn, home=farm.home),
        lambda: farm.cancel(ask.request_id, viewer=Viewer("admin")),
    )

    assert isinstance(outcome, NotLockHolder)
    assert farm.held() == [user_id]


@pytest.mark.parametrize("reason", [None, "stuck"])
def test_a_lease_that_lapses_while_its_end_waits_has_expired_and_was_not_released(
    farm: Farm, reason: str | None
) -> None:
    (user_id,) = farm.new_users(1)
    request_id = farm.take(ttl=SHORT).request_id
    viewer = None if reason is None else Viewer("admin")

    outcome = farm.while_held(
        lambda conn: conn.execute(LOCK, {"user_id": user_id}),
        lambda: farm.cancel(request_id, viewer=viewer, force_reason=reason),
        then=lambda: until(
            lambda: farm.do(lambda conn: conn.execute(LAPSED, {"user_id": user_id}).scalar_one()), what="the lapse"
        ),
    )

    assert isinstance(outcome, RequestEnded)
    assert farm.events() == [("acquired", None, "p")]


def test_a_user_that_moves_away_while_an_admin_forces_its_request_stays_locked(farm: Farm) -> None:
    user_ids = farm.new_users(2)
    request_id = farm.take(count=2).request_id
    admin = Viewer("admin", projects=[OWN])

    outcome = farm.while_held(_move(user_ids[0]), lambda: farm.cancel(request_id, viewer=admin, force_reason="stuck"))

    assert isinstance(outcome, Cancelled)
    assert [released.user.id for released in outcome.released] == [user_ids[1]]
    assert farm.held() == [user_ids[0]]
    assert farm.events()[2:] == [("released", "forced", "admin")]


@pytest.mark.parametrize(
    ("principal", "reason", "refusal"), [("admin", "stuck", RequestNotFound), ("p", None, RequestEnded)]
)
def test_when_all_users_move_away_meanwhile_nothing_is_ended(
    farm: Farm, principal: str, reason: str | None, refusal: type[Refusal]
) -> None:
    (user_id,) = farm.new_users(1)
    request_id = farm.take().request_id
    viewer = Viewer(principal, projects=[OWN])

    outcome = farm.while_held(_move(user_id), lambda: farm.cancel(request_id, viewer=viewer, force_reason=reason))

    assert isinstance(outcome, refusal)
    assert farm.held() == [user_id]


def test_of_a_cancel_and_a_release_at_the_same_moment_one_ends_the_lock(farm: Farm) -> None:
    (user_id,) = farm.new_users(1)
    for _ in range(30):
        granted = farm.take()
        release = Release(user_id, "p", granted.grants[0].lease_id)
        before = len(farm.events())

        cancelling: Callable[[], Any] = functools.partial(farm.cancel, granted.request_id)
        releasing: Callable[[], Any] = functools.partial(farm.do, locks.release, [release])
        cancelled, (released,) = together([cancelling, releasing])

        assert isinstance(cancelled, Cancelled | RequestEnded)
        assert isinstance(released, locks.Released)
        assert isinstance(cancelled, Cancelled) != released.released
        assert farm.events()[before:] == [("released", "holder", "p")]


def test_of_two_cancels_at_the_same_moment_one_finds_the_request_ended(farm: Farm) -> None:
    farm.new_users(3)
    admin = Viewer("admin")
    for _ in range(30):
        granted = farm.take(count=3)
        before = len(farm.events())

        outcomes = together(
            [
                functools.partial(farm.cancel, granted.request_id),
                functools.partial(farm.cancel, granted.request_id, viewer=admin, force_reason="stuck"),
            ]
        )

        assert {type(outcome) for outcome in outcomes} == {Cancelled, RequestEnded}
        how = ("holder", "p") if isinstance(outcomes[0], Cancelled) else ("forced", "admin")
        assert farm.events()[before:] == [("released", *how)] * 3


def test_ending_a_request_waits_for_no_user_that_it_no_longer_has(farm: Farm) -> None:
    """Whoever holds the row of a user that is free may itself wait for this request."""
    farm.new_users(2)
    granted = farm.take(count=2)
    gone, kept = granted.grants
    farm.do(locks.release, [Release(gone.user.id, "p", gone.lease_id)])

    with farm.engine.begin() as busy:
        busy.execute(LOCK, {"user_id": gone.user.id})
        by_cancel = together([functools.partial(farm.cancel, granted.request_id)])

    assert [released.user.id for released in _cancelled(by_cancel[0]).released] == [kept.user.id]


@pytest.mark.parametrize("how", ["undo", "sweep"])
def test_undoing_waits_for_no_user_that_the_request_no_longer_has(farm: Farm, how: str) -> None:
    (user_id,) = farm.new_users(1)
    ask = ask_for()
    farm.stand(ask)
    farm.do(requests.dispatch, home=None)
    farm.do(locks.release, [Release(user_id, "p", ask.lease_for(user_id))])
    farm.do(lambda conn: conn.execute(LONG_AGO))

    def undo() -> object:
        return farm.do(requests.undo, [Undo(ask.key)]) if how == "undo" else farm.do(requests.sweep)

    with farm.engine.begin() as busy:
        busy.execute(LOCK, {"user_id": user_id})
        together([undo])

    assert farm.events() == [("acquired", None, "p"), ("released", "holder", "p")]


def test_a_grant_that_nobody_fetched_and_that_was_ended_does_not_come_back_in_line(farm: Farm) -> None:
    farm.new_users(1)
    ask = ask_for()
    farm.stand(ask)
    farm.do(requests.dispatch, home=None)

    assert isinstance(farm.cancel(ask.request_id), Cancelled)
    farm.do(lambda conn: conn.execute(LONG_AGO))
    assert farm.do(requests.sweep) == 0

    assert isinstance(farm.do(requests.enqueue, [Enqueue(ask, farm.home)])[0], RequestEnded)
    assert isinstance(farm.do(requests.take, [ask])[0], RequestEnded)
    late = farm.do(requests.undo, [Undo(ask.key, unless_claimed=True)])
    assert isinstance(late[0], RequestNotFound), "an undo must not make the service forget what was ended"
    assert isinstance(farm.cancel(ask.request_id), RequestEnded)


def test_an_undo_that_comes_late_spares_a_later_grant_of_the_same_request(farm: Farm) -> None:
    (user_id,) = farm.new_users(1)
    first = farm.take()
    undo = Undo(("p", first.request_id), unless_claimed=True, granted_at=first.granted_at)
    assert farm.do(requests.undo, [undo]) == [True]
    again = farm.take(request_id=first.request_id)
    assert again.grants[0].lease_id == first.grants[0].lease_id, "only the moment of the grant tells them apart"

    (late,) = farm.do(requests.undo, [undo])

    assert isinstance(late, RequestNotFound)
    assert farm.held() == [user_id]
    assert farm.events() == [("acquired", None, "p"), ("released", "unclaimed", "p"), ("acquired", None, "p")]


def test_an_undo_of_a_grant_leaves_a_place_in_line(farm: Farm) -> None:
    farm.new_users(1)
    granted = farm.take()
    ask = ask_for()
    farm.stand(ask)

    (outcome,) = farm.do(requests.undo, [Undo(ask.key, granted_at=granted.granted_at)])

    assert isinstance(outcome, RequestNotFound)
    assert farm.do(requests.busy)


def test_an_undo_spares_users_that_the_request_has_lost_to_another(farm: Farm) -> None:
    lost, _ = farm.new_users(2)
    granted = farm.take(count=2)
    lease_id = next(grant.lease_id for grant in granted.grants if grant.user.id == lost)
    farm.do(locks.release, [Release(lost, "p", lease_id)])
    taken = farm.do(locks.acquire, [locks.Acquire(lost, uuid.uuid4(), "q", "q", TTL)])
    assert isinstance(taken[0], Grant)

    farm.do(requests.undo, [Undo(("p", granted.request_id))])

    assert farm.held() == [lost]


def test_a_lock_is_not_forced_out_without_saying_why() -> None:
    for note in (None, ""):
        with pytest.raises(ValueError, match="says why"):
            Release(uuid.uuid4(), "admin", reason="forced", note=note)


def test_only_force_ends_the_lease_of_another_holder() -> None:
    with pytest.raises(ValueError, match="only force"):
        Release(uuid.uuid4(), "admin", uuid.uuid4(), holder="p")
    with pytest.raises(ValueError, match="only force"):
        Release(uuid.uuid4(), "admin", reason="forced", note="stuck", holder="p")


def test_force_by_lease_never_touches_the_next_holder(farm: Farm) -> None:
    (user_id,) = farm.new_users(1)
    first = farm.take().grants[0]
    farm.do(locks.release, [Release(user_id, "p", first.lease_id)])
    farm.take()

    late = Release(user_id, "admin", first.lease_id, reason="forced", note="stuck", holder="p")
    (outcome,) = farm.do(locks.release, [late])

    assert isinstance(outcome, locks.Released)
    assert not outcome.released
    assert farm.held() == [user_id]


def test_a_crowd_that_takes_ends_undoes_and_releases_never_deadlocks(farm: Farm) -> None:
    farm.new_users(8)
    began = time.monotonic()
    ended: list[int] = []

    def going() -> bool:
        """For 4 s, and on until enough has happened: on a busy machine that takes longer."""
        lasted = time.monotonic() - began
        return lasted < 4 or (sum(ended) <= 50 and lasted < patience.limit(30))

    def work(number: int) -> None:
        rng = random.Random(number)
        while going():
            ask = ask_for(count=rng.choice((1, 2, 4)))
            if rng.random() < 0.3:
                farm.stand(ask)
                farm.do(requests.dispatch, home=farm.home)
            (granted,) = farm.do(requests.take, [ask])
            if not isinstance(granted, Granted):
                farm.cancel(ask.request_id)
                continue
            _use(farm, granted, rng)
            if rng.random() < 0.2:
                farm.do(requests.undo, [Undo(ask.key)])
                continue
            viewer, reason = rng.choice(
                ((Viewer("p", own_only=True), None), (Viewer("admin"), "stuck"), (Viewer("admin"), None))
            )
            outcome = farm.cancel(ask.request_id, viewer=viewer, force_reason=reason)
            ended.append(isinstance(outcome, Cancelled))
            farm.do(requests.undo, [Undo(ask.key)])

    def sweep() -> None:
        while going():
            farm.do(requests.sweep)
            farm.do(requests.beat, home=farm.home)
            time.sleep(0.01)

    workers: list[Callable[[], None]] = [functools.partial(work, number) for number in range(12)]
    together([*workers, sweep])

    assert sum(ended) > 50
    assert farm.held() == []
    assert farm.blame() == {("holder", "p", None), ("forced", "admin", "stuck"), ("unclaimed", "p", None)}


def _use(farm: Farm, granted: Granted, rng: random.Random) -> None:
    """Renew all leases in one batch, then perhaps release some."""
    leases = [(grant.user.id, grant.lease_id) for grant in granted.grants]
    rng.shuffle(leases)
    farm.do(locks.renew, [Renew(user_id, lease_id, "p", TTL) for user_id, lease_id in leases])
    if rng.random() < 0.5:
        farm.do(locks.release, [Release(user_id, "p", lease_id) for user_id, lease_id in leases[:2]])


def _cancelled(outcome: Cancelled | Refusal) -> Cancelled:
    assert isinstance(outcome, Cancelled), outcome
    return outcome
