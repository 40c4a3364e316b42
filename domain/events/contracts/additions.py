"""What a schema may change once it is released: fields may be added, and nothing else.

Events of before the change are served after it, from the history, so the new schema must hold for them: an added
field must not be required, and nothing may be narrowed. Consumers of before the change read events of after it, so
nothing may be removed, become optional, or be widened. What needs more is another type, `….v2`.
"""

from collections.abc import Iterator, Mapping
from typing import Any

# They explain, and forbid nothing.
ANNOTATIONS = {"$schema", "$id", "$defs", "title", "description", "examples", "default", "deprecated"}

Schema = Mapping[str, Any]


def breaches(released: Schema, now: Schema) -> list[str]:
    """What of the change is no addition; empty when consumers need not know of it."""
    return list(_compared(_resolved(released, released), _resolved(now, now), "event"))


def _resolved(part: Any, root: Schema) -> Any:  # noqa: ANN401  -- any JSON
    """The schema with its `$ref`s put in, and without what only explains."""
    if isinstance(part, list):
        return [_resolved(item, root) for item in part]
    if not isinstance(part, Mapping):
        return part
    if "$ref" in part:
        name = part["$ref"].removeprefix("#/$defs/")
        return _resolved({**root["$defs"][name], **{k: v for k, v in part.items() if k != "$ref"}}, root)
    fields = {name: _resolved(field, root) for name, field in part.get("properties", {}).items()}
    rest = {name: _resolved(value, root) for name, value in part.items() if name not in {*ANNOTATIONS, "properties"}}
    return rest | ({"properties": fields} if "properties" in part else {})


def _compared(old: Schema, new: Schema, place: str) -> Iterator[str]:
    old_fields, new_fields = old.get("properties", {}), new.get("properties", {})
    old_needed, new_needed = set(old.get("required", ())), set(new.get("required", ()))
    yield from (f"{place}.{name}: removed" for name in old_fields if name not in new_fields)
    yield from (f"{place}.{name}: became optional" for name in old_needed - new_needed if name in new_fields)
    yield from (f"{place}.{name}: must not be required" for name in new_needed - old_needed)
    if _rest(old) != _rest(new):
        yield f"{place}: {_rest(old)} became {_rest(new)}"
    for name in old_fields:
        if name in new_fields:
            yield from _compared(old_fields[name], new_fields[name], f"{place}.{name}")


def _rest(schema: Schema) -> dict[str, Any]:
    return {name: value for name, value in schema.items() if name not in {"properties", "required"}}
