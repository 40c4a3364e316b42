"""When a client hangs up."""

from starlette.types import Receive


async def disconnected(receive: Receive) -> None:
    """Returns when the connection is closed; reads on until then, so nothing else may read it."""
    while (await receive())["type"] != "http.disconnect":
        continue
