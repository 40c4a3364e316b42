"""The tables, as the migrations make them; `alembic check` compares the two."""

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    DateTime,
    Double,
    Identity,
    Index,
    Integer,
    MetaData,
    PrimaryKeyConstraint,
    Sequence,
    Table,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB, UUID

metadata = MetaData(
    naming_convention={
        "ix": "%(table_name)s_%(column_0_N_name)s",
        "uq": "%(table_name)s_%(column_0_N_name)s_key",
        "ck": "%(table_name)s_%(constraint_name)s",
        "fk": "%(table_name)s_%(column_0_N_name)s_fkey",
        "pk": "%(table_name)s_pkey",
    }
)

Timestamp = DateTime(timezone=True)
Code = Text(collation="C")  # compared byte by byte: the order is the same on every machine

users = Table(
    "users",
    metadata,
    Column("id", UUID, primary_key=True),
    Column("login", Code, nullable=False),
    Column("password_sealed", Text),
    Column("project_id", UUID),
    Column("env", Text, nullable=False),
    Column("domain", Text, nullable=False),
    Column("labels", JSONB, nullable=False, server_default=text("'{}'")),
    Column("status", Text, nullable=False, server_default="active"),
    Column("status_reason", Text),
    Column("created_at", Timestamp, nullable=False),
    Column("updated_at", Timestamp, nullable=False),
    Column("locktime", Timestamp),
    Column("lock_expires_at", Timestamp),
    Column("lock_owner", Text),
    Column("lock_principal", Text),
    Column("lock_metadata", JSONB),
    Column("lease_id", UUID),
    Column("lock_token", BigInteger),
    Column("lock_version", BigInteger, nullable=False),
    Column("available_at", Timestamp, nullable=False),
    Column("last_lease_id", UUID),
    Column("last_lease_principal", Text),
    Column("last_lease_ended_at", Timestamp),
    Column("last_lease_reason", Text),
    Column("last_lease_note", Text),
    UniqueConstraint("login"),
    CheckConstraint("status IN ('active', 'quarantined')", name="status_known"),
    CheckConstraint(
        "num_nulls(locktime, lock_expires_at, lease_id, lock_owner, lock_principal) IN (0, 5)",
        name="lock_whole",
    ),
    Index("users_available", "available_at", "id", postgresql_where=text("status = 'active'")),
    Index("users_lapse", "lock_expires_at", postgresql_where=text("locktime IS NOT NULL")),
)

outbox = Table(
    "outbox",
    metadata,
    # CACHE 1: a session that hoards numbers would break the order within a user
    Column("id", BigInteger, Identity(always=True, cache=1), primary_key=True),
    Column("event_id", UUID, nullable=False, server_default=text("gen_random_uuid()")),
    Column("user_id", UUID),
    Column("lock_version", BigInteger),
    Column("type", Text, nullable=False),
    Column("data", JSONB, nullable=False),
    Column("occurred_at", Timestamp, nullable=False),
    Column("traceparent", Text),
    Column("lease_id", UUID),
    Column("principal", Text),
)

events = Table(
    "events",
    metadata,
    Column("seq", BigInteger, nullable=False, autoincrement=False),
    Column("epoch", Integer, nullable=False),
    Column("event_id", UUID, nullable=False),
    Column("user_id", UUID),
    Column("lock_version", BigInteger),
    Column("type", Text, nullable=False),
    Column("data", JSONB, nullable=False),
    Column("occurred_at", Timestamp, nullable=False),
    Column("traceparent", Text),
    Column("lease_id", UUID),
    Column("principal", Text),
    PrimaryKeyConstraint("seq"),
    Index("events_user", "user_id", "lock_version"),
    postgresql_partition_by="RANGE (seq)",
)

relay_state = Table(
    "relay_state",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False, server_default="1"),
    Column("epoch", Integer, nullable=False, server_default="1"),
    Column("incarnation", Text),
    Column("last_seq", BigInteger, nullable=False, server_default="0"),
    Column("published_seq", BigInteger, nullable=False, server_default="0"),
    Column("heartbeat_at", Timestamp),
    CheckConstraint("id = 1", name="one_row"),
)

epochs = Table(
    "epochs",
    metadata,
    Column("epoch", Integer, primary_key=True, autoincrement=False),
    Column("first_seq", BigInteger, nullable=False),
)

heartbeats = Table(
    "heartbeats",
    metadata,
    Column("part", Text, primary_key=True),
    Column("seen_at", Timestamp, nullable=False),
)

homes = Table(
    "homes",
    metadata,
    Column("id", UUID, primary_key=True),
    Column("seen_at", Timestamp, nullable=False),
)

lock_requests = Table(
    "lock_requests",
    metadata,
    Column("id", BigInteger, primary_key=True, autoincrement=False),
    Column("request_id", UUID, nullable=False),
    Column("principal", Text, nullable=False),
    Column("fingerprint", UUID, nullable=False),
    Column("selector", UUID, nullable=False),
    Column("priority", Integer, nullable=False),
    Column("user_id", UUID),
    Column("project_id", UUID),
    Column("env", Text),
    Column("domain", Text),
    Column("labels", JSONB, nullable=False),
    Column("projects", ARRAY(UUID)),
    Column("count", Integer, nullable=False),
    Column("owner", Text, nullable=False),
    Column("metadata", JSONB, nullable=False),
    Column("ttl", Double, nullable=False),
    Column("cooldown", Double, nullable=False),
    Column("created_at", Timestamp, nullable=False),
    Column("seen_at", Timestamp, nullable=False),
    Column("home", UUID),
    Column("satisfiable", Boolean, nullable=False, server_default=text("true")),
    Column("granted_at", Timestamp),
    Column("confirmed_at", Timestamp),
    Column("keep_until", Timestamp),
    Column("users", ARRAY(UUID)),
    Column("leases", ARRAY(UUID)),
    Column("traceparent", Text),
    UniqueConstraint("principal", "request_id"),
)
places = Sequence("lock_requests_place", metadata=metadata)
Index(
    "lock_requests_line",
    lock_requests.c.selector,
    lock_requests.c.priority.desc(),
    lock_requests.c.id,
    postgresql_where=lock_requests.c.granted_at.is_(None),
)
Index(
    "lock_requests_unconfirmed",
    lock_requests.c.home,
    postgresql_where=text("granted_at IS NOT NULL AND confirmed_at IS NULL"),
)
Index("lock_requests_keep_until", lock_requests.c.keep_until, postgresql_where=text("granted_at IS NOT NULL"))
