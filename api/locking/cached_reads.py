"""Reading a user's lock through the cache. No lock is ever granted by what is read here."""

import asyncio
from collections.abc import Collection
from typing import Literal
from uuid import UUID

from pydantic import ValidationError

from api.schemas.locks import LockQuery, LockStateOut
from api.schemas.users import LockOut
from api.services import Services
from domain import users
from domain.redis.cache import Entry
from domain.snapshots import User

Source = Literal["hit", "miss"]


async def read(
    services: Services, *, user_id: UUID, query: LockQuery, projects: Collection[UUID] | None
) -> tuple[LockStateOut, Source]:
    """The lock, and whether the cache answered. A question about a token always reads Postgres. Raises UserNotFound."""
    # An entry does not say which project the user is in, so a caller limited to some reads the database.
    if query.token is None and not query.consistent and projects is None:
        entry = await asyncio.to_thread(services.cache.get, user_id)
        if entry is not None and (state := _of_entry(entry)) is not None:
            return state, "hit"
    user = await services.database.run(users.get, user_id=user_id, projects=projects)
    services.cache_writer.offer([user])
    return _of_user(user, token=query.token), "miss"


def _of_user(user: User, *, token: int | None) -> LockStateOut:
    state = LockStateOut(user_id=user.id, lock=LockOut.of(user.lock), lock_version=user.lock_version)
    if token is not None:
        state.valid = user.lock is not None and user.lock.token == token
    return state


def _of_entry(entry: Entry) -> LockStateOut | None:
    """None when the entry is not of our making: then it is a miss, and no error of the caller's."""
    if entry.lock is None:
        return LockStateOut(user_id=entry.user_id, lock=None, lock_version=entry.lock_version)
    left = max(0.0, float(entry.lock["ttl_seconds"]) - entry.age_seconds)
    try:
        lock = LockOut.model_validate({**entry.lock, "ttl_seconds": round(left, 6)})
    except ValidationError:
        return None
    return LockStateOut(user_id=entry.user_id, lock=lock, lock_version=entry.lock_version)
