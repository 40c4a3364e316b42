"""What the OpenAPI document says of refusals: taken from the table that answers them, so that the two agree."""

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from api.http.errors import MEDIA_TYPE
from api.http.problems import TABLE
from domain.errors import DatabaseUnavailable, Forbidden, Overloaded, Refusal, Unauthenticated

Responses = dict[int | str, dict[str, Any]]

EVERYWHERE = (Unauthenticated, Forbidden, DatabaseUnavailable, Overloaded)
# Before a call is looked at: see `limits`.
AT_THE_DOOR = {
    400: "Body did not arrive whole (`body-incomplete`)",
    408: "Body did not come in time (`request-timeout`)",
    413: "Body too large (`content-too-large`)",
    414: "Path or query too long (`uri-too-long`)",
    429: "Too many calls (`rate-limited`), where a rate is set",
    431: "Headers too large (`headers-too-large`)",
}


class Problem(BaseModel):
    """RFC 9457; further members by `type`."""

    model_config = ConfigDict(extra="allow")

    type: str = Field(description="`urn:botfarm:problem:` and the slug: what programs tell problems apart by")
    title: str
    status: int
    detail: str = Field(description="What happened and what to do, for people")
    instance: str


SCHEMA = Problem.model_json_schema()


def describe(*refusals: type[Refusal]) -> Responses:
    """The `responses` of a route that may refuse so; invalid input, a bad key and a database away may come anywhere."""
    body = {422: ["Invalid request (`invalid-request`, with `errors`)"]}
    body |= {status: [text] for status, text in AT_THE_DOOR.items()}
    for problem in (TABLE[kind] for kind in (*refusals, *EVERYWHERE)):
        body.setdefault(problem.status, []).append(f"{problem.title} (`{problem.slug}`)")
    return {
        status: {"description": "; ".join(kinds), "content": {MEDIA_TYPE: {"schema": SCHEMA}}}
        for status, kinds in sorted(body.items())
    }
