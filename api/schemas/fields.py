"""The kinds of values that callers may send."""

import re
import unicodedata
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated

from pydantic import AfterValidator, AwareDatetime, BeforeValidator, Field, StringConstraints

METADATA_MOST_BYTES = 2_048
RFC_3339 = re.compile(r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(\.\d{1,9})?([Zz]|[+-]\d\d:\d\d)", re.ASCII)
UNPRINTABLE = frozenset({"Cc", "Cs"})  # control characters, and halves of surrogate pairs that UTF-8 cannot hold


def _printable(text: str) -> str:
    if any(unicodedata.category(character) in UNPRINTABLE for character in text):
        raise ValueError("must not contain control characters or lone surrogates")
    return text


def _encodable(text: str) -> str:
    """A password may hold anything that can be stored and given back unchanged."""
    if any(unicodedata.category(character) == "Cs" for character in text):
        raise ValueError("must not contain lone surrogates")
    return text


def _rfc_3339(text: object) -> object:
    """Pydantic alone would also take numbers, as seconds since 1970, and dates."""
    if not isinstance(text, str) or not RFC_3339.fullmatch(text):
        raise ValueError("must be an RFC 3339 time with an offset, such as 2026-11-24T10:00:00Z")
    return text


def _utc(moment: datetime) -> datetime:
    """RFC 3339 has offsets up to a day, Postgres up to 16 hours."""
    try:
        return moment.astimezone(UTC)
    except OverflowError:
        raise ValueError("must be within the years 1 to 9999 in UTC") from None


def _nfc(text: str) -> str:
    return unicodedata.normalize("NFC", text)


def _small(metadata: Mapping[str, str]) -> Mapping[str, str]:
    size = sum(len(key.encode()) + len(value.encode()) for key, value in metadata.items())
    if size > METADATA_MOST_BYTES:
        raise ValueError(f"must be at most {METADATA_MOST_BYTES} bytes, keys and values together")
    return metadata


Printable = Annotated[str, AfterValidator(_printable)]
Login = Annotated[
    str, StringConstraints(min_length=1, max_length=254), AfterValidator(_printable), AfterValidator(_nfc)
]
Password = Annotated[str, StringConstraints(min_length=1, max_length=1_024), AfterValidator(_encodable)]
Slug = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9_-]{0,62}$")]
# A filter names a label as `key:value`: a colon in the key could never be filtered by.
LabelKey = Annotated[
    str, StringConstraints(min_length=1, max_length=63, pattern=r"^[^:]+$"), AfterValidator(_printable)
]
LabelValue = Annotated[str, StringConstraints(max_length=200), AfterValidator(_printable)]
LabelFilter = Annotated[str, StringConstraints(pattern=r"^[^:]+:"), AfterValidator(_printable)]
Labels = Annotated[dict[LabelKey, LabelValue], Field(max_length=64)]
Owner = Annotated[str, StringConstraints(min_length=1, max_length=200), AfterValidator(_printable)]
Metadata = Annotated[dict[Printable, Printable], AfterValidator(_small)]
TtlSeconds = Annotated[int, Field(strict=True, ge=1, description="How long the lock lasts from now, in seconds")]
Moment = Annotated[AwareDatetime, BeforeValidator(_rfc_3339), AfterValidator(_utc)]

WaitSeconds = Annotated[int, Field(strict=True, ge=0, le=60, description="Wait in line so long, in seconds")]
Priority = Annotated[int, Field(strict=True, ge=-100, le=100, description="In line: higher first, then older")]
