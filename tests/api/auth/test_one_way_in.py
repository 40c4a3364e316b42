"""A key is found by its hash and compared in constant time, and there is no other way in."""

import ast
import hmac
from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import event

from domain import keys
from domain.configuration.settings import Settings
from tests.api.auth.keyrings import bearing, new_key, unknown_key
from tests.api.farms import farming
from tests.api.servers import SOURCES

ROOMS = ("api", "domain", "worker", "standalone")
GATE, ENTRY = "api/middleware/authentication.py:_authorization", "api/auth/key_lookup.py:KeyLookup.identify"
# They say the header's name too: one to tell callers apart by a hash of what it holds, one to let browsers send it, one
# to keep it out of the log.
BESIDE = {"api/middleware/rates.py:Rate._key", "api/main.py:_layers", "domain/log.py:"}
# Where a column that holds a hash may be named: where keys are made and rotated, where they are recognised, the table.
HASH_FOLDERS = ("domain/keys/", "domain/tables.py", "domain/migrations/")


def functions(tree: ast.AST, prefix: str) -> Iterator[tuple[str, ast.AST]]:
    """Every function with its name; what stands outside of all belongs to the module."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.ClassDef):
            yield from functions(node, f"{prefix}{node.name}.")
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield f"{prefix}{node.name}", node
        else:
            yield prefix, node


def places_of(word: str, sources: dict[str, str]) -> set[str]:
    """The functions that say the word as a string, a header's name, in whatever letters."""
    return {
        name
        for path, source in sources.items()
        for name, body in functions(ast.parse(source), f"{path}:")
        for node in ast.walk(body)
        if isinstance(node, ast.Constant) and _text(node.value) == word and not _is_docstring(body, node)
    }


def callers_of(name: str, sources: dict[str, str]) -> set[str]:
    """The functions that call, or hand on, anything of that name."""
    return {
        place
        for path, source in sources.items()
        for place, body in functions(ast.parse(source), f"{path}:")
        for node in ast.walk(body)
        if (isinstance(node, ast.Attribute) and node.attr == name) or (isinstance(node, ast.Name) and node.id == name)
    }


def _text(value: object) -> str:
    return value.decode().lower() if isinstance(value, bytes) else str(value).lower()


def _is_docstring(body: ast.AST, node: ast.Constant) -> bool:
    answer = isinstance(node.value, str) and isinstance(body, ast.FunctionDef | ast.AsyncFunctionDef)
    return answer and ast.get_docstring(body, clean=False) == node.value  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def sources() -> dict[str, str]:
    paths = [path for room in ROOMS for path in (SOURCES / room).rglob("*.py")]
    return {str(path.relative_to(SOURCES)): path.read_text() for path in paths}


def test_one_function_reads_the_header_and_one_takes_its_value(sources: dict[str, str]) -> None:
    assert places_of("authorization", sources) == {GATE, *BESIDE}
    assert callers_of("_authorization", sources) == {"api/middleware/authentication.py:Authentication.__call__"}
    assert callers_of("identify", sources) == {"api/middleware/authentication.py:Authentication.__call__"}


def test_the_presented_key_goes_into_its_digest_and_nowhere_else(sources: dict[str, str]) -> None:
    digesting = {place for place in callers_of("digest", sources) if "keys.digest" in source_of(place, sources)}

    assert digesting == {ENTRY}
    assert callers_of("recognise", sources) == {"api/auth/key_lookup.py:KeyLookup._ask"}


def source_of(place: str, sources: dict[str, str]) -> str:
    path, _, name = place.partition(":")
    found = dict(functions(ast.parse(sources[path]), ""))[name]
    return str(ast.get_source_segment(sources[path], found))


def test_the_hashes_are_named_nowhere_but_where_keys_are_kept_and_recognised(sources: dict[str, str]) -> None:
    naming = {
        path
        for path, source in sources.items()
        if "api_keys" in source and ("hash" in source.replace("hashlib", "")) and not path.startswith(HASH_FOLDERS)
    }

    assert naming == set()


def test_a_second_reader_of_the_header_is_noticed(sources: dict[str, str]) -> None:
    planted = sources | {
        "api/back_door.py": "async def enter(request, database):\n"
        "    key = request.headers.get('Authorization')\n"
        "    return await database.run(keys.recognise, digest=keys.digest(key))\n"
    }

    assert places_of("authorization", planted) == {GATE, *BESIDE, "api/back_door.py:enter"}
    assert callers_of("recognise", planted) - callers_of("recognise", sources) == {"api/back_door.py:enter"}
    assert callers_of("digest", planted) - callers_of("digest", sources) == {"api/back_door.py:enter"}


def test_a_header_name_outside_any_function_is_noticed(sources: dict[str, str]) -> None:
    planted = sources | {
        "api/side_door.py": "HEADER = b'AUTHORIZATION'\n",
        "api/cellar.py": "class Cellar:\n    find = staticmethod(keys.recognise)\n",
    }

    assert places_of("authorization", planted) == {GATE, *BESIDE, "api/side_door.py:"}
    assert callers_of("recognise", planted) - callers_of("recognise", sources) == {"api/cellar.py:Cellar."}


def test_only_the_digest_goes_into_a_statement_and_it_is_compared_in_constant_time(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    compared: list[tuple[bytes, bytes]] = []

    def note(_conn: Any, _cursor: Any, statement: str, parameters: Any, *_more: Any) -> None:
        said.append(f"{statement} {parameters!r}")

    really = hmac.compare_digest

    def compare(kept: bytes, presented: bytes) -> bool:
        compared.append((kept, presented))
        return really(kept, presented)

    monkeypatch.setattr(hmac, "compare_digest", compare)
    with farming(settings.model_copy(update={"auth": "keys"})) as farm:
        key, unknown = new_key(farm, "watched", "read"), unknown_key()
        for engine in farm.app.state.services.engines:
            event.listen(engine, "before_cursor_execute", note)
        statuses = []
        for presented in (key, unknown):
            with bearing(farm, presented) as client:
                statuses.append(client.get("/api/v1/whoami").status_code)

    digests = [keys.digest(presented) for presented in (key, unknown)]
    assert statuses == [200, 401]
    assert compared == [(digests[0], digests[0])]
    assert sum(repr(digest) in line for digest in digests for line in said) == 2
    assert [line for line in said if key[3:] in line or unknown[3:] in line] == []
