"""Undeclared query parameters are refused: a misspelt filter must not silently match everything."""

from fastapi import Request
from fastapi.exceptions import RequestValidationError

from api.http import paths


async def refuse_unknown(request: Request) -> None:
    """Raises RequestValidationError naming each parameter that the route does not declare in the OpenAPI document."""
    if not request.query_params:
        return
    known = _declared(request)
    unknown = [name for name in request.query_params if name not in known]
    if unknown:
        message = f"Unknown query parameter; this path supports: {', '.join(sorted(known)) or 'none'}"
        raise RequestValidationError(
            [{"loc": ("query", name), "msg": message, "type": "extra_forbidden"} for name in unknown]
        )


def _declared(request: Request) -> set[str]:
    operation = paths.documented(request).get(request.method.lower(), {})
    return {parameter["name"] for parameter in operation.get("parameters", []) if parameter["in"] == "query"}
