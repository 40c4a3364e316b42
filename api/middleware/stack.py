"""The app as a server calls it: layers before FastAPI, each pure ASGI, and FastAPI for what they let through.

They stand before it, not inside, because its own outer layers cost every call more than they do here: see
`fast_routes`. From the outside in: `Observer`, CORS if there is any, `Limits`, `Authentication`, `WholeBodies`,
`FastRoutes`, `BodyLimit`.
"""

from collections.abc import Callable, Iterable
from typing import Any

from fastapi import FastAPI
from starlette.types import ASGIApp, Receive, Scope, Send

Layer = Callable[[ASGIApp], ASGIApp]


class App(FastAPI):
    """A FastAPI app behind layers of its own, which see HTTP and nothing else."""

    def __init__(self, **options: Any) -> None:  # noqa: ANN401  -- those of FastAPI
        super().__init__(**options)
        self.front: ASGIApp = super().__call__

    def stand_behind(self, layers: Iterable[Layer]) -> None:
        """Put the layers before the app, the innermost first."""
        for layer in layers:
            self.front = layer(self.front)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            await self.front(scope, receive, send)
        else:
            await super().__call__(scope, receive, send)
