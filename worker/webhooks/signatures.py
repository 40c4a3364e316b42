"""A webhook's request: the event as CloudEvents JSON, signed as Standard Webhooks 1.0 says.

While a rotation overlaps there is a signature of each secret, and a receiver is content with the one it can verify.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from standardwebhooks import Webhook

from domain.events import feed
from domain.events.feed import Event

MEDIA_TYPE = "application/cloudevents+json"


def body(event: Event) -> str:
    return feed.as_json(event)


def headers(event: Event, *, content: str, secrets: Sequence[str], moment: datetime) -> Mapping[str, str]:
    """The headers that go with the content, sent at that moment. The id is the event's: it tells repeats apart."""
    message_id = str(event.event_id)
    moment = moment.astimezone(UTC)  # the library takes any clock reading for one of UTC
    signatures = [Webhook(secret).sign(message_id, moment, content) for secret in secrets]
    return {
        "Content-Type": MEDIA_TYPE,
        "User-Agent": "botfarm",
        "webhook-id": message_id,
        "webhook-timestamp": str(int(moment.timestamp())),
        "webhook-signature": " ".join(signatures),
    }
