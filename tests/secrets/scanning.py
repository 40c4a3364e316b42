"""Looking for secrets in whatever was written, however it was spelled."""

import base64
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from urllib.parse import quote
from uuid import UUID

PASSWORD, LEASE, WEBHOOK_SECRET, API_KEY = "password", "lease", "webhook secret", "API key"
# What is secret wherever it comes from, planted or not. A sealed value does not look like this.
SHAPES = {
    WEBHOOK_SECRET: re.compile(rb"whsec_[A-Za-z0-9+/=]{20,}"),
    API_KEY: re.compile(rb"\bbf_[A-Za-z0-9_-]{20,}"),
}


@dataclass(frozen=True)
class Secret:
    kind: str
    value: str


@dataclass(frozen=True)
class Place:
    """Something that was written; `may_hold` are the kinds that belong there."""

    name: str
    content: bytes
    may_hold: frozenset[str] = frozenset()

    @classmethod
    def of(cls, name: str, told: object, *may_hold: str) -> "Place":
        content = told if isinstance(told, bytes) else str(told).encode()
        return cls(name, content, frozenset(may_hold))


def find(secrets: Iterable[Secret], places: Iterable[Place]) -> list[str]:
    """Where a secret stands that does not belong there, without repeating it."""
    wanted = [(secret.kind, tuple(forms(secret.value))) for secret in secrets]
    return [finding for place in places for finding in _in_place(wanted, place)]


def forms(value: str) -> Iterator[bytes]:
    """The ways in which a text is usually written."""
    plain = value.encode()
    yield from {plain, plain.hex().encode(), quote(value, safe="").encode(), json.dumps(value)[1:-1].encode()}
    yield from (base64.b64encode(b"\0" * shift + plain)[shift * 4 // 3 + 1 : -4].rstrip(b"=") for shift in range(3))
    try:
        yield from (UUID(value).hex.encode(), UUID(value).bytes)
    except ValueError:
        return


def _in_place(wanted: Sequence[tuple[str, tuple[bytes, ...]]], place: Place) -> Iterator[str]:
    for kind, spellings in wanted:
        if kind not in place.may_hold and any(spelling in place.content for spelling in spellings):
            yield f"{place.name}: a planted {kind}"
    for kind, shape in SHAPES.items():
        if kind not in place.may_hold and shape.search(place.content):
            yield f"{place.name}: something shaped like a {kind}"
