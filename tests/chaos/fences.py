"""What fencing tokens promise, judged over the grants of all histories in the order in which they were made."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Granted:
    user_id: str
    token: int


@dataclass(frozen=True)
class Findings:
    """`twice` are pairs of user and token that were granted more than once, `fallen` grants not above all before."""

    twice: Sequence[Granted]
    fallen: Sequence[Granted]

    @property
    def clean(self) -> bool:
        return not (self.twice or self.fallen)


def judge(grants: Sequence[Granted]) -> Findings:
    highest = dict[str, int]()
    fallen = []
    for grant in grants:
        if grant.token <= highest.get(grant.user_id, 0):
            fallen.append(grant)
        highest[grant.user_id] = max(grant.token, highest.get(grant.user_id, 0))
    return Findings([grant for grant, times in Counter(grants).items() if times > 1], fallen)
