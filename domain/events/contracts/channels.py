"""The AsyncAPI 3.0 document: by which ways the events come, and which events there are."""

from collections.abc import Sequence
from typing import Any

from domain.events.contracts.models import EVENTS, Event
from domain.events.contracts.schemas import type_of

PAGE = "page"  # the message of the feed
SCHEMA_FORMAT = "application/schema+json;version=draft-2020-12"

INFO = {
    "title": "Botfarm events",
    "version": "1.0.0",
    "description": (
        "Every committed change of a user or a lock is one event, a rolled-back one none. There is one order with no"
        " gaps: the extension `cursor`, `<epoch>-<sequence>`, is the id of the stream's entry, the `id:` of the"
        " server-sent event and the cursor of the HTTP feed. Per user, `lockversion` counts 1, 2, 3 … A consumer sees"
        " an event again only after its own crash, and removes the duplicate by the one cursor it stores. Fields may be"
        " added to an event; whatever else changes makes a new type."
    ),
}
SERVERS = {
    "redis": {"host": "127.0.0.1:6379", "protocol": "redis", "description": "Redis 6.2 or newer, or Valkey"},
    "api": {"host": "127.0.0.1:8000", "protocol": "http", "description": "The HTTP API"},
}
CHANNELS: dict[str, dict[str, Any]] = {
    "stream": {
        "address": "botfarm:events",
        "title": "Redis Stream",
        "servers": [{"$ref": "#/servers/redis"}],
        "description": (
            "The newest events, a million unless configured otherwise. The id of an entry is the event's cursor; its"
            " single field `e` holds the event as JSON. Read it with XREADGROUP and XAUTOCLAIM, or XREAD. The key"
            " starts with `BOTFARM_REDIS_PREFIX`."
        ),
    },
    "feed": {
        "address": "/api/v1/events",
        "title": "HTTP feed",
        "servers": [{"$ref": "#/servers/api"}],
        "description": (
            "A GET answers with the events after the cursor `after`, an array; without it from the oldest kept, with"
            " `after=latest` from now on; `wait_seconds` waits for a first one. `X-Cursor` says how far was looked,"
            " `X-Caught-Up` whether that is the end, and `Link` leads to the next page. A cursor is refused as over"
            " `sse`."
        ),
    },
    "sse": {
        "address": "/api/v1/events/stream",
        "title": "Server-sent events",
        "servers": [{"$ref": "#/servers/api"}],
        "description": (
            "`id:` is the cursor, `event:` the type, `data:` the event as JSON. A reconnect with `Last-Event-ID` goes"
            " on after that cursor: 400 when it is malformed, 410 when it is older than the events kept, 409 when this"
            " history does not know it."
        ),
    },
    "webhooks": {
        "address": None,
        "title": "Webhooks",
        "description": (
            "A POST of the event as JSON to a URL of the receiver's, in order, by the Standard Webhooks 1.0 convention:"
            " `webhook-id`, `webhook-timestamp`, `webhook-signature`."
        ),
    },
}


def asyncapi() -> dict[str, Any]:
    """The document; the schemas lie beside it."""
    messages = {type_of(model): _message(model) for model in EVENTS}
    each = {name: {"$ref": f"#/components/messages/{name}"} for name in messages}
    paged = {PAGE: {"$ref": f"#/components/messages/{PAGE}"}}
    return {
        "asyncapi": "3.0.0",
        "info": INFO,
        "defaultContentType": "application/cloudevents+json",
        "servers": SERVERS,
        "channels": {
            channel: {**about, "messages": paged if channel == "feed" else each} for channel, about in CHANNELS.items()
        },
        "operations": {
            f"send-{channel}": {"action": "send", "channel": {"$ref": f"#/channels/{channel}"}} for channel in CHANNELS
        },
        "components": {"messages": messages | {PAGE: _page(list(messages))}},
    }


def _message(model: type[Event]) -> dict[str, Any]:
    name = type_of(model)
    return {
        "name": name,
        "summary": " ".join((model.__doc__ or "").split()),
        "contentType": "application/cloudevents+json",
        "payload": {"schemaFormat": SCHEMA_FORMAT, "schema": _schema(name)},
    }


def _page(names: Sequence[str]) -> dict[str, Any]:
    events = {"type": "array", "items": {"oneOf": [_schema(name) for name in names]}}
    return {
        "name": PAGE,
        "summary": "Events in order, as many as were asked for at most.",
        "contentType": "application/cloudevents-batch+json",
        "payload": {"schemaFormat": SCHEMA_FORMAT, "schema": events},
    }


def _schema(name: str) -> dict[str, str]:
    return {"$ref": f"./schemas/{name}.json"}
