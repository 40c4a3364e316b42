"""What the API writes into the cache is what it answers."""

from datetime import UTC, datetime, timedelta

from api.best_effort.cache_writer import _lock_fields
from api.schemas.users import LockOut
from domain.snapshots import Lock


def test_the_lock_in_the_cache_has_the_fields_and_the_form_of_the_lock_in_answers() -> None:
    moment = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    lock = Lock("ci", 7, moment, moment + timedelta(seconds=900), 899.5, {"branch": "main"})

    answered = LockOut.of(lock)

    assert answered is not None
    assert _lock_fields(lock) == answered.model_dump(mode="json")
