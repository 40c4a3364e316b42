"""How the farm is used."""

from fastapi import APIRouter

from api.auth.principals import Reader
from api.http import openapi_responses
from api.http.paths import BASE
from api.schemas.stats import StatsOut, TotalOut
from api.services import Provided
from domain import statistics

router = APIRouter(prefix=f"{BASE}/stats", tags=["operations"])


@router.get("", summary="Get totals per project, env and domain", responses=openapi_responses.describe())
@router.get("/", include_in_schema=False)
async def totals(services: Provided, caller: Reader) -> StatsOut:
    found = await services.database.run(statistics.totals, projects=caller.projects)
    return StatsOut(totals=[TotalOut.of(total) for total in found])
