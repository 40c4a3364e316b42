"""A Hypothesis state machine over a real database: users, pools, leases, lapses, waiters, quarantine, lost answers."""

import uuid
from collections import Counter
from collections.abc import Callable
from datetime import timedelta
from typing import Any, ClassVar, TypeVar
from uuid import UUID

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from sqlalchemy import Engine, text

from domain import locks, requests, users
from domain.errors import (
    LineAhead,
    LockHeld,
    NoMatchingUser,
    NoUserFree,
    Refusal,
    RequestEnded,
    RequestNotFound,
    UserQuarantined,
)
from domain.locks import Acquire, Grant, Release, Released
from domain.requests import Ask, Detach, Enqueue, Granted, Place, Undo, Viewer
from domain.sealing import KeyRing
from domain.users import Change, NewUser
from tests.line.model import Bot, Model, Unlawful

TTL = timedelta(minutes=10)
EMPTY = """
DELETE FROM users; DELETE FROM outbox; DELETE FROM events; DELETE FROM lock_requests; DELETE FROM homes;
DELETE FROM relay_state; INSERT INTO relay_state DEFAULT VALUES;
"""
# Users that become free at the same moment may be taken in any order, and an example that is run again would then go
# another way, which Hypothesis takes for a defect of the machine. So no two here ever do.
APART = """
CREATE OR REPLACE FUNCTION stand_apart() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.available_at := NEW.available_at - CAST(substr(NEW.login, 5) AS integer) * interval '1 microsecond';
    RETURN NEW;
END $$;
CREATE OR REPLACE TRIGGER stand_apart BEFORE INSERT OR UPDATE OF available_at ON users
    FOR EACH ROW EXECUTE FUNCTION stand_apart();
"""
LAPSE = text("""
UPDATE users SET locktime = locktime - interval '1 day', lock_expires_at = lock_expires_at - interval '1 day',
    available_at = available_at - interval '1 day' WHERE id = :user_id
""")
STORY = text("""
SELECT user_id, array_agg(lock_version ORDER BY lock_version) AS versions,
    array_agg(type ORDER BY lock_version) AS types FROM outbox GROUP BY user_id
""")
HELD = text("SELECT id, lease_id, lock_version FROM users WHERE lock_expires_at > clock_timestamp()")

ENVS = ("stage", "prod")
LABELS: tuple[dict[str, str], ...] = ({}, {"region": "eu"})
WISHES = st.fixed_dictionaries(
    {
        "count": st.sampled_from((1, 1, 2, 2, 3, 4)),
        "env": st.sampled_from((None, None, *ENVS)),
        "labels": st.sampled_from(({}, *LABELS)),
    }
)
T = TypeVar("T")


