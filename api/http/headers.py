"""The headers of a request, looked up by name: several layers ask for some of every call."""

from starlette.types import Scope

PLACE = "botfarm.headers"


def by_name(scope: Scope) -> dict[bytes, bytes]:
    """The headers by lower-case name, made once for each call; of several with one name, the last."""
    found: dict[bytes, bytes] | None = scope.get(PLACE)
    if found is None:
        found = scope[PLACE] = dict(scope["headers"])
    return found


def only(scope: Scope, name: bytes) -> bytes | None:
    """The one header of that lower-case name.

    None when it is missing or repeated, since a repeated one is ambiguous.
    """
    found = by_name(scope)
    value = found.get(name)
    if value is None or len(found) == len(scope["headers"]):
        return value
    given = [each for key, each in scope["headers"] if key == name]
    return value if len(given) == 1 else None
