"""A pool of users that one test has for itself, on a farm where others may be at work, and those who wait for them."""

import uuid
from collections.abc import Sequence
from concurrent.futures import Future  # noqa: TC003  -- a dataclass's field
from dataclasses import dataclass
from typing import Any

import httpx

from tests.api.farms import USERS, Farm
from tests.patience import eventually

WAIT_SECONDS = 20


@dataclass(frozen=True)
class Standing:
    """A call that waits in line, on a thread of its own."""

    request_id: str
    answering: "Future[httpx.Response]"

    def answer(self, *, seconds: float = 10) -> httpx.Response:
        """What it is answered, `seconds` from now at the latest."""
        return self.answering.result(seconds)

    def granted(self, *, seconds: float = 10) -> list[str]:
        """The users that it got."""
        answer = self.answer(seconds=seconds)
        assert answer.status_code == 200, answer.text
        body = answer.json()
        return [str(user["id"]) for user in body.get("users", [body])]

    @property
    def waits(self) -> bool:
        return not self.answering.done()


@dataclass(frozen=True)
class Pool:
    """Users that share a project with nobody else."""

    farm: Farm
    project_id: str
    user_ids: Sequence[str]

    def ask(self, **body: Any) -> httpx.Response:
        return self.farm.pool(project_id=self.project_id, **body)

    def take(self, **body: Any) -> dict[str, Any]:
        """Ask for what must be free."""
        answer = self.ask(**body)
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    def stand(self, **body: Any) -> Standing:
        """Ask and wait in line for it."""
        return stand(self.farm, project_id=self.project_id, **body)

    def locked(self) -> list[str]:
        """The users that are locked now."""
        found = self.farm.client.get(f"{USERS}/", params={"project_id": self.project_id, "locked": True}).json()
        return [user["id"] for user in found]


def new_pool(farm: Farm, count: int, **fields: Any) -> Pool:
    project_id = str(uuid.uuid4())
    return Pool(farm, project_id, [farm.new_user(project_id=project_id, **fields)["id"] for _ in range(count)])


def stand(farm: Farm, **body: Any) -> Standing:
    """A pool call that waits, returned as soon as it does."""
    body = {"request_id": str(uuid.uuid4()), "wait_seconds": WAIT_SECONDS, **body}
    return _joined(farm, Standing(body["request_id"], farm.meanwhile(farm.pool, **body)))


def stand_for(farm: Farm, user_id: str, **body: Any) -> Standing:
    """A call for one particular user that waits, returned as soon as it does."""
    body = {"lease_id": str(uuid.uuid4()), "wait_seconds": WAIT_SECONDS, **body}
    return _joined(farm, Standing(body["lease_id"], farm.meanwhile(farm.acquire, user_id, **body)))


def leases(users: Sequence[dict[str, Any]]) -> list[dict[str, str]]:
    """The leases of acquired users, as the calls for many name them."""
    return [{"user_id": user["id"], "lease_id": user["lease_id"]} for user in users]


def ids(answer: dict[str, Any]) -> list[str]:
    """The users of a pool call's answer."""
    return [str(user["id"]) for user in answer["users"]]


def state(farm: Farm, request_id: str) -> str:
    """How the request stands: `waiting`, `detached`, `granted` or, for none, `unknown`."""
    return str(farm.request(request_id).json().get("state", "unknown"))


def refused(answer: httpx.Response, status: int, slug: str) -> dict[str, Any]:
    """The problem document, which must be of this kind."""
    problem = answer.json()
    assert (answer.status_code, problem["type"]) == (status, f"urn:botfarm:problem:{slug}"), answer.text
    return dict(problem)


def _joined(farm: Farm, standing: Standing) -> Standing:
    assert eventually(lambda: not standing.waits or state(farm, standing.request_id) == "waiting")
    assert standing.waits, standing.answer().text
    return standing
