"""What every answer tells browsers, on whatever way it was made; and that the documentation page lives with it."""

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI
from sqlalchemy import text

from api.main import create_app
from domain.configuration.settings import Settings
from tests import patience
from tests.api.farms import NOBODY, USERS, Farm
from tests.api.servers import serving

STRICT = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
}
OF_A_PAGE = {
    "X-Frame-Options": "DENY",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Cross-Origin-Opener-Policy": "same-origin",
}
SITE = "https://dashboards.example.org"
CHROMIUM = shutil.which("chromium")
BROWSE = ["--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr", "--virtual-time-budget=20000"]


def security_headers_of(answer: httpx.Response) -> dict[str, str | None]:
    return {name: answer.headers.get(name) for name in STRICT}


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/livez", 200),
        ("GET", "/metrics", 200),
        ("GET", "/openapi.json", 200),
        ("GET", f"{USERS}/", 200),
        ("GET", f"{USERS}/{NOBODY}", 404),
        ("POST", f"{USERS}/{NOBODY}/acquire_lock", 404),
        ("POST", f"{USERS}/{NOBODY}/renew_lock", 422),
        ("GET", "/nowhere", 404),
        ("GET", f"{USERS}/?limit=0", 422),
        ("GET", f"/{'x' * 10_000}", 414),
        ("PUT", f"{USERS}/", 405),
        ("GET", "/static/swagger/swagger-ui.css", 200),
    ],
)
def test_every_answer_has_the_strict_headers(farm: Farm, method: str, path: str, status: int) -> None:
    answer = farm.client.request(method, path)

    assert answer.status_code == status
    assert security_headers_of(answer) == STRICT


def test_a_hot_answer_has_them_each_once(farm: Farm, user_id: str) -> None:
    answer = farm.acquire(user_id)

    names = [name.lower() for name, _ in answer.headers.raw]
    assert answer.status_code == 200
    assert security_headers_of(answer) == STRICT
    assert len(names) == len(set(names))


def test_even_a_defect_has_them(served: Farm) -> None:
    served.spoilt = True
    with served.engine.begin() as conn:
        conn.execute(text("ALTER TABLE outbox RENAME TO elsewhere"))

    answer = served.client.post(f"{USERS}/", json={"login": "defect"})

    assert answer.status_code == 500
    assert security_headers_of(answer) == STRICT


def test_the_page_may_run_its_own_scripts_and_no_other(farm: Farm) -> None:
    page = farm.client.get("/docs")

    policy = page.headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'; script-src 'self' 'sha256-")
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy
    wanted = {**STRICT, **OF_A_PAGE, "Content-Security-Policy": policy}
    assert {name: page.headers.get(name) for name in wanted} == wanted


def browse(url: str, profile: Path) -> "subprocess.CompletedProcess[str]":
    command = [str(CHROMIUM), *BROWSE, f"--user-data-dir={profile}", "--dump-dom", url]
    return subprocess.run(command, capture_output=True, text=True, timeout=patience.limit(90), check=True)


@pytest.mark.skipif(CHROMIUM is None, reason="needs chromium, as in apt-get install chromium")
def test_a_browser_shows_the_page_and_has_nothing_to_complain_of(farm: Farm, tmp_path: Path) -> None:
    seen = browse(f"{farm.url}/docs", tmp_path)

    assert "/api/v1/users/{user_id}/acquire_lock" in seen.stdout.replace("\u200b", "").replace("<wbr>", "")
    assert "Content Security Policy" not in seen.stderr
    assert "CONSOLE" not in seen.stderr


@pytest.mark.skipif(CHROMIUM is None, reason="needs chromium, as in apt-get install chromium")
def test_a_page_with_another_script_would_be_complained_of(
    farm: Farm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The negative control of the test before."""
    monkeypatch.setattr(
        "api.routes.swagger._policy", lambda _page: "default-src 'none'; script-src 'self'; style-src 'self'"
    )

    seen = browse(f"{farm.url}/docs", tmp_path)

    assert "Content Security Policy" in seen.stderr
    assert "acquire_lock" not in seen.stdout


@pytest.fixture
def shared(settings: Settings) -> Iterator[tuple[FastAPI, httpx.Client]]:
    """An app that one other site may call."""
    app = create_app(settings.model_copy(update={"cors_origins": (SITE,)}))
    with serving(app) as url, httpx.Client(base_url=url) as client:
        yield app, client


def test_no_site_may_call_unless_it_is_named(farm: Farm) -> None:
    answer = farm.client.get("/livez", headers={"Origin": SITE})
    asked = farm.client.options(f"{USERS}/", headers={"Origin": SITE, "Access-Control-Request-Method": "POST"})

    assert [name for name in [*answer.headers, *asked.headers] if name.startswith("access-control")] == []


def test_a_site_that_is_named_may_call_and_no_other(shared: tuple[FastAPI, httpx.Client]) -> None:
    _, client = shared
    wish = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "content-type"}
    path = f"{USERS}/{NOBODY}/acquire_lock"

    allowed = client.options(path, headers={"Origin": SITE, **wish})
    hot = client.post(path, headers={"Origin": SITE})
    foreign = client.options(path, headers={"Origin": "https://elsewhere.example.org", **wish})

    assert (allowed.status_code, foreign.status_code) == (200, 400)
    assert allowed.headers["Access-Control-Allow-Origin"] == SITE
    assert hot.headers["Access-Control-Allow-Origin"] == SITE
    assert "Access-Control-Allow-Origin" not in foreign.headers
    assert "Access-Control-Allow-Credentials" not in allowed.headers
