"""How errors look over HTTP: RFC 9457 `application/problem+json`. The texts of refusals are in `problems`."""

import http
import math
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from api.http import paths, request_ids
from api.http.problems import TABLE
from domain import errors, log
from domain.errors import Refusal
from domain.timestamps import utc

MEDIA_TYPE = "application/problem+json"
RETRY_AFTER_MOST = 60
ADVICE = {
    404: "There is no such path. See /docs for the calls there are.",
    405: "This path does not support this method. See the Allow header, or /docs.",
}
TOO_LARGE_DETAIL = "The body is larger than 1 MiB. Split it into smaller calls."
INCOMPLETE_DETAIL = (
    "The body is not as long as Content-Length or Transfer-Encoding announced, or they contradict each other. Nothing"
    " was done: send the call again with its whole body."
)
MALFORMED_DETAIL = "This is not a valid HTTP/1.1 request. Nothing was done: correct it, then send it again."
# FastAPI's 400 for a body that is no text, is nested too deep or holds a number too long: invalid JSON as any other.
UNREADABLE = ({"loc": ("body",), "msg": "Cannot be read as JSON", "type": "json_invalid"},)

log_ = log.get(__name__)


def install(app: FastAPI) -> None:
    """Answer every error of this app with a problem document."""
    for kind in (Refusal, RequestValidationError, HTTPException, Exception):
        app.add_exception_handler(kind, _handle)


async def _handle(request: Request, error: Exception) -> JSONResponse:
    answered = answer_to(error, instance=request.url.path)
    if answered.status_code == http.HTTPStatus.METHOD_NOT_ALLOWED:
        methods = paths.documented(request)
        if methods:  # RFC 9110 wants all that the path takes, and each route knows its own alone
            answered.headers["Allow"] = ", ".join(sorted(methods)).upper()
    return answered


def answer_to(error: Exception, *, instance: str) -> JSONResponse:
    """The answer to a call that ended in this error."""
    match error:
        case Refusal():
            return _refused(error, instance)
        case RequestValidationError():
            return answer(invalid_document(error.errors(), instance=instance))
        case HTTPException():
            return _http(error, instance)
        case _:
            return _failed(error, instance)


def document(refusal: Refusal, *, instance: str) -> tuple[dict[str, Any], dict[str, str]]:
    """The problem document of a refusal and the headers that go with it."""
    problem = TABLE[type(refusal)]
    members = {name: _json(value) for name, value in problem.members(refusal).items()}
    body = _body(problem.status, problem.slug, problem.title, problem.detail(refusal), instance) | members
    if refusal.place is not None:
        body |= {"request_id": str(refusal.place.request_id), "position": refusal.place.position}
    if problem.retry_after is None:
        return body, dict(problem.headers)
    seconds = min(RETRY_AFTER_MOST, max(1, math.ceil(problem.retry_after(refusal))))
    return body, {**problem.headers, "Retry-After": str(seconds)}


def invalid_document(found: Sequence[Mapping[str, Any]], *, instance: str) -> dict[str, Any]:
    """The problem document of invalid input. It says where and why, never what: the input may hold a password."""
    places = [{"loc": list(e["loc"]), "msg": e["msg"], "type": e["type"]} for e in found]
    detail = _invalid_fields(len(places))
    return _body(422, "invalid-request", "Invalid request", detail, instance) | {"errors": places}


def _invalid_fields(number: int) -> str:
    return f"The request has {number} invalid field{'' if number == 1 else 's'}; see `errors`."


def too_large(instance: str) -> dict[str, Any]:
    return _body(413, "content-too-large", "Content Too Large", TOO_LARGE_DETAIL, instance)


def incomplete(instance: str) -> dict[str, Any]:
    """The problem of a body that is not as long as its head announced."""
    return _body(400, "body-incomplete", "Body incomplete", INCOMPLETE_DETAIL, instance)


def malformed(instance: str) -> dict[str, Any]:
    """The problem of bytes that are not a request."""
    return _body(400, "malformed-request", "Malformed request", MALFORMED_DETAIL, instance)


def problem(status: int, slug: str, title: str, detail: str, instance: str) -> dict[str, Any]:
    """The document of a problem that no rule of the domain knows."""
    return _body(status, slug, title, detail, instance)


def overloaded(instance: str) -> tuple[dict[str, Any], dict[str, str]]:
    return document(errors.Overloaded(), instance=instance)


def answer(body: Mapping[str, Any], headers: Mapping[str, str] | None = None) -> JSONResponse:
    return JSONResponse(body, body["status"], dict(headers or {}), media_type=MEDIA_TYPE)


def _refused(refusal: Refusal, instance: str) -> JSONResponse:
    return answer(*document(refusal, instance=instance))


def _http(error: HTTPException, instance: str) -> JSONResponse:
    if error.status_code == http.HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
        return answer(too_large(instance), {"Connection": "close"})
    if error.status_code == http.HTTPStatus.BAD_REQUEST:
        return answer(invalid_document(UNREADABLE, instance=instance))
    phrase = http.HTTPStatus(error.status_code).phrase
    slug = phrase.lower().replace(" ", "-")
    detail = ADVICE.get(error.status_code, error.detail)
    return answer(_body(error.status_code, slug, phrase, detail, instance), error.headers)


def _failed(error: Exception, instance: str) -> JSONResponse:
    """A defect of ours. The server logs the traceback; the caller gets the request id to quote."""
    request_id = request_ids.current()
    log_.error("request_failed", path=instance, error=type(error).__name__)
    detail = f"The server failed on this call. Report it with request id {request_id}."
    body = _body(500, "internal", "Internal error", detail, instance)
    # uvicorn closes the connection of an app that raised: without this header a client would send its next call into
    # it.
    return answer(body, {"Connection": "close"})


def _body(status: int, slug: str, title: str, detail: str, instance: str) -> dict[str, Any]:
    kind = f"urn:botfarm:problem:{slug}"
    return {"type": kind, "title": title, "status": status, "detail": detail, "instance": instance}


def _json(value: object) -> object:
    if isinstance(value, datetime):
        return utc(value)
    return str(value) if isinstance(value, UUID) else value
