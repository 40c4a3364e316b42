"""There is an end to how many webhooks may be made, also by many at the same time."""

from collections import Counter

import pytest
from sqlalchemy import text

from domain import webhooks
from domain.errors import TooManyWebhooks
from domain.webhooks import NewWebhook
from tests import patience
from tests.api.farms import Crowded, Farm
from tests.api.routes.hooks import HOOKS, URL, make, slug
from tests.patience import eventually

MOST = 3


@pytest.fixture
def bounded(crowded: Crowded) -> Farm:
    return crowded(webhooks_most=MOST)


def test_one_more_than_there_may_be_is_refused_until_another_goes(bounded: Farm) -> None:
    made = [make(bounded) for _ in range(MOST)]
    bounded.client.patch(f"{HOOKS}/{made[0]['id']}", json={"status": "paused"})

    refused = bounded.client.post(f"{HOOKS}/", json={"url": URL})
    bounded.client.delete(f"{HOOKS}/{made[0]['id']}")
    again = bounded.client.post(f"{HOOKS}/", json={"url": URL})

    assert (refused.status_code, slug(refused), refused.json()["webhooks_most"]) == (409, "too-many-webhooks", MOST)
    assert "Retry-After" not in refused.headers  # nothing goes by itself
    assert again.status_code == 201


def test_many_who_make_one_at_the_same_time_make_no_more_than_there_may_be(bounded: Farm) -> None:
    calls = [bounded.callers.submit(bounded.client.post, f"{HOOKS}/", json={"url": URL}) for _ in range(24)]

    assert Counter(call.result(patience.limit(60)).status_code for call in calls) == {201: MOST, 409: 24 - MOST}
    assert len(bounded.client.get(f"{HOOKS}/").json()) == MOST


def second(farm: Farm) -> None:
    """Make another one while the only one that there may be is made and not yet committed."""
    with farm.engine.begin() as conn:
        webhooks.create(conn, new=NewWebhook(URL), ring=farm.app.state.services.ring, most=1)


def is_waiting(farm: Farm) -> bool:
    with farm.engine.begin() as conn:
        waiting = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted AND database = ("
        mine = "SELECT oid FROM pg_database WHERE datname = current_database())"
        return bool(conn.execute(text(waiting + mine)).scalar_one())


def test_who_counts_waits_for_the_one_that_is_being_made(bounded: Farm) -> None:
    with bounded.engine.begin() as conn:
        webhooks.create(conn, new=NewWebhook(URL), ring=bounded.app.state.services.ring, most=1)
        call = bounded.callers.submit(second, bounded)
        assert eventually(lambda: is_waiting(bounded), seconds=30)

    with pytest.raises(TooManyWebhooks):
        call.result(patience.limit(60))


def test_without_that_wait_there_would_be_one_more(bounded: Farm, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("domain.webhooks.registering.ONE_MAKER", text("SELECT 1"))
    with bounded.engine.begin() as conn:
        webhooks.create(conn, new=NewWebhook(URL), ring=bounded.app.state.services.ring, most=1)
        bounded.callers.submit(second, bounded).result(patience.limit(60))

    assert len(bounded.client.get(f"{HOOKS}/").json()) == 2
