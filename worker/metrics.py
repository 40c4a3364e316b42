"""What a worker process counts. The supervisor adds up the processes, dead ones included; see `reporting`."""

from prometheus_client import Counter, Gauge, Histogram

LATENCY_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)

SEQUENCED = Counter("botfarm_relay_events_sequenced", "Changes that were given their number")
PUBLISHED = Counter("botfarm_relay_events_published", "Entries appended to the stream, those put back included")
LATENCY = Histogram(
    "botfarm_change_to_stream_seconds", "From the change to its first being on the stream", buckets=LATENCY_BUCKETS
)
RESYNCS = Counter(
    "botfarm_stream_resyncs",
    "The stream ended otherwise than expected: ahead, behind, gone, cut, foreign, fork",
    ["kind"],
)
FOREIGN = Counter("botfarm_stream_foreign_entries", "Entries that no relay had written, removed from the stream")
EXPIRED = Counter("botfarm_locks_expired", "Lapsed locks that were tidied away")
RECLAIMED = Counter("botfarm_line_grants_reclaimed", "Grants of the waiting line that nobody fetched, taken back")
LOOP_FAILURES = Counter("botfarm_loop_failures", "Turns of a loop that failed", ["loop"])
WEBHOOK_DELIVERIES = Counter(
    "botfarm_webhook_deliveries",
    "Tries: delivered, refused, gone, timeout, unreachable, bad-answer, bad-url, forbidden-address, secret-unreadable,"
    " internal-error",
    ["outcome"],
)
WEBHOOK_LATENCY = Histogram(
    "botfarm_webhook_request_seconds", "From a webhook's request to its answer", buckets=LATENCY_BUCKETS
)
WEBHOOK_AGE = Histogram(
    "botfarm_change_to_webhook_seconds", "From the change to its being acknowledged", buckets=LATENCY_BUCKETS
)
WEBHOOKS_DISABLED = Counter("botfarm_webhooks_disabled", "Webhooks that were disabled, by reason", ["reason"])
RESEALED = Counter("botfarm_resealed", "Rows that an older key had sealed, sealed anew by the first")
UNREADABLE = Counter(
    "botfarm_password_unreadable", "Sealed rows that no key opened, once a pass or delivery that met one"
)
# As the last pass of any process counted them.
SEALED_ROWS = Gauge(
    "botfarm_sealed_rows", "Sealed rows by the key that sealed them", ["table", "key"], multiprocess_mode="mostrecent"
)
RESEAL_LEFT = Gauge(
    "botfarm_reseal_left", "Rows that another key than the first has sealed", multiprocess_mode="mostrecent"
)
