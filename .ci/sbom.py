"""Write the bill of materials of a lock as CycloneDX JSON: `sbom.py [LOCK]`, the server's by default.

The same lock gives the same bytes on every machine: it is made of the lock alone, without a clock.
"""  # noqa: INP001  -- a script, run by its path

import sys
import tomllib
import uuid
from pathlib import Path

from cyclonedx.model import ExternalReference, ExternalReferenceType, HashAlgorithm, HashType, XsUri
from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.output.json import JsonV1Dot6
from locks import Pin, pins
from packageurl import PackageURL

ROOT = Path(__file__).parent.parent
NAMESPACE = uuid.UUID("5a0f6b0e-3a3c-5f0e-9a51-b07fa2000001")


def component(pin: Pin) -> Component:
    url = PackageURL("pypi", name=pin.name, version=pin.version)
    files = ExternalReference(
        type=ExternalReferenceType.DISTRIBUTION,
        url=XsUri(str(url)),
        comment="every file of this version that may be installed has one of these hashes",
        hashes=[HashType(alg=HashAlgorithm.SHA_256, content=content) for content in pin.hashes],
    )
    return Component(
        type=ComponentType.LIBRARY,
        name=pin.name,
        version=pin.version,
        bom_ref=str(url),
        purl=url,
        external_references=[files],
    )


def bill(lock: str, *, name: str, version: str) -> str:
    """The document. Its serial number is the lock's: another lock, another number."""
    bom = Bom(serial_number=uuid.uuid5(NAMESPACE, lock))
    bom.metadata.timestamp = None
    root = Component(type=ComponentType.APPLICATION, name=name, version=version, bom_ref=name)
    bom.metadata.component = root
    parts = [(pin, component(pin)) for pin in pins(lock)]
    bom.components.update(part for _, part in parts)
    for owner, part in [(name, root), *((pin.name, part) for pin, part in parts)]:
        bom.register_dependency(part, [wanted for pin, wanted in parts if owner in pin.wanted_by])
    return JsonV1Dot6(bom).output_as_string(indent=2) + "\n"


def main(options: list[str]) -> None:
    lock = Path(options[0]) if options else ROOT / "requirements" / "app.txt"
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    sys.stdout.write(bill(lock.read_text(), name=project["name"], version=project["version"]))


if __name__ == "__main__":
    main(sys.argv[1:])
