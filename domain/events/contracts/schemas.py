"""The JSON Schemas (2020-12) of whole events."""

from typing import Any

from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue

from domain.events.contracts.models import EVENTS, Event

OPTIONAL = {"traceparent", "principal"}  # no request has made an expiry, and only histories tell of principals


class _Plain(GenerateJsonSchema):
    """Without the titles that only repeat the names."""

    def field_title_should_be_set(self, schema: Any) -> bool:  # noqa: ANN401  -- one of many typed dictionaries
        del schema
        return False

    def model_schema(self, schema: Any) -> JsonSchemaValue:  # noqa: ANN401  -- likewise
        body = super().model_schema(schema)
        body.pop("title", None)
        return body


def type_of(model: type[Event]) -> str:
    """`botfarm.lock.acquired.v1`, as the events of this model say."""
    (name,) = model.model_fields["type"].annotation.__args__  # type: ignore[union-attr]
    return str(name)


def schemas() -> dict[str, dict[str, Any]]:
    """The schema of each type. Open: consumers must let pass fields they do not know, for fields may be added."""
    return {type_of(model): _schema(model) for model in EVENTS}


def strict(schema: dict[str, Any]) -> dict[str, Any]:
    """The schema with every object closed: what tests hold events against, so that none has a field undeclared."""

    def closed(part: Any) -> Any:  # noqa: ANN401  -- any JSON
        if isinstance(part, list):
            return [closed(item) for item in part]
        if not isinstance(part, dict):
            return part
        body = {name: closed(value) for name, value in part.items()}
        return body | ({"additionalProperties": False} if isinstance(part.get("properties"), dict) else {})

    found: dict[str, Any] = closed(schema)
    return found


def _schema(model: type[Event]) -> dict[str, Any]:
    name = type_of(model)
    made = model.model_json_schema(schema_generator=_Plain)
    made["required"] = [field for field in made["required"] if field not in OPTIONAL]
    head = {"$schema": GenerateJsonSchema.schema_dialect, "$id": f"urn:botfarm:schema:{name}", "title": name}
    return head | made
