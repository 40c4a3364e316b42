"""The deliveries of a webhook, over HTTP."""

from tests.api.farms import Farm, next_of
from tests.api.routes.hooks import HOOKS, make, slug

DELIVER = """
INSERT INTO webhook_deliveries (webhook_id, event_id, seq, kind, attempt, requested_at, status, latency_ms, answer)
SELECT :id, event_id, seq, 'first', 1, now(), 200, 12, 'fine' FROM events ORDER BY seq
"""


def test_deliveries_are_listed_newest_first_in_pages_and_one_is_asked_for_again(served: Farm) -> None:
    webhook_id = make(served)["id"]
    for _ in range(3):
        served.new_user()
    served.publish()
    served.execute(DELIVER, id=webhook_id)
    first = served.client.get(f"{HOOKS}/{webhook_id}/deliveries", params={"limit": 2})
    second = served.client.get(next_of(first) or "")
    body = [*first.json(), *second.json()]

    again = served.client.post(f"{HOOKS}/{webhook_id}/deliveries/{body[2]['id']}/send_again")

    assert [delivery["cursor"] for delivery in body] == ["1-3", "1-2", "1-1"]
    assert (body[0]["status"], body[0]["latency_ms"], body[0]["answer"], body[0]["kind"]) == (200, 12, "fine", "first")
    assert again.status_code == 202
    assert (again.json()["kind"], again.json()["event_id"]) == ("again", body[2]["event_id"])
    assert (again.json()["status"], again.json()["latency_ms"]) == (None, None)


def test_what_cannot_be_sent_again_is_refused(served: Farm) -> None:
    webhook_id, other_id = make(served)["id"], make(served)["id"]
    served.new_user()
    served.publish()
    served.execute(DELIVER, id=webhook_id)
    (delivery,) = served.client.get(f"{HOOKS}/{webhook_id}/deliveries").json()
    path = f"deliveries/{delivery['id']}/send_again"
    foreign = served.client.post(f"{HOOKS}/{other_id}/{path}")
    served.execute("DELETE FROM events")

    gone = served.client.post(f"{HOOKS}/{webhook_id}/{path}")

    assert (foreign.status_code, slug(foreign)) == (404, "delivery-not-found")
    assert (gone.status_code, slug(gone)) == (410, "event-gone")


def test_a_deleted_webhook_is_gone_with_its_deliveries(served: Farm) -> None:
    webhook_id = make(served)["id"]
    served.new_user()
    served.publish()
    served.execute(DELIVER, id=webhook_id)

    deleted = served.client.delete(f"{HOOKS}/{webhook_id}")

    assert deleted.status_code == 204
    assert served.client.get(f"{HOOKS}/{webhook_id}").status_code == 404
    with served.engine.begin() as conn:
        assert conn.exec_driver_sql("SELECT count(*) FROM webhook_deliveries").scalar_one() == 0


def test_negative_numbers_and_words_are_no_deliveries(farm: Farm) -> None:
    webhook_id = make(farm)["id"]

    statuses = {
        farm.client.post(f"{HOOKS}/{webhook_id}/deliveries/{delivery}/send_again").status_code
        for delivery in ("0", "-1", "x", str(2**63))
    }

    assert statuses == {422}
