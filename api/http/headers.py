"""The headers of a request by name, parsed once per call for all layers."""

from starlette.types import Scope

SCOPE_KEY = "botfarm.headers"  # under which the headers by name are kept in the ASGI scope


def by_name(scope: Scope) -> dict[bytes, bytes]:
    """The headers by lower-case name; of several with one name, the last."""
    found: dict[bytes, bytes] | None = scope.get(SCOPE_KEY)
    if found is None:
        found = scope[SCOPE_KEY] = dict(scope["headers"])
    return found


def only(scope: Scope, name: bytes) -> bytes | None:
    """The only header of that lower-case name; None when there is none, or several, which is ambiguous."""
    found = by_name(scope)
    value = found.get(name)
    if value is None or len(found) == len(scope["headers"]):
        return value
    given = [each for key, each in scope["headers"] if key == name]
    return value if len(given) == 1 else None
