"""What an event must look like: CloudEvents 1.0 in JSON with the extensions of this service."""

from typing import Any

from jsonschema import Draft202012Validator, FormatChecker

UUID = {"type": "string", "format": "uuid"}
MOMENT = {"type": "string", "pattern": r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z$"}
STRINGS = {"type": "object", "additionalProperties": {"type": "string"}}
USER: dict[str, Any] = {
    "user_id": UUID,
    "login": {"type": "string", "minLength": 1},
    "project_id": {"anyOf": [UUID, {"type": "null"}]},
    "env": {"type": "string"},
    "domain": {"type": "string"},
}


def exactly(properties: dict[str, Any]) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


LOCK_DATA = exactly(
    {
        **USER,
        "owner": {"type": "string", "minLength": 1},
        "metadata": STRINGS,
        "token": {"type": "integer", "minimum": 1},
        "locktime": MOMENT,
        "expires_at": MOMENT,
        "reason": {"enum": [None, "holder", "forced", "unclaimed"]},
        "note": {"type": ["string", "null"]},
    }
)
USER_DATA = exactly(
    {
        **USER,
        "labels": STRINGS,
        "status": {"enum": ["active", "quarantined"]},
        "status_reason": {"type": ["string", "null"]},
    }
)
EVENT = exactly(
    {
        "specversion": {"const": "1.0"},
        "id": UUID,
        "source": {"const": "/botfarm"},
        "type": {
            "pattern": r"^botfarm\.(user\.(created|updated|deleted)|lock\.(acquired|renewed|released|expired))\.v1$"
        },
        "subject": {"type": "string", "pattern": "^users/[0-9a-f-]{36}$"},
        "time": MOMENT,
        "datacontenttype": {"const": "application/json"},
        "sequence": {"type": "string", "pattern": "^[0-9]{20}$"},
        "epoch": {"type": "string", "pattern": "^[1-9][0-9]*$"},
        "cursor": {"type": "string", "pattern": "^[1-9][0-9]*-[1-9][0-9]*$"},
        "partitionkey": UUID,
        "lockversion": {"type": "integer", "minimum": 1},
        "data": {"type": "object"},
    }
)
EVENT["properties"]["traceparent"] = {"type": "string", "pattern": "^00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$"}


def faults(event: dict[str, Any]) -> list[str]:
    """What is wrong with the event; nothing when it keeps the promise."""
    found = [error.message for error in _validator(EVENT).iter_errors(event)]
    if not found:
        data = LOCK_DATA if ".lock." in event["type"] else USER_DATA
        found += [error.message for error in _validator(data).iter_errors(event["data"])]
    return found or _contradictions(event)


def _contradictions(event: dict[str, Any]) -> list[str]:
    """Where two of its parts say different things."""
    user_id = event["data"]["user_id"]
    said_twice = {
        "subject": (event["subject"], f"users/{user_id}"),
        "partitionkey": (event["partitionkey"], user_id),
        "cursor": (event["cursor"], f"{event['epoch']}-{int(event['sequence'])}"),
        "reason": (".lock.released." in event["type"], event["data"].get("reason") is not None),
    }
    return [f"{name}: {one} is not {other}" for name, (one, other) in said_twice.items() if one != other]


def _validator(schema: dict[str, Any]) -> Draft202012Validator:
    return Draft202012Validator(schema, format_checker=FormatChecker())
