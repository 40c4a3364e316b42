"""Several API processes behind one port, and clients that lock users while something happens to them."""

import contextlib
import random
import threading
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field

import httpx
import psutil
from prometheus_client.parser import text_string_to_metric_families

from tests import patience
from tests.api.farms import USERS
from tests.api.servers import START_SECONDS, ApiProcess
from tests.patience import eventually


@dataclass
class Many:
    """`python -m api` with two processes and their parent."""

    process: ApiProcess

    @property
    def url(self) -> str:
        return self.process.url

    def start(self) -> "Many":
        self.process.launch(BOTFARM_API_WORKERS="2")
        return self.await_two()

    def await_two(self, *, ready: int = 2) -> "Many":
        """Return when `ready` processes have become ready so far, of which two are left."""
        assert eventually(lambda: self.ready >= ready or not self.process.alive(), seconds=START_SECONDS)
        assert self.process.alive(), self.process.said()
        assert len(self.pids()) == 2
        return self

    @property
    def ready(self) -> int:
        """How many have become ready so far."""
        return self.process.said().count('"api_process_ready"')

    def pids(self) -> list[int]:
        return [child.pid for child in psutil.Process(self.process.running.pid).children()]

    def connections(self) -> list[int]:
        """How many each process has open, the fewest first."""
        counts = [
            sum(
                each.status == psutil.CONN_ESTABLISHED and each.laddr.port == self.process.settings.port
                for each in psutil.Process(pid).net_connections()
            )
            for pid in self.pids()
        ]
        return sorted(counts)

    def figures(self) -> dict[tuple[str, ...], float]:
        families = text_string_to_metric_families(httpx.get(f"{self.url}/metrics").text)
        return {
            (sample.name, *(value for _, value in sorted(sample.labels.items()))): sample.value
            for family in families
            for sample in family.samples
        }

    def users(self, count: int) -> list[str]:
        rows = [{"login": f"bot-{uuid.uuid4().hex}"} for _ in range(count)]
        results = httpx.post(f"{self.url}{USERS}/batch", json=rows).json()["results"]
        return [result["user"]["id"] for result in results]


@dataclass
class Crowd:
    """Clients that lock and release; each asks again when its call was cut off. `doubled` must stay empty."""

    url: str
    user_ids: list[str]
    acknowledged: list[tuple[str, str]] = field(default_factory=list)
    refused: list[int] = field(default_factory=list)
    holders: dict[str, str] = field(default_factory=dict)
    doubled: list[str] = field(default_factory=list)
    over: threading.Event = field(default_factory=threading.Event)
    persistent: bool = True

    @contextlib.contextmanager
    def at_work(self, *, clients: int = 8) -> Iterator["Crowd"]:
        threads = [threading.Thread(target=self._run) for _ in range(clients)]
        for thread in threads:
            thread.start()
        try:
            yield self
        finally:
            self.over.set()
            for thread in threads:
                thread.join()

    def acts(self, more: int) -> bool:
        """Whether that many more acts are acknowledged in time."""
        sought = len(self.acknowledged) + more
        return eventually(lambda: len(self.acknowledged) >= sought)

    def _run(self) -> None:
        with httpx.Client(base_url=self.url, timeout=patience.limit(30)) as client:
            while not self.over.is_set():
                with contextlib.suppress(httpx.TransportError):
                    self.cycle(client, random.choice(self.user_ids), str(uuid.uuid4()))

    def cycle(self, client: httpx.Client, user_id: str, lease_id: str) -> None:
        if self._post(client, user_id, "acquire_lock", lease_id) != 200:
            return
        if self.holders.setdefault(user_id, lease_id) != lease_id:
            self.doubled.append(user_id)
        self.holders.pop(user_id)  # before the release, which others may learn of sooner
        self._post(client, user_id, "release_lock", lease_id)

    def _post(self, client: httpx.Client, user_id: str, verb: str, lease_id: str) -> int:
        while True:
            try:
                answer = client.post(f"{USERS}/{user_id}/{verb}", json={"lease_id": lease_id})
            except httpx.TransportError:
                if self.over.is_set() or not self.persistent:
                    raise
                continue
            if answer.is_success:
                self.acknowledged.append((lease_id, verb))
            elif answer.status_code not in {409, 423}:
                self.refused.append(answer.status_code)
            return answer.status_code
