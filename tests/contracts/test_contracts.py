"""The contract's files say what the models say, and hold what was once released."""

import copy
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft7Validator, Draft202012Validator

from domain.events import contracts

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
RELEASED = {path.stem: json.loads(path.read_text()) for path in (DOCS / "schemas" / "released").glob("*.json")}
OFFICIAL = json.loads((Path(__file__).parent / "asyncapi" / "asyncapi-3.0.0.json").read_text())
ACQUIRED = "botfarm.lock.acquired.v1"
TYPES = {f"botfarm.user.{verb}.v1" for verb in ("created", "updated", "deleted")} | {
    f"botfarm.lock.{verb}.v1" for verb in ("acquired", "renewed", "released", "expired")
}

Change = Callable[[dict[str, Any]], object]


def check(docs: Path) -> tuple[int, str]:
    command = [sys.executable, str(ROOT / ".ci" / "contracts.py"), "--check", str(docs)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    return Path(shutil.copytree(DOCS, tmp_path / "docs"))


def test_there_is_a_schema_for_every_type_of_event() -> None:
    assert set(contracts.schemas()) == TYPES | {"botfarm.webhook.disabled.v1"}


def test_the_files_are_those_that_the_models_make() -> None:
    assert check(DOCS) == (0, "")


@pytest.mark.parametrize("file", ["asyncapi.yaml", f"schemas/{ACQUIRED}.json"])
def test_a_file_that_was_altered_is_noticed(copied: Path, file: str) -> None:
    (copied / file).write_text((copied / file).read_text().replace("botfarm", "botform", 1))

    assert check(copied) == (1, f"{file}: differs\n")


def test_a_file_that_is_missing_or_of_no_type_is_noticed(copied: Path) -> None:
    (copied / "schemas" / f"{ACQUIRED}.json").rename(copied / "schemas" / "botfarm.lock.stolen.v1.json")

    code, said = check(copied)

    assert code == 1
    assert said == f"schemas/botfarm.lock.stolen.v1.json: no such type\nschemas/{ACQUIRED}.json: differs\n"


@pytest.mark.parametrize("name", sorted(contracts.schemas()))
def test_every_schema_is_valid_json_schema_2020_12(name: str) -> None:
    schema = contracts.schemas()[name]

    Draft202012Validator.check_schema(schema)
    assert schema["properties"]["type"]["const"] == name


def _document() -> dict[str, Any]:
    document: dict[str, Any] = yaml.safe_load((DOCS / "asyncapi.yaml").read_text())
    return document


def test_the_asyncapi_document_keeps_the_official_schema() -> None:
    assert list(Draft7Validator(OFFICIAL).iter_errors(_document())) == []


@pytest.mark.parametrize(
    "spoil",
    [
        lambda document: document.pop("info"),
        lambda document: document.update(asyncapi="2.6.0"),
        lambda document: document["channels"]["stream"].update(colour="green"),
        lambda document: document["operations"]["send-sse"].update(action="shout"),
        lambda document: document["servers"]["redis"].pop("protocol"),
    ],
    ids=["info", "version", "channel", "action", "server"],
)
def test_an_asyncapi_document_that_is_wrong_is_found_out(spoil: Change) -> None:
    document = _document()

    spoil(document)

    assert list(Draft7Validator(OFFICIAL).iter_errors(document))


def _references(part: object) -> list[str]:
    if isinstance(part, dict):
        return [part["$ref"]] if "$ref" in part else [found for value in part.values() for found in _references(value)]
    return [found for item in part for found in _references(item)] if isinstance(part, list) else []


def test_every_reference_of_the_asyncapi_document_leads_somewhere() -> None:
    document = _document()

    for reference in set(_references(document)):
        if reference.startswith("./"):
            assert (DOCS / reference).is_file(), reference
            continue
        place: Any = document
        for step in reference.removeprefix("#/").split("/"):
            place = place[step]


def test_every_channel_carries_every_type() -> None:
    document = _document()
    channels = document["channels"]
    (page,) = channels.pop("feed")["messages"]
    paged = document["components"]["messages"][page]["payload"]["schema"]["items"]["oneOf"]

    assert set(channels) == {"stream", "sse", "webhooks"}
    assert all(set(channel["messages"]) == set(contracts.schemas()) for channel in channels.values())
    assert {Path(schema["$ref"]).stem for schema in paged} == set(contracts.schemas())


@pytest.mark.parametrize("name", sorted(RELEASED))
def test_nothing_released_was_taken_back(name: str) -> None:
    assert contracts.breaches(RELEASED[name], contracts.schemas()[name]) == []


def _lease(schema: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = schema["$defs"]["LockData"]
    return found


def _added(schema: dict[str, Any]) -> None:
    _lease(schema)["properties"]["shift"] = {"type": "string"}
    schema["properties"]["colour"] = {"type": "object", "properties": {"r": {"type": "integer"}}, "required": ["r"]}
    schema["description"] = "Told better"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda s: _lease(s)["properties"].pop("token"), "event.data.token: removed"),
        (lambda s: s["properties"].pop("lockversion"), "event.lockversion: removed"),
        (lambda s: _lease(s)["required"].remove("owner"), "event.data.owner: became optional"),
        (lambda s: s["required"].append("traceparent"), "event.traceparent: must not be required"),
        (lambda s: _lease(s)["properties"]["project_id"]["anyOf"].pop(), "event.data.project_id: "),
        (lambda s: _lease(s)["properties"]["env"].update(enum=["stage"]), "event.data.env: "),
        (lambda s: _lease(s)["properties"]["token"].update(minimum=2), "event.data.token: "),
        (lambda s: _lease(s)["properties"]["token"].update(type=["integer", "null"]), "event.data.token: "),
        (lambda s: s["properties"]["subject"].pop("pattern"), "event.subject: "),
    ],
    ids=["field", "extension", "optional", "required", "null", "enum", "bound", "wider", "pattern"],
)
def test_what_is_no_addition_is_found_out(change: Change, said: str) -> None:
    now = copy.deepcopy(RELEASED[ACQUIRED])

    change(now)

    (found,) = contracts.breaches(RELEASED[ACQUIRED], now)
    assert found.startswith(said)


def test_a_field_that_was_added_is_an_addition() -> None:
    now = copy.deepcopy(RELEASED[ACQUIRED])

    _added(now)

    assert contracts.breaches(RELEASED[ACQUIRED], now) == []
