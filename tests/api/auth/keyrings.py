"""Keys as a test needs them: of every scope and fate, made straight in the database."""

import uuid
from collections.abc import Collection
from datetime import timedelta
from typing import Any
from uuid import UUID

import httpx
from sqlalchemy import text

from domain import keys
from domain.keys import NewKey, forms
from domain.postgres import clocks
from tests.api.farms import Farm

OWN = uuid.UUID("11111111-1111-4111-8111-111111111111")
FOREIGN = uuid.UUID("22222222-2222-4222-8222-222222222222")


def new_key(
    farm: Farm,
    name: str,
    *scopes: str,
    projects: Collection[UUID] | None = None,
    locks_most: int | None = None,
    seconds: float | None = None,
) -> str:
    """A key that expires so many seconds from now by the database's clock; never without."""
    with farm.engine.begin() as conn:
        expires_at = None if seconds is None else clocks.now(conn) + timedelta(seconds=seconds)
        new = NewKey(name, scopes, projects, locks_most, expires_at)
        _, key = keys.create(conn, new=new, created_by="test")
    return key


def revoke(farm: Farm, name: str) -> None:
    farm.execute("UPDATE api_keys SET revoked_at = clock_timestamp() WHERE name = :name", name=name)


def id_of(farm: Farm, name: str) -> str:
    with farm.engine.begin() as conn:
        return str(conn.execute(text("SELECT id FROM api_keys WHERE name = :name"), {"name": name}).scalar_one())


def unknown_key() -> str:
    """A key as it should be, which nobody ever made."""
    return forms.make()


def mistyped(key: str) -> str:
    """The key with one character in the middle wrong."""
    wrong = "a" if key[20] != "a" else "b"
    return key[:20] + wrong + key[21:]


def bearing(farm: Farm, key: str | None, **options: Any) -> httpx.Client:
    """A client of the farm that presents the key."""
    headers = {} if key is None else {"Authorization": f"Bearer {key}"}
    # It speaks plain HTTP: to read the machine's certificates would cost more than most calls.
    return httpx.Client(base_url=farm.url, headers=headers, **{"timeout": 30, "verify": False, **options})