class Line(RuleBasedStateMachine):
    """Two homes, a handful of users, and everything that may happen to them."""

    engine: Engine  # set by whoever runs the machine
    passed: ClassVar[Counter[str]] = Counter()  # what happened how often, over all examples

    def __init__(self) -> None:
        super().__init__()
        self.model = Model()
        self.homes = [uuid.uuid4(), uuid.uuid4()]
        self.at_home: dict[tuple[str, UUID], UUID] = {}
        self.asked: list[Ask] = []

    def do(self, call: Callable[..., T], *arguments: Any, **named: Any) -> T:
        with self.engine.begin() as conn:
            return call(conn, *arguments, **named)

    @initialize(bots=st.lists(st.tuples(st.sampled_from(ENVS), st.sampled_from(LABELS)), min_size=3, max_size=6))
    def fill(self, bots: list[tuple[str, dict[str, str]]]) -> None:
        self.do(lambda conn: conn.execute(text(EMPTY + APART)))
        for number, (env, labels) in enumerate(bots):
            new = NewUser(f"bot-{number}", env=env, labels=labels)
            user = self.do(users.create, new=new, ring=KeyRing())
            self.model.bots[user.id] = Bot(user.id, env, dict(labels))

    # Asking

    @rule(wish=WISHES)
    def take(self, wish: dict[str, Any]) -> None:
        self._take(self._ask(wish))

    @rule(wish=WISHES, priority=st.sampled_from((0, 0, 5)), home=st.sampled_from((0, 1)))
    def stand_in_line(self, wish: dict[str, Any], priority: int, home: int) -> None:
        self._wait(self._ask(wish, priority=priority), self.homes[home])

    @rule(data=st.data(), home=st.sampled_from((None, 0, 1)))
    def ask_for_one(self, data: st.DataObject, home: int | None) -> None:
        """One particular user: at once, or waiting when that is refused for now."""
        bot = data.draw(st.sampled_from(list(self.model.bots.values())))
        wish = Acquire(bot.id, uuid.uuid4(), "p", "p", TTL)
        (outcome,) = self.do(locks.acquire, [wish])
        ask = Ask(wish.lease_id, "p", "p", TTL, user_id=bot.id)
        match outcome:
            case Grant():
                self.model.grant(ask, [outcome])
            case LockHeld() if bot.lease is None:
                raise Unlawful("a free user is said to be held")
            case UserQuarantined() if bot.active:
                raise Unlawful("an active user is said to be quarantined")
            case LineAhead() if not any(bot in self.model.matching(other) for other in self.model.line):
                raise Unlawful("a user is kept for nobody")
            case LineAhead():
                self.passed["kept for the line"] += 1
        match outcome:
            case LockHeld() | LineAhead() if home is not None:
                self.asked.append(ask)
                self._wait(ask, self.homes[home])

    @rule(data=st.data(), home=st.sampled_from((None, 0, 1)))
    @precondition(lambda self: self.asked)
    def ask_again(self, data: st.DataObject, home: int | None) -> None:
        """The answer was lost: the same call once more, perhaps elsewhere."""
        ask = data.draw(st.sampled_from(self.asked))
        before = {bot.id: bot.lease for bot in self.model.bots.values()}
        held = {user_id for user_id, lease in before.items() if lease == ask.lease_for(user_id)}
        if held and ask.user_id is None:
            outcome = self._outcome(ask, home)
            assert isinstance(outcome, Granted), outcome
            assert {grant.user.id for grant in outcome.grants} == held, "a repeat is told other users"
            assert len(outcome.grants) + len(outcome.lost) == ask.count
            self.passed["repeated"] += 1
        elif any(other.key == ask.key for other in self.model.line) and home is not None:
            self._wait(ask, self.homes[home])

    # Waiting

    @rule(home=st.sampled_from((0, 1)))
    def run_a_pass(self, home: int) -> None:
        self._beat()
        done = self.do(requests.dispatch, home=self.homes[home])
        for handover in done.handovers:
            ask = next(ask for ask in self.model.line if ask.key == handover.key)
            self.model.grant(ask, handover.granted.grants)
            self.passed["granted in line"] += 1
        self._confirm()

    @rule(data=st.data(), gone=st.booleans())
    @precondition(lambda self: self.model.line)
    def stop_waiting(self, data: st.DataObject, gone: bool) -> None:  # noqa: FBT001  -- Hypothesis names it
        ask = data.draw(st.sampled_from(self.model.line))
        (outcome,) = self.do(requests.detach, [Detach(ask, self.at_home[ask.key], gone)])
        assert isinstance(outcome, NoUserFree), outcome
        self.model.leave(ask)

    @rule(data=st.data())
    @precondition(lambda self: self.asked)
    def undo(self, data: st.DataObject) -> None:
        ask = data.draw(st.sampled_from(self.asked))
        self.do(requests.undo, [Undo(ask.key)])
        self._forget(ask)

    @rule(data=st.data())
    @precondition(lambda self: self.asked)
    def cancel(self, data: st.DataObject) -> None:
        """By its own principal, waiting or granted; one that has ended stays as it is."""
        ask = data.draw(st.sampled_from(self.asked))
        held = [bot for bot in self.model.bots.values() if bot.lease == ask.lease_for(bot.id)]
        waits = any(other.key == ask.key for other in self.model.line)
        try:
            ended = self.do(requests.cancel, request_id=ask.request_id, viewer=Viewer("p", own_only=True))
        except (RequestEnded, RequestNotFound):
            assert not waits
            assert not (held and self._was_requested(ask)), "a request with live leases is said to be over"
        else:
            assert {released.user.id for released in ended.released} == {bot.id for bot in held}
            self.passed["cancelled"] += 1
        self._forget(ask)

    def _forget(self, ask: Ask) -> None:
        self.model.leave(ask)
        self.asked.remove(ask)
        for bot in self.model.bots.values():
            if bot.lease is not None and bot.lease == ask.lease_for(bot.id) and self._was_requested(ask):
                bot.lease = self._lease_of(bot)

    # What happens to locks and users

    @rule(data=st.data(), reason=st.sampled_from(("holder", "forced")))
    def release(self, data: st.DataObject, reason: str) -> None:
        bot = data.draw(st.sampled_from(list(self.model.bots.values())))
        lease = None if reason == "forced" else bot.lease
        wish = Release(bot.id, "p", lease, "forced" if reason == "forced" else "holder", note="because")
        (outcome,) = self.do(locks.release, [wish])
        assert isinstance(outcome, Released)
        assert outcome.released == (bot.lease is not None)
        bot.lease = None

    @rule(data=st.data(), swept=st.booleans())
    def lapse(self, data: st.DataObject, swept: bool) -> None:  # noqa: FBT001  -- Hypothesis names it
        bot = data.draw(st.sampled_from(list(self.model.bots.values())))
        if bot.lease is not None:
            self.do(lambda conn: conn.execute(LAPSE, {"user_id": bot.id}))
            bot.lease = None
            self.passed["lapsed"] += 1
        if swept:
            self._sweep()

    @rule(data=st.data())
    def quarantine(self, data: st.DataObject) -> None:
        """Out of service, or back."""
        bot = data.draw(st.sampled_from(list(self.model.bots.values())))
        bot.active = not bot.active
        status = Change({"status": "active" if bot.active else "quarantined"})
        self.do(users.change, user_id=bot.id, to=status, ring=KeyRing(), principal="p")

    @invariant()
    def the_farm_is_as_the_model_says(self) -> None:
        held = {row.id: row.lease_id for row in self.do(lambda conn: conn.execute(HELD).all())}
        assert held == {bot.id: bot.lease for bot in self.model.bots.values() if bot.lease is not None}

    @invariant()
    def every_change_has_its_event(self) -> None:
        for story in self.do(lambda conn: conn.execute(STORY).all()):
            assert story.versions == list(range(1, len(story.versions) + 1))
            holding = False
            for kind in story.types:
                what = kind.split(".")[2]
                assert not (what == "acquired" and holding), "granted while held"
                assert what not in ("released", "expired") or holding, "ended without a grant"
                holding = what == "acquired" or (holding and what not in ("released", "expired"))

    # How it is done

    def _ask(self, wish: dict[str, Any], *, priority: int = 0) -> Ask:
        ask = Ask(uuid.uuid4(), "p", "p", TTL, priority=priority, **wish)
        self.asked.append(ask)
        return ask

    def _take(self, ask: Ask) -> None:
        (outcome,) = self.do(requests.take, [ask])
        self._judge(ask, outcome)

    def _wait(self, ask: Ask, home: UUID) -> None:
        self._beat()
        (outcome,) = self.do(requests.enqueue, [Enqueue(ask, home)])
        if isinstance(outcome, Place):
            self.model.join(ask)
            self.at_home[ask.key] = home
        else:
            self._judge(ask, outcome)

    def _judge(self, ask: Ask, outcome: Granted | Refusal) -> None:
        match outcome:
            case Granted():
                self.model.grant(ask, outcome.grants)
                self.passed["granted at once"] += 1
            case NoMatchingUser():
                assert len(self.model.matching(ask)) < ask.count
            case NoUserFree():
                free = [bot for bot in self.model.matching(ask) if bot.free]
                kept = any(bot in self.model.matching(other) for other in self.model.line for bot in free)
                assert len(free) < ask.count or kept, "refused though enough are free"
                self.passed["refused"] += 1

    def _outcome(self, ask: Ask, home: int | None) -> Granted | Refusal | Place:
        if home is None:
            return self.do(requests.take, [ask])[0]
        return self.do(requests.enqueue, [Enqueue(ask, self.homes[home])])[0]

    def _sweep(self) -> None:
        self.do(locks.expire)
        self._beat()
        assert self.do(requests.sweep) == 0, "nothing is unclaimed here"
        satisfiable = [ask for ask in self.model.line if len(self.model.matching(ask)) >= ask.count]
        assert all(self._attended(ask) for ask in satisfiable)

    def _beat(self) -> None:
        for home in self.homes:
            self.do(requests.beat, home=home)

    def _confirm(self) -> None:
        for home in self.homes:
            self.do(requests.confirm, home=home)

    def _attended(self, ask: Ask) -> bool:
        return self.do(requests.explain, request_id=ask.request_id, viewer=requests.Viewer("p")).state == "waiting"

    def _was_requested(self, ask: Ask) -> bool:
        return ask.user_id is None or ask.key in self.at_home

    def _lease_of(self, bot: Bot) -> UUID | None:
        rows = self.do(lambda conn: conn.execute(HELD).all())
        return next((row.lease_id for row in rows if row.id == bot.id), None)
