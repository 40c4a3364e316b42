"""The broker and what each worker process shares: built at import, which opens no connection.

Separate from `supervision/child.py`, which runs it: otherwise the actors would import the program that imports them.
"""

from datetime import timedelta

import dramatiq
from dramatiq.brokers.redis import RedisBroker
from dramatiq.middleware import AgeLimit, Middleware, Retries, TimeLimit

from domain import sealing
from domain.configuration.settings import Settings
from domain.postgres import engines
from domain.redis import clients
from domain.webhooks import Claim
from worker.duties import PATIENCE_SECONDS, open_duties
from worker.loops import Loops, loops_of
from worker.resealing import Resealing
from worker.webhooks.deliveries import Deliverer
from worker.webhooks.guarded_client import Outbound
from worker.webhooks.scheduling import Scheduling

TIMEOUT_SECONDS = 5.0
WEBHOOKS = "webhooks"  # the queue of deliveries


def _middleware(loops: Loops) -> list[Middleware]:
    """Before-hooks run in this order and after-hooks in reverse."""
    return [
        # Which messages run at all, and for how long. A kick older than a minute is dropped: the loops have done its
        # work by then.
        AgeLimit(max_age=60_000),
        TimeLimit(time_limit=60_000),
        # What happens to failed messages. Last of the message hooks, so that its after-hook runs first: the other
        # after-hooks must see whether the message will be retried.
        Retries(max_retries=3, min_backoff=1_000, max_backoff=30_000),
        # Not about messages. Its `after_worker_boot` runs before the others', its shutdown hook after them.
        loops,
    ]


def _enqueue(claim: Claim) -> None:
    """Enqueue the delivery of a claim, for any free thread. Raises when Redis is unavailable: then the claim lapses."""
    arguments = str(claim.webhook_id), str(claim.claim)
    broker.enqueue(dramatiq.Message(WEBHOOKS, "deliver", arguments, {}, {}))


settings = Settings()
duties = open_duties(
    database_url=settings.database_url,
    redis_url=settings.redis_url,
    redis_prefix=settings.redis_prefix,
    stream_keep_count=settings.stream_keep_count,
    events_keep=timedelta(days=settings.events_keep_days),
    events_keep_count=settings.events_keep_count,
)
deliverer = Deliverer(
    engine=engines.engine(
        settings.database_url, pool_size=8, patience_seconds=PATIENCE_SECONDS, name="botfarm-webhooks"
    ),
    ring=sealing.load(text=settings.secret_keys, file=settings.secret_keys_file),
    outbound=Outbound(allowed=settings.webhook_allow_networks),
)
resealing = Resealing(duties.engine, deliverer.ring)
scheduling = Scheduling(duties.engine, deliverer.tip, enqueue=_enqueue)
loops = loops_of(duties, scheduling=scheduling, resealing=resealing.work)
broker = RedisBroker(  # type: ignore[no-untyped-call]
    # Its own database, the one after that of cache and stream: dramatiq's maintenance calls KEYS. No retries in the
    # client: dramatiq retries by itself, and both together would outlast a shutdown.
    client=clients.connect(
        settings.redis_url, timeout_seconds=TIMEOUT_SECONDS, database=clients.next_database(settings.redis_url)
    ),
    namespace=f"{settings.redis_prefix}dramatiq",
    middleware=_middleware(loops),
)
dramatiq.set_broker(broker)
