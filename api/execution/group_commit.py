"""Group commit: lock changes that arrive together are made together.

A request a transaction costs several round trips and one fsync each. Here the requests that arrive while the previous
batch is under way form the next one and are executed as ONE statement, which is its own transaction. There is no timer:
an idle service sends a batch of one at once, under load the batches grow by themselves. A few lanes (tasks, each with a
connection) work side by side on the event loop: a thread would compete with the loop for the interpreter.

What keeps that honest:

- An outcome is handed out only after its statement, and thereby its transaction, has returned.
- One bad request never fails its neighbours: after a data error the requests of a batch run one at a time.
- A lane that lost its connection runs its batch once more. The lease ids are fixed beforehand, so what the first
  try did commit is recognised.
- A caller waits four seconds at most. A grant that came too late for its caller is undone, unless the caller chose
  the lease id and may ask for it again.
- The queue is bounded. What does not fit is refused at once, not later.

Source: the group commit of D. DeWitt et al., "Implementation techniques for main memory database systems" (1984).
"""

import asyncio
import contextlib
import itertools
from collections import defaultdict, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Engine

from api.execution.deadlines import Deadlines
from domain import locks, log, requests
from domain.errors import DatabaseUnavailable, Overloaded
from domain.locks import Acquire, Release, Renew, quotas
from domain.postgres import engines, event_loop
from domain.requests import Ask, Claim, Detach, Enqueue, Undo

Request = Any  # a key of the verbs
Outcome = Any  # what the verb says was done, a Refusal, or another Exception
Verb = Callable[..., Sequence[Outcome]]

LOCK_VERBS: dict[type[Request], Verb] = {
    Acquire: locks.acquire,
    Renew: locks.renew,
    Release: locks.release,
}
# Acquire here is for principals with a limit of locks: they are counted in a statement before.
REQUEST_VERBS: dict[type[Request], Verb] = {
    Acquire: quotas.acquire,
    Release: locks.release,
    Ask: requests.take,
    Enqueue: requests.enqueue,
    Detach: requests.detach,
    Claim: requests.claim,
    Undo: requests.undo,
}
TRIES = 2
SETTLE_TURNS = 3  # with fewer, batches at 32 clients were so small that Postgres paid for it; six gave no more
UNDO_PAUSE_SECONDS = 1.0
UNDO_TRIES = 10

log_ = log.get(__name__)


@dataclass(eq=False, slots=True)
class _Call:
    """One caller's requests, their number in the order of arrival, and where their outcomes are awaited."""

    requests: Sequence[Request]
    undo: bool
    number: int
    outcomes: asyncio.Future[Sequence[Outcome]]


@dataclass(eq=False, slots=True)
class _Undo:
    """A grant that nobody waits for any more. Its statement may still be under way, so one look is not enough."""

    request: Release | Undo
    tries_left: int = UNDO_TRIES


