"""What is installed is looked up among advisories and has an allowed licence, and each look finds what is planted."""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib import import_module, metadata
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tests import patience

# The image of the tests has no linters; on the machines where changes are made they are there.
for tool in ("pip_audit", "license_expression", "cyclonedx"):
    pytest.importorskip(tool)

ROOT = Path(__file__).parents[2]
LOCK = ROOT / "requirements" / "dev.txt"  # holds all the others
VULNERABLE = "h11"
Script = Callable[[str], ModuleType]
ADVISORY = {
    "id": "PYSEC-2099-1",
    "aliases": ["CVE-2099-1"],
    "summary": "planted",
    "affected": [
        {
            "package": {"name": VULNERABLE, "ecosystem": "PyPI"},
            "ranges": [{"type": "ECOSYSTEM", "events": [{"introduced": "0"}, {"fixed": "99"}]}],
        }
    ],
}


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> Script:
    monkeypatch.syspath_prepend(str(ROOT / ".ci"))
    return import_module


def run(name: str, *options: str, **variables: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, str(ROOT / ".ci" / f"{name}.py"), *options]
    environment = {**os.environ, **variables}
    return subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=patience.limit(100), check=False
    )


class Advisories(BaseHTTPRequestHandler):
    """The interface of osv.dev, with one advisory when `vulnerable`."""

    vulnerable = False
    asked: list[tuple[str, str]]

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        name = asked["package"]["name"]
        self.asked.append((name, asked["version"]))
        found = {"vulns": [ADVISORY]} if self.vulnerable and name == VULNERABLE else {}
        body = json.dumps(found).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def advisories() -> Iterator[tuple[type[Advisories], str]]:
    handler = type("Here", (Advisories,), {"asked": []})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield handler, f"http://127.0.0.1:{server.server_port}/v1/query"
    server.shutdown()
    thread.join()
    server.server_close()


def audit(url: str, **variables: str) -> "subprocess.CompletedProcess[str]":
    return run("audit", "-s", "osv", "--osv-url", url, **variables)


def test_every_pinned_version_is_audited(script: Script, advisories: tuple[type[Advisories], str]) -> None:
    handler, url = advisories

    done = audit(url)

    assert done.returncode == 0, done.stdout + done.stderr
    assert sorted(handler.asked) == sorted({(pin.name, pin.version) for pin in script("locks").pins(LOCK.read_text())})
    assert f"audit: {len(handler.asked)} pinned versions, 0 fault(s)" in done.stdout
    assert len(handler.asked) > len(dict(handler.asked)), "the versions for other Pythons are not among them"


def test_a_vulnerable_version_fails_the_audit(advisories: tuple[type[Advisories], str]) -> None:
    handler, url = advisories
    handler.vulnerable = True

    done = audit(url)

    assert done.returncode == 1
    assert f"{VULNERABLE} " in done.stdout
    assert "PYSEC-2099-1, fixed in 99" in done.stdout


def test_an_unreachable_database_is_reported_and_fails_only_where_it_is_required() -> None:
    nowhere = "http://127.0.0.1:9/v1/query"

    passed, failed = audit(nowhere), audit(nowhere, BOTFARM_AUDIT="required")

    assert (passed.returncode, failed.returncode) == (0, 1)
    for done in (passed, failed):
        assert "NOT AUDITED" in done.stdout
        assert "fault(s)" not in done.stdout


KNOWN = {"name": "a", "version": "1", "vulns": []}
SKIPPED = {"name": "b", "skip_reason": "not found"}
GUILTY = {"name": "c", "version": "2", "vulns": [{"id": "PYSEC-1", "aliases": ["CVE-1"], "fix_versions": []}]}


@pytest.mark.parametrize(
    ("found", "passed_over", "faults"),
    [
        ([KNOWN], {}, []),
        ([KNOWN, SKIPPED], {}, ["b: not found"]),
        ([KNOWN, GUILTY], {}, ["c 2: PYSEC-1, fixed in nowhere yet"]),
        ([KNOWN, GUILTY], {"CVE-1": "not reached"}, []),
        ([KNOWN], {"CVE-1": "not reached"}, ["CVE-1: an exception that is not needed"]),
    ],
)
def test_a_report_is_judged(script: Script, found: list[Any], passed_over: dict[str, str], faults: list[str]) -> None:
    assert script("audit").faults(found, passed_over=passed_over) == faults


def test_a_report_in_which_nothing_is_known_is_no_audit(script: Script) -> None:
    judge = script("audit")

    with pytest.raises(judge.Unaudited):
        judge.faults([SKIPPED], passed_over={})


