"""Which webhooks have something to be sent, and who is to send it."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import Connection, text

from domain.events.feed import SCAN_MOST

CLAIM_SECONDS = 5.0  # so long may a claim lie in a queue before it is taken for lost
# How many may be claimed at a time: of those that answer, and of those whose last answer was bad or slow, or that have
# yet to give one. So receivers that hang fill their own places only, however many they are.
SOUND_MOST = 32
TROUBLED_MOST = 16
SKIP_AT_LEAST = 500  # moving a cursor is a write: over fewer events than that, it is enough to remember the look

FREE = "(w.claimed_until IS NULL OR w.claimed_until < (SELECT clock_timestamp()))"

# A webhook is wanted when a delivery was asked for again, or when it is active, its time has come, and there is an
# event for it; the events are looked at so far and no further. A webhook that retention has overtaken is included too,
# to be disabled.
DUE = text(f"""
WITH tip AS MATERIALIZED (
    SELECT last_seq FROM relay_state
), begun AS MATERIALIZED (
    SELECT coalesce(min(seq), (SELECT last_seq FROM tip) + 1) - 1 AS seq FROM events
), places AS MATERIALIZED (
    SELECT count(*) FILTER (WHERE troubled) AS troubled, count(*) FILTER (WHERE NOT troubled) AS sound
    FROM webhooks w WHERE NOT {FREE}
), asked AS MATERIALIZED (
    SELECT DISTINCT webhook_id FROM webhook_deliveries WHERE latency_ms IS NULL
), known AS MATERIALIZED (
    SELECT * FROM unnest(CAST(:ids AS uuid[]), CAST(:seqs AS bigint[]), CAST(:up_tos AS bigint[]),
        CAST(:changes AS timestamptz[])) AS k (id, seq, up_to, updated_at)
), begun_at AS MATERIALIZED (
    SELECT w.*, a.webhook_id IS NOT NULL AS again, greatest(w.seq, k.up_to) AS begin,
        w.status = 'active' AND w.next_attempt_at <= (SELECT clock_timestamp())
            AND greatest(w.seq, k.up_to) < (SELECT last_seq FROM tip) AS behind
    FROM webhooks w LEFT JOIN asked a ON a.webhook_id = w.id
        LEFT JOIN known k ON k.id = w.id AND k.seq = w.seq AND k.updated_at = w.updated_at
    WHERE {FREE}
), looked AS MATERIALIZED (
    SELECT *, least(begin + :ahead, (SELECT last_seq FROM tip)) AS up_to FROM begun_at
), judged AS MATERIALIZED (
    SELECT w.id, w.troubled, w.seq, w.up_to, w.updated_at, w.next_attempt_at,
        w.again OR w.seq < (SELECT seq FROM begun) OR EXISTS (
            SELECT FROM events e WHERE e.seq > w.begin AND e.seq <= w.up_to
                AND (w.types = '{{}}' OR e.type = ANY (w.types))
                AND (w.user_id IS NULL OR e.user_id = w.user_id)
                AND (w.project_id IS NULL OR e.data ->> 'project_id' = w.project_id::text)
                AND (w.env IS NULL OR e.data ->> 'env' = w.env)
                AND (w.projects IS NULL OR e.data ->> 'project_id' = ANY (w.projects::text[]))
        ) AS wanted
    FROM looked w WHERE w.again OR w.behind
), ranked AS (
    SELECT *, row_number() OVER (PARTITION BY wanted, troubled ORDER BY next_attempt_at, id) AS place FROM judged
)
SELECT r.id, r.seq, r.up_to, r.updated_at, r.wanted, r.troubled,
    r.place <= CASE WHEN r.troubled THEN :troubled_most - p.troubled ELSE :sound_most - p.sound END AS room
FROM ranked r, places p ORDER BY r.next_attempt_at
""")
CLAIM = text(f"""
WITH free AS MATERIALIZED (
    SELECT w.id FROM webhooks w WHERE w.id = ANY (:ids) AND {FREE} FOR UPDATE SKIP LOCKED
)
UPDATE webhooks w SET claim = gen_random_uuid(), claimed_until = clock_timestamp() + make_interval(secs => :seconds)
FROM free WHERE w.id = free.id
RETURNING w.id, w.claim
""")
ANY = text("SELECT EXISTS (SELECT FROM webhooks)")
SKIP = text(f"UPDATE webhooks w SET seq = :up_to WHERE w.id = :id AND w.seq = :seq AND {FREE}")


@dataclass(frozen=True, slots=True)
class Claim:
    webhook_id: UUID
    claim: UUID


@dataclass(frozen=True, slots=True)
class Stretch:
    """Events after the cursor of which none is for this webhook, as it was when it was last changed."""

    webhook_id: UUID
    seq: int
    up_to: int
    updated_at: datetime

    @property
    def long(self) -> bool:
        return self.up_to - self.seq >= SKIP_AT_LEAST


@dataclass(frozen=True, slots=True)
class Due:
    """Webhooks to be claimed, what had no matching event, and whether any that answers well lacks room."""

    wanted: Sequence[UUID]
    vain: Sequence[Stretch]
    crowded: bool


def exist(conn: Connection) -> bool:
    """Whether there is any webhook at all."""
    return bool(conn.execute(ANY).scalar_one())


def due(conn: Connection, *, known: Sequence[Stretch] = ()) -> Due:
    """A look that locks nothing, and passes over the stretches that are known from earlier looks."""
    bounds = {"ahead": SCAN_MOST, "troubled_most": TROUBLED_MOST, "sound_most": SOUND_MOST}
    seen = {
        "ids": [stretch.webhook_id for stretch in known],
        "seqs": [stretch.seq for stretch in known],
        "up_tos": [stretch.up_to for stretch in known],
        "changes": [stretch.updated_at for stretch in known],
    }
    found = conn.execute(DUE, bounds | seen).all()
    wanted = [row for row in found if row.wanted]
    vain = [Stretch(row.id, row.seq, row.up_to, row.updated_at) for row in found if not row.wanted]
    crowded = any(not row.room and not row.troubled for row in wanted)
    return Due([row.id for row in wanted if row.room], vain, crowded)


def claim(conn: Connection, *, wanted: Sequence[UUID]) -> Sequence[Claim]:
    """Claim those of them that are still free; others may do the same at the same time."""
    rows = conn.execute(CLAIM, {"ids": list(wanted), "seconds": CLAIM_SECONDS})
    return [Claim(row.id, row.claim) for row in rows]


def skip(conn: Connection, *, stretch: Stretch) -> None:
    """Move the cursor over the stretch, unless somebody sends from there by now."""
    conn.execute(SKIP, {"id": stretch.webhook_id, "seq": stretch.seq, "up_to": stretch.up_to})
