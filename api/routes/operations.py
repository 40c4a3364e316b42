"""What operators and orchestrators ask: is it alive, is it ready, how is it."""

from typing import Any

from fastapi import APIRouter, Response
from fastapi.responses import JSONResponse

from api.observability import metrics
from api.services import Provided

router = APIRouter(tags=["operations"])

UNAVAILABLE = 503
NO_POSTGRES: dict[int | str, dict[str, Any]] = {
    UNAVAILABLE: {
        "description": "Postgres does not answer, or its schema is too old",
        "content": {"application/json": {}},
    }
}


@router.get("/health", summary="Check the service and what it depends on", responses=NO_POSTGRES)
async def health(services: Provided) -> JSONResponse:
    """`degraded` is still 200: without Redis or the worker locking goes on. Only without Postgres it is 503."""
    status, checks = services.monitor.report()
    body: dict[str, Any] = {"status": status, "checks": checks}
    return JSONResponse(body, UNAVAILABLE if status == "unavailable" else 200, {"Cache-Control": "no-store"})


@router.get("/livez", summary="Check that this process answers")
async def livez() -> dict[str, str]:
    return {"status": "ok"}


@router.get("/readyz", summary="Check that Postgres answers and its schema is current", responses=NO_POSTGRES)
async def readyz(services: Provided) -> JSONResponse:
    ready = services.monitor.ready()
    return JSONResponse({"status": "ok" if ready else "unavailable"}, 200 if ready else UNAVAILABLE)


@router.get("/metrics", summary="Get Prometheus metrics", response_class=Response)
async def figures(services: Provided) -> Response:
    return Response(services.metrics.render(), media_type=metrics.MEDIA_TYPE)