class Distribution(metadata.Distribution):
    """One that says nothing but its name and licence."""

    def __init__(self, name: str, *, expression: str = "", classifier: str = "", text: str = "") -> None:
        self.fields = Message()
        self.fields["Name"] = name
        for field, value in (("License-Expression", expression), ("License", text), ("Classifier", classifier)):
            if value:
                self.fields[field] = value

    @property
    def metadata(self) -> Any:
        return self.fields

    def read_text(self, filename: str) -> str | None:
        return None

    def locate_file(self, path: Any) -> Any:
        raise NotImplementedError


OSI = "License :: OSI Approved :: "


@pytest.mark.parametrize(
    ("told", "allowed"),
    [
        ({"expression": "MIT"}, True),
        ({"expression": "GPL-3.0-only OR MIT"}, True),
        ({"expression": "GPL-3.0-only AND MIT"}, False),
        ({"expression": "AGPL-3.0-or-later"}, False),
        ({"expression": "MIT", "classifier": f"{OSI}GNU Affero General Public License v3"}, True),
        ({"text": "Apache-2.0"}, True),
        ({"text": "GPL-2.0-only"}, False),
        ({"text": "do what you want", "classifier": f"{OSI}MIT License"}, True),
        ({"classifier": f"{OSI}GNU Lesser General Public License v3 or later (LGPLv3+)"}, False),
        ({"classifier": f"{OSI}Something New"}, False),
        ({"text": "do what you want"}, False),
        ({}, False),
    ],
)
def test_a_licence_is_allowed_only_where_it_says_so(script: Script, told: dict[str, str], *, allowed: bool) -> None:
    found = script("licences").faults([Distribution("it", **told)], allowed=["MIT", "Apache-2.0"], exceptions={})

    assert ("it" not in found) == allowed


def test_an_exception_holds_to_the_letter_and_only_while_it_is_needed(script: Script) -> None:
    faults = script("licences").faults
    library = Distribution("Lib_rary", expression="LGPL-3.0-or-later")

    assert faults([library], allowed=["MIT"], exceptions={"lib-rary": "LGPL-3.0-or-later"}) == {}
    assert "lib-rary" in faults([library], allowed=["MIT"], exceptions={"lib-rary": "GPL-3.0-only"})
    assert "gone" in faults([], allowed=["MIT"], exceptions={"gone": "GPL-3.0-only"})
    assert "free" in faults([Distribution("free", expression="MIT")], allowed=["MIT"], exceptions={"free": "MIT"})


def test_everything_installed_has_an_allowed_licence() -> None:
    done = run("licences")

    assert done.returncode == 0, done.stdout
    assert len(list(metadata.distributions())) > 80
    assert f"{len(list(metadata.distributions()))} distributions, 0 fault(s)" in done.stdout


def test_the_bill_of_materials_is_valid_and_lists_every_pin_with_its_hashes() -> None:
    body = run("sbom").stdout
    schema, validation = import_module("cyclonedx.schema"), import_module("cyclonedx.validation.json")

    bill, lock = json.loads(body), (ROOT / "requirements" / "app.txt").read_text()
    assert validation.JsonStrictValidator(schema.SchemaVersion.V1_6).validate_str(body) is None
    assert len(bill["components"]) == sum("==" in line for line in lock.splitlines() if line[0].isalpha())
    hashes = [each["content"] for part in bill["components"] for each in part["externalReferences"][0]["hashes"]]
    assert sorted(hashes) == sorted(
        line.split("sha256:")[1].split()[0] for line in lock.splitlines() if "sha256:" in line
    )
    (of_httpx,) = [part["dependsOn"] for part in bill["dependencies"] if "/httpx@" in part["ref"]]
    assert {reference.partition("@")[0] for reference in of_httpx} >= {"pkg:pypi/httpcore", "pkg:pypi/idna"}


def test_the_bill_of_materials_is_the_same_every_time() -> None:
    first, second = run("sbom", PYTHONHASHSEED="1"), run("sbom", PYTHONHASHSEED="2", TZ="Asia/Tokyo")

    assert first.stdout == second.stdout != ""


def test_another_lock_is_another_bill(script: Script) -> None:
    bill = script("sbom").bill
    lock = "a==1 ; python_version < '3.12' \\\n    # via b\na==2 ; python_version >= '3.12' \\\n    # via\n    #   b\n"
    lock += "b==2 \\\n    # via it (pyproject.toml)\n"

    one, other = bill(lock, name="it", version="1"), bill(lock.replace("a==1", "a==3"), name="it", version="1")

    assert json.loads(one)["serialNumber"] != json.loads(other)["serialNumber"]
    assert {part["ref"]: part.get("dependsOn") for part in json.loads(one)["dependencies"]} == {
        "it": ["pkg:pypi/b@2"],
        "pkg:pypi/a@1": None,
        "pkg:pypi/a@2": None,
        "pkg:pypi/b@2": ["pkg:pypi/a@1", "pkg:pypi/a@2"],
    }
