"""What a lawful farm may do, kept in plain Python beside the real one, and the laws its answers are judged by."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from uuid import UUID

from domain.locks import Grant
from domain.requests import Ask


class Unlawful(AssertionError):  # noqa: N818  -- a verdict, not an error of ours
    """The farm did what it may not."""


@dataclass
class Bot:
    """A user as the model knows it; `lease` is the one that is in force."""

    id: UUID
    env: str
    labels: dict[str, str]
    active: bool = True
    lease: UUID | None = None
    token: int = 0

    @property
    def free(self) -> bool:
        return self.active and self.lease is None


@dataclass
class Model:
    """`line` holds the requests that wait and are attended, in order."""

    bots: dict[UUID, Bot] = field(default_factory=dict)
    line: list[Ask] = field(default_factory=list)

    def matching(self, ask: Ask) -> list[Bot]:
        return [bot for bot in self.bots.values() if _matches(bot, ask) and bot.active]

    def join(self, ask: Ask) -> None:
        """Behind all of its priority, unless it waits already."""
        if all(other.key != ask.key for other in self.line):
            self.line.append(ask)
            self.line.sort(key=lambda waiting: -waiting.priority)  # a stable sort keeps the age

    def leave(self, ask: Ask) -> None:
        self.line = [other for other in self.line if other.key != ask.key]

    def grant(self, ask: Ask, grants: Sequence[Grant]) -> None:
        """Judge a grant to a request, waiting or not, and note it."""
        if len(grants) != ask.count:
            raise Unlawful(f"{len(grants)} of {ask.count} were granted")
        ahead = self._ahead_of(ask)
        for grant in grants:
            self._take(grant, ask)
        for earlier in ahead:
            self._check_not_overtaken(earlier, ask, {grant.user.id for grant in grants})
        self.leave(ask)

    def _take(self, grant: Grant, ask: Ask) -> None:
        bot = self.bots[grant.user.id]
        if not _matches(bot, ask):
            raise Unlawful("a user was granted that does not match")
        if not bot.free:
            raise Unlawful("a user was granted that was not free")
        lock = grant.user.lock
        if lock is None or lock.token <= bot.token:
            raise Unlawful("the token did not grow")
        bot.lease, bot.token = grant.lease_id, lock.token

    def _ahead_of(self, ask: Ask) -> list[Ask]:
        """Who waits before the request; everybody, for one that is not in line."""
        keys = [other.key for other in self.line]
        return self.line[: keys.index(ask.key)] if ask.key in keys else list(self.line)

    def _check_not_overtaken(self, earlier: Ask, later: Ask, taken: Iterable[UUID]) -> None:
        """Overtaken: `later` got a user that `earlier` matches while too few stay free for it and those before it."""
        wanted = {bot.id for bot in self.matching(earlier)}
        if not wanted & set(taken) or not self._satisfiable(earlier):
            return
        needed = earlier.count + sum(
            other.count
            for other in self._ahead_of(earlier)
            if self._satisfiable(other) and wanted & {bot.id for bot in self.matching(other)}
        )
        if len([bot for bot in self.matching(earlier) if bot.free]) < needed:
            raise Unlawful(f"{later.request_id} overtook {earlier.request_id}")

    def _satisfiable(self, ask: Ask) -> bool:
        """A request for more users than are in service blocks nobody, or it would do so for as long as it waits."""
        return len(self.matching(ask)) >= ask.count


def _matches(bot: Bot, ask: Ask) -> bool:
    return (
        ask.user_id in (None, bot.id)
        and ask.env in (None, bot.env)
        and all(bot.labels.get(key) == value for key, value in ask.labels.items())
    )
