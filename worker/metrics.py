"""The metrics of a worker process. The supervisor exports the sums over all of them, dead ones included.

See `supervision/status_server.py`.
"""

from prometheus_client import Counter, Gauge, Histogram

from domain.metrics import PASSWORD_UNREADABLE

LATENCY_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)

SEQUENCED = Counter("botfarm_relay_events_sequenced", "Changes that got their number")
PUBLISHED = Counter("botfarm_relay_events_published", "Entries appended to the stream, those put back included")
LATENCY = Histogram(
    "botfarm_change_to_stream_seconds", "From a change to its first entry on the stream", buckets=LATENCY_BUCKETS
)
RESYNCS = Counter(
    "botfarm_stream_resyncs",
    "Times the stream had another end than expected: ahead, behind, gone, cut, foreign, fork",
    ["kind"],
)
FOREIGN = Counter("botfarm_stream_foreign_entries", "Entries not written by a relay, removed from the stream")
EXPIRED = Counter("botfarm_locks_expired", "Lapsed locks that a worker ended")
RECLAIMED = Counter("botfarm_line_grants_reclaimed", "Grants of the waiting line that were never fetched, taken back")
LOOP_FAILURES = Counter("botfarm_loop_failures", "Turns of a loop that failed", ["loop"])
WEBHOOK_DELIVERIES = Counter(
    "botfarm_webhook_deliveries",
    "Tries: delivered, refused, gone, timeout, unreachable, bad-answer, bad-url, forbidden-address, secret-unreadable,"
    " internal-error",
    ["outcome"],
)
WEBHOOK_LATENCY = Histogram(
    "botfarm_webhook_request_seconds", "From the request to a webhook to its answer", buckets=LATENCY_BUCKETS
)
WEBHOOK_AGE = Histogram(
    "botfarm_change_to_webhook_seconds", "From a change to its acknowledgement", buckets=LATENCY_BUCKETS
)
WEBHOOKS_DISABLED = Counter("botfarm_webhooks_disabled", "Webhooks disabled, by reason", ["reason"])
RESEALED = Counter("botfarm_resealed", "Rows of older keys, sealed by the first key again")
UNREADABLE = Counter(*PASSWORD_UNREADABLE)
# As counted by the last pass of any process.
SEALED_ROWS = Gauge(
    "botfarm_sealed_rows", "Sealed rows, by the key that sealed them", ["table", "key"], multiprocess_mode="mostrecent"
)
RESEAL_LEFT = Gauge("botfarm_reseal_left", "Rows sealed by another key than the first", multiprocess_mode="mostrecent")
