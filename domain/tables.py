"""The tables, as the migrations make them; `alembic check` compares the two."""

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    DateTime,
    Double,
    ForeignKey,
    Identity,
    Index,
    Integer,
    LargeBinary,
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
    Index("users_available_at", "available_at", postgresql_where=text("status = 'active'")),
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
    Column("limited", Boolean, nullable=False, server_default=text("false")),
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
    "lock_requests_attended",
    lock_requests.c.selector,
    lock_requests.c.priority.desc(),
    lock_requests.c.id,
    postgresql_where=text("granted_at IS NULL AND home IS NOT NULL"),
)
Index(
    "lock_requests_unconfirmed",
    lock_requests.c.home,
    postgresql_where=text("granted_at IS NOT NULL AND confirmed_at IS NULL"),
)
Index("lock_requests_keep_until", lock_requests.c.keep_until, postgresql_where=text("granted_at IS NOT NULL"))

webhooks = Table(
    "webhooks",
    metadata,
    Column("id", UUID, primary_key=True),
    Column("url", Text, nullable=False),
    Column("description", Text),
    Column("types", ARRAY(Text), nullable=False, server_default=text("'{}'")),
    Column("user_id", UUID),
    Column("project_id", UUID),
    Column("env", Text),
    Column("secret_sealed", Text, nullable=False),
    Column("previous_secret_sealed", Text),
    Column("previous_valid_until", Timestamp),
    Column("status", Text, nullable=False, server_default="active"),
    Column("status_reason", Text),
    Column("status_since", Timestamp, nullable=False),
    # The cursor; its epoch follows from it, and a raised epoch renames it without moving it.
    Column("seq", BigInteger, nullable=False),
    Column("attempt", Integer, nullable=False, server_default=text("0")),
    Column("next_attempt_at", Timestamp, nullable=False),
    Column("troubled", Boolean, nullable=False, server_default=text("true")),
    Column("claim", UUID),
    Column("claimed_until", Timestamp),
    Column("created_at", Timestamp, nullable=False),
    Column("updated_at", Timestamp, nullable=False),
    Column("projects", ARRAY(UUID)),
    CheckConstraint("status IN ('active', 'paused', 'disabled')", name="status_known"),
    CheckConstraint("(status = 'disabled') = (status_reason IS NOT NULL)", name="disabled_why"),
    CheckConstraint("num_nulls(previous_secret_sealed, previous_valid_until) IN (0, 2)", name="previous_whole"),
    CheckConstraint("num_nulls(claim, claimed_until) IN (0, 2)", name="claim_whole"),
    CheckConstraint("seq >= 0 AND attempt >= 0", name="counts"),
)

webhook_deliveries = Table(
    "webhook_deliveries",
    metadata,
    Column("id", BigInteger, Identity(always=True, cache=1), primary_key=True),
    Column("webhook_id", UUID, ForeignKey("webhooks.id", ondelete="CASCADE"), nullable=False),
    Column("event_id", UUID, nullable=False),
    Column("seq", BigInteger, nullable=False),
    Column("kind", Text, nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("requested_at", Timestamp, nullable=False),
    Column("status", Integer),
    Column("error", Text),
    Column("latency_ms", Integer),
    Column("answer", Text),
    CheckConstraint("kind IN ('first', 'retry', 'again')", name="kind_known"),
    CheckConstraint("(latency_ms IS NULL) = (status IS NULL AND error IS NULL)", name="outcome_whole"),
    CheckConstraint("latency_ms IS NOT NULL OR kind = 'again'", name="only_again_waits"),
    Index("webhook_deliveries_newest", "webhook_id", text("id DESC")),
    Index("webhook_deliveries_pending", "webhook_id", "id", postgresql_where=text("latency_ms IS NULL")),
)

api_keys = Table(
    "api_keys",
    metadata,
    Column("id", UUID, primary_key=True),
    Column("name", Text, nullable=False),
    Column("hash", LargeBinary, nullable=False),
    Column("previous_hash", LargeBinary),
    Column("previous_valid_until", Timestamp),
    Column("hint", Text, nullable=False),
    Column("scopes", ARRAY(Text), nullable=False),
    Column("projects", ARRAY(UUID)),
    Column("locks_most", Integer),
    Column("created_at", Timestamp, nullable=False),
    Column("created_by", Text, nullable=False),
    Column("expires_at", Timestamp),
    Column("revoked_at", Timestamp),
    Column("last_used_at", Timestamp),
    UniqueConstraint("hash"),
    UniqueConstraint("previous_hash"),
    CheckConstraint(
        "scopes <@ ARRAY['read', 'lock', 'events', 'admin'] AND cardinality(scopes) > 0", name="scopes_known"
    ),
    CheckConstraint("num_nulls(previous_hash, previous_valid_until) IN (0, 2)", name="previous_whole"),
    CheckConstraint("locks_most > 0", name="counts"),
    Index("api_keys_name", "name", unique=True, postgresql_where=text("revoked_at IS NULL")),
)