@dataclass(eq=False)
class GroupCommit:
    """Executes requests in batches on `lanes` connections, each batch of one verb and in a transaction of its own.

    It belongs to the loop on which it was started. The engine needs one connection more than there are lanes. Where
    each verb is a single statement it should autocommit. `after_commit` is called with the outcomes of each batch, once
    they are certain; should it fail, that is logged and nothing else.
    """

    engine: Engine
    verbs: Mapping[type[Request], Verb] = field(default_factory=lambda: LOCK_VERBS)
    lanes: int = 1
    capacity: int = 10_000
    batch: int = 256
    patience_seconds: float = 4.0
    after_commit: Callable[[Sequence[Outcome]], None] = lambda _outcomes: None
    _waiting: dict[type[Request], deque[_Call]] = field(default_factory=lambda: defaultdict(deque))
    _queued: int = 0
    _deadlines: Deadlines[_Call] = field(init=False)
    _undos: list[_Undo] = field(default_factory=list)
    _numbers: "itertools.count[int]" = field(default_factory=itertools.count)
    _loop: asyncio.AbstractEventLoop | None = None
    _tasks: "list[asyncio.Task[None]]" = field(default_factory=list)
    _wanted: asyncio.Event = field(default_factory=asyncio.Event)
    _undo_wanted: asyncio.Event = field(default_factory=asyncio.Event)
    _closing: asyncio.Event = field(default_factory=asyncio.Event)
    _opening: asyncio.Lock = field(default_factory=asyncio.Lock)
    _opened: bool = False

    def __post_init__(self) -> None:
        self._deadlines = Deadlines(self.patience_seconds, _give_up)

    def start(self) -> None:
        """Called on the loop."""
        self._loop = asyncio.get_running_loop()
        jobs = [self._run_lane() for _ in range(self.lanes)] + [self._run_undos()]
        self._tasks = [self._loop.create_task(job, name=f"lane-{n}") for n, job in enumerate(jobs)]

    async def close(self, *, seconds: float = 10.0) -> None:
        """Refuse new requests, serve those that wait, end the lanes, undo what is left."""
        self._closing.set()
        self._wanted.set()
        self._undo_wanted.set()
        _, left = await asyncio.wait(self._tasks, timeout=seconds)
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)  # or they would hold connections of a disposed engine
        if self._undos and not left:
            await self._undo(self._undos)

    async def submit(self, request: Request, *, undo: bool = False) -> Outcome:
        """What became of the request, once it is committed. `undo` releases a grant that comes too late.

        Raises its Refusal; Overloaded when the queue is full; DatabaseUnavailable when there was no outcome in time.
        """
        (outcome,) = await self.submit_all([request], undo=undo)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    async def submit_all(self, requests: Sequence[Request], *, undo: bool = False) -> Sequence[Outcome]:
        """The outcomes of requests of one verb that belong together: they are executed in one statement.

        Refusals are among the outcomes. Raises Overloaded and DatabaseUnavailable.
        """
        call = _Call(requests, undo, next(self._numbers), asyncio.get_running_loop().create_future())
        self._enqueue(call)
        self._deadlines.add(call)
        try:
            return await call.outcomes
        finally:
            self._deadlines.remove(call)

    def waiting(self) -> int:
        """How many calls wait for a lane."""
        return self._queued

    def _enqueue(self, call: _Call) -> None:
        if self._closing.is_set() or self._queued >= self.capacity:
            raise Overloaded
        self._waiting[type(call.requests[0])].append(call)
        self._queued += 1
        self._wanted.set()

    async def _run_lane(self) -> None:
        while self._queued or not self._closing.is_set():
            if not self._queued:
                self._wanted.clear()
                await self._wanted.wait()
            await _settle()
            if calls := self._next_batch():
                await self._serve(calls)

    def _next_batch(self) -> list[_Call]:
        """The oldest calls of one verb, as many as fit."""
        queues = [queue for queue in self._waiting.values() if queue]
        if not queues:
            return []
        queue = min(queues, key=lambda calls: calls[0].number)
        taken = [queue.popleft()]
        size = len(taken[0].requests)
        while queue and size + len(queue[0].requests) <= self.batch:
            size += len(queue[0].requests)
            taken.append(queue.popleft())
        self._queued -= len(taken)
        return [call for call in taken if not call.outcomes.done()]

    async def _serve(self, calls: Sequence[_Call]) -> None:
        outcomes = await self._run([request for call in calls for request in call.requests])
        remaining = iter(outcomes)
        self._hand_out([(call, list(itertools.islice(remaining, len(call.requests)))) for call in calls])
        self.committed(outcomes)

    async def _run(self, requests: Sequence[Request]) -> Sequence[Outcome]:
        """Execute them, while the loop goes on.

        The first alone: SQLAlchemy then holds a lock of threads; a second would stop the loop there, and so the first.
        """
        if self._opened:
            return await event_loop.run(self._execute, requests)
        async with self._opening:
            outcomes = await event_loop.run(self._execute, requests)
        self._opened = not isinstance(outcomes[0], DatabaseUnavailable)
        return outcomes

    def _execute(self, requests: Sequence[Request]) -> Sequence[Outcome]:
        """One outcome a request, whatever happens."""
        verb = self.verbs[type(requests[0])]
        for left in reversed(range(TRIES)):
            try:
                with self.engine.begin() as conn:
                    return verb(conn, requests)
            except Exception as error:  # psycopg2 refuses some values itself, with errors of Python
                if engines.unavailable(error):
                    log_.warning("lane_lost_connection", tries_left=left, requests=len(requests))
                elif len(requests) > 1:
                    return [self._execute([request])[0] for request in requests]
                else:
                    log_.exception("lane_failed")
                    return [error]
        return [DatabaseUnavailable() for _ in requests]

    def _hand_out(self, answered: Sequence[tuple[_Call, Sequence[Outcome]]]) -> None:
        """Between the look and the answer a caller cannot give up: nothing here waits."""
        late = []
        for call, outcomes in answered:
            unknown = any(isinstance(outcome, DatabaseUnavailable) for outcome in outcomes)
            if call.outcomes.done() or unknown:
                late.append((call, outcomes))
            if not call.outcomes.done():
                call.outcomes.set_result(outcomes)
        self._give_back(late)

    def _give_back(self, answered: Sequence[tuple[_Call, Sequence[Outcome]]]) -> None:
        """Have grants undone that nobody waits for, and those of which nobody knows whether they were made."""
        undos = [
            _Undo(_opposite(request))
            for call, outcomes in answered
            if call.undo
            for request, outcome in zip(call.requests, outcomes, strict=True)
            if isinstance(outcome, DatabaseUnavailable) or not isinstance(outcome, Exception)
        ]
        self._add_undos(undos)

    def undo(self, request: Release | Undo) -> None:
        """Undo a grant that nobody waits for, soon and, should Postgres be away, until it is done; from any thread."""
        assert self._loop is not None, "start comes first"
        self._loop.call_soon_threadsafe(self._add_undos, [_Undo(request)])

    def _add_undos(self, undos: Sequence[_Undo]) -> None:
        self._undos.extend(undos)
        if undos:
            self._undo_wanted.set()

    async def _run_undos(self) -> None:
        while not self._closing.is_set():
            await self._undo_wanted.wait()
            self._undo_wanted.clear()
            while undos := self._undos[: self.batch]:
                await self._undo(undos)
                if self._undos and await self._closes_within(UNDO_PAUSE_SECONDS):
                    return

    async def _closes_within(self, seconds: float) -> bool:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._closing.wait(), seconds)
        return self._closing.is_set()

    async def _undo(self, undos: Sequence[_Undo]) -> None:
        outcomes = await self._run([undo.request for undo in undos])
        done = []
        for undo, outcome in zip(undos, outcomes, strict=True):
            if not isinstance(outcome, DatabaseUnavailable):
                undo.tries_left -= 1
            if not isinstance(outcome, Exception) or not undo.tries_left:
                done.append(undo)
        self._undos = [undo for undo in self._undos if undo not in done]
        self.committed(outcomes)

    def committed(self, outcomes: Sequence[Outcome]) -> None:
        """Report what is committed to `after_commit`: batches from here, and lock changes made elsewhere."""
        try:
            self.after_commit(outcomes)
        except Exception:
            log_.exception("after_commit_failed")


async def _settle() -> None:
    """Let the loop read what has arrived by now, so that it goes along; on an idle loop this takes no time."""
    for _ in range(SETTLE_TURNS):
        await asyncio.sleep(0)


def _give_up(call: _Call) -> None:
    if not call.outcomes.done():
        call.outcomes.set_result([DatabaseUnavailable()] * len(call.requests))


def _opposite(request: Request) -> Release | Undo:
    """What undoes a grant of this request."""
    if isinstance(request, Acquire):
        return Release(request.user_id, request.principal, request.lease_id, reason="unclaimed")
    assert isinstance(request, Ask), "only requests for locks can be undone"
    return Undo(request.key, unless_claimed=True)
