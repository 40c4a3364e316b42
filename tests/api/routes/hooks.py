"""Webhooks over HTTP, as tests make and judge them."""

from typing import Any

from tests.api.farms import Farm

HOOKS = "/api/v1/webhooks"
URL = "https://hooks.example.org/in?tenant=7"


def make(farm: Farm, **body: Any) -> dict[str, Any]:
    answer = farm.client.post(f"{HOOKS}/", json={"url": URL, **body})
    assert answer.status_code == 201, answer.text
    return dict(answer.json())


def slug(answer: Any) -> str:
    return str(answer.json()["type"]).removeprefix("urn:botfarm:problem:")
