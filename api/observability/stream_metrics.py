"""What the event streams tell Prometheus."""

from prometheus_client import CollectorRegistry, Counter, Gauge


class StreamFigures:
    """`encoded` against `sent` shows that an event is made into bytes once, however many clients get it."""

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
            "botfarm_event_streams_encoded_total", "New events made ready for all streams at once", registry=registry
        )
        self.sent = Counter("botfarm_event_streams_sent_total", "Events sent, over all streams", registry=registry)
