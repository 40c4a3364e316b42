"""The metrics of the event streams, for Prometheus."""

from prometheus_client import CollectorRegistry, Counter, Gauge


class StreamFigures:
    """`encoded` compared with `sent` shows that an event is encoded once, however many clients receive it."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.open = Gauge(
            "botfarm_event_streams_open", "Event streams that are open", registry=registry, multiprocess_mode="livesum"
        )
        self.dropped = Counter(
            "botfarm_event_streams_dropped_total",
            "Event streams ended because the client read too slowly",
            registry=registry,
        )
        self.encoded = Counter(
            "botfarm_event_streams_encoded_total", "Events encoded, once for all streams", registry=registry
        )
        self.sent = Counter("botfarm_event_streams_sent_total", "Events sent, over all streams", registry=registry)
