"""Names and texts of the metrics that both API and worker export, so that each has one meaning. It needs no client."""

# By the field of `farm_state.FarmState`.
FARM_GAUGES = {
    "epoch": ("botfarm_epoch", "Epoch of the event history"),
    "relay_lag": ("botfarm_relay_lag", "Events that have their number and are not on the stream yet"),
    "outbox_pending": ("botfarm_outbox_pending", "Changes that have no number yet"),
    "outbox_oldest_seconds": ("botfarm_outbox_oldest_seconds", "Age of the oldest change without a number; 0 for none"),
    "locks_lapsed": ("botfarm_locks_lapsed", "Lapsed locks that the worker has not ended yet"),
}
PASSWORD_UNREADABLE = (
    "botfarm_password_unreadable",
    "Sealed values that no key opened, counted once per call, delivery or pass that met one",
)
