"""Where the API lies. Routers carry it themselves, so that a request's route knows its whole template."""

from typing import Any

from fastapi import Request

BASE = "/api/v1"


def documented(request: Request) -> dict[str, dict[str, Any]]:
    """What the OpenAPI document has at the request's path, with and without the last slash: operations by method."""
    body: dict[str, dict[str, Any]] = request.app.openapi()["paths"]
    template = str(getattr(request.scope.get("route"), "path_format", "")).rstrip("/")
    return next((operations for path, operations in body.items() if path.rstrip("/") == template), {})
