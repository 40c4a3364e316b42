"""The law of one lock in plain Python: what each verb must answer and write, told by no database."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from uuid import UUID


@dataclass(frozen=True)
class Claim:
    """Who asks, with which lease."""

    lease_id: UUID
    principal: str


@dataclass
class Held:
    by: Claim
    token: int
    cooldown: bool
    lapsed: bool = False


@dataclass
class Lock:
    """`story` is what has been written, `tokens` are those granted, `resting` is the cool-down after an expiry."""

    held: Held | None = None
    last: tuple[Claim, str] | None = None
    resting: bool = False
    quarantined: bool = False
    story: list[str] = field(default_factory=lambda: ["created"])
    tokens: list[int] = field(default_factory=list)

    @property
    def live(self) -> bool:
        return self.held is not None and not self.held.lapsed

    def is_own(self, claim: Claim) -> bool:
        return self.held is not None and self.held.by == claim

    def why_lost(self, claim: Claim) -> str:
        if self.is_own(claim):
            return "expired"
        return self.last[1] if self.last is not None and self.last[0] == claim else "unknown"

    def acquire(self, claims: Sequence[Claim], *, cooldown: bool) -> list[str]:
        """Each is judged on the lock as it was before, and the first that may have it is granted."""
        verdicts = [self._judge(claim) for claim in claims]
        if "granted" not in verdicts:
            return verdicts
        winner = verdicts.index("granted")
        self._grant(claims[winner], cooldown=cooldown)
        return [
            verdict if verdict != "granted" or number == winner else self._judge(claim)
            for number, (claim, verdict) in enumerate(zip(claims, verdicts, strict=True))
        ]

    def renew(self, claim: Claim, *, cooldown: bool) -> str:
        if not (self.held is not None and self.live and self.is_own(claim)):
            return f"lost: {self.why_lost(claim)}"
        self.held.cooldown = cooldown
        self.story.append("renewed")
        return "renewed"

    def release(self, claim: Claim, *, reason: str) -> str:
        if self.live and self.is_own(claim):
            return self._end("released", reason=reason)
        if self.why_lost(claim) == "released":
            return "already"
        return f"lost: {self.why_lost(claim)}"

    def release_bare(self, principal: str) -> str:
        if self.held is None or not self.live:
            return "already"
        return self._end("released", reason="released") if self.held.by.principal == principal else "not-lock-holder"

    def force(self) -> str:
        return self._end("released", reason="forced") if self.live else "already"

    def lapse(self) -> None:
        assert self.held is not None
        self.held.lapsed = True

    def sweep(self) -> None:
        if self.held is not None and self.held.lapsed:
            self._end("expired", reason="expired")

    def _judge(self, claim: Claim) -> str:
        if self.live and self.is_own(claim):
            return "again"
        if self.why_lost(claim) != "unknown":
            return f"lost: {self.why_lost(claim)}"
        if self.live:
            return "lock-held"
        if self.quarantined:
            return "user-quarantined"
        return "cooling-down" if self.resting or (self.held is not None and self.held.cooldown) else "granted"

    def _grant(self, claim: Claim, *, cooldown: bool) -> None:
        self.sweep()
        self.story.append("acquired")
        self.tokens.append(len(self.story))
        self.held = Held(claim, token=len(self.story), cooldown=cooldown)

    def _end(self, event: str, *, reason: str) -> str:
        assert self.held is not None
        self.resting = self.held.cooldown if event == "expired" else False
        self.last, self.held = (self.held.by, reason), None
        self.story.append(event)
        return event
