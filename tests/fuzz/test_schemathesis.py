"""Whatever is sent, the API answers as its OpenAPI document says, and a run that finds a breach says so."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.main import create_app
from api.middleware.stack import App
from domain.configuration.settings import Settings
from tests.api.auth.keyrings import new_key
from tests.api.farms import farming
from tests.api.logs import logging_to
from tests.api.servers import ApiProcess, serving
from tests.fuzz.hooks import PLANTED
from tests.fuzz.runs import SECONDS, START_SECONDS, fuzz
from tests.patience import eventually

PASSED_OVER = 1  # the stream
KEYS_SECONDS = 15
VICTIM = "/api/v1/stats"
NARROW = ("--include-path", VICTIM, "--phases", "coverage,fuzzing", "--max-examples", "5")


class Spoiler:
    """Answers one path as its test wants, all others as the app does."""

    def __init__(self, app: ASGIApp, *, status: int, kind: str = "application/json", body: bytes = b"{}") -> None:
        self._app = app
        self._start = {"type": "http.response.start", "status": status, "headers": [(b"content-type", kind.encode())]}
        self._body = {"type": "http.response.body", "body": body}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def spoil(message: Message) -> None:
            await send(self._start if message["type"] == "http.response.start" else self._body)

        spoilt = scope["type"] == "http" and scope["path"] == VICTIM and scope["method"] == "GET"
        await self._app(scope, receive, spoil if spoilt else send)


@pytest.fixture(autouse=True, scope="module")
def quiet_logs() -> Iterator[None]:
    """An app in this process would tell of every call."""
    with Path(os.devnull).open("w") as nowhere, logging_to(nowhere):
        yield


@pytest.fixture
def process(settings: Settings, tmp_path: Path) -> Iterator[ApiProcess]:
    process = ApiProcess(settings, tmp_path / "api.log")
    process.start()
    yield process
    process.kill()


@pytest.fixture
def app(settings: Settings) -> App:
    return create_app(settings)


@pytest.mark.timeout(SECONDS + 2 * START_SECONDS)
def test_every_answer_is_as_the_document_says(process: ApiProcess, tmp_path: Path) -> None:
    run = fuzz(process.url, tmp_path, "--max-time", str(SECONDS))

    operations = run.report["operations"]
    assert run.faults == [], run.said[-2_000:]
    assert run.report["exit_code"] == 0, run.said[-2_000:]
    assert operations["tested"] == operations["total"] - PASSED_OVER
    assert run.cases > 5 * SECONDS, "it hardly called at all"
    assert httpx.get(f"{process.url}/readyz").status_code == 200
    assert PLANTED not in process.said()
    assert "request_failed" not in process.said()


def test_where_keys_are_wanted_no_answer_is_undocumented_and_no_call_goes_without(
    process: ApiProcess, settings: Settings, tmp_path: Path
) -> None:
    process.kill()
    process.launch(BOTFARM_AUTH="keys")
    assert eventually(process.ready, seconds=START_SECONDS), process.said()
    with farming(settings) as farm:
        bearer = f"Authorization: Bearer {new_key(farm, 'fuzz', 'admin')}"

    run = fuzz(process.url, tmp_path, "--header", bearer, "--phases", "coverage", "--max-time", str(KEYS_SECONDS))

    assert run.faults == [], run.said[-2_000:]
    assert run.report["exit_code"] == 0, run.said[-2_000:]
    assert run.cases > KEYS_SECONDS, "it hardly called at all"
    assert "request_failed" not in process.said()


def test_a_gate_that_stands_open_is_found(settings: Settings, tmp_path: Path) -> None:
    app = create_app(settings.model_copy(update={"auth": "keys"}))
    app.state.services.identities.off = True
    with serving(app) as url:
        run = fuzz(url, tmp_path, "--header", "Authorization: Bearer any", *NARROW)

    assert run.report["exit_code"] == 1
    assert "without authentication" in run.said, run.said


@pytest.mark.parametrize(
    ("title", "spoilt"),
    [
        ("Undocumented status code", {"status": 418}),
        ("Server error", {"status": 500}),
        ("Undocumented Content-Type", {"status": 200, "kind": "text/html"}),
        ("Response violates schema", {"status": 200, "body": b'{"totals": 7}'}),
        ("an answer repeats a planted password", {"status": 200, "body": f'{{"totals": "{PLANTED}"}}'.encode()}),
    ],
)
def test_a_planted_breach_is_found(app: App, tmp_path: Path, title: str, spoilt: dict[str, Any]) -> None:
    app.add_middleware(Spoiler, **spoilt)
    with serving(app) as url:
        run = fuzz(url, tmp_path, *NARROW)

    assert run.report["exit_code"] == 1
    assert title in run.said, run.said


def test_the_same_narrow_run_finds_nothing_where_nothing_is_planted(app: App, tmp_path: Path) -> None:
    with serving(app) as url:
        run = fuzz(url, tmp_path, *NARROW)

    assert run.faults == [], run.said
    assert run.cases > 0
