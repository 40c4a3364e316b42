"""Write the contract of the events as files: `contracts.py DOCS` writes them, `--check` tells what would change."""  # noqa: INP001  -- a script, run by its path

import argparse
import json
import sys
from pathlib import Path

import yaml

ROOT = Path(__file__).parent.parent


class _Plain(yaml.SafeDumper):
    """Says again what comes again, for readers who do not know YAML's anchors."""

    def ignore_aliases(self, data: object) -> bool:
        del data
        return True


def files() -> dict[str, str]:
    """What each file, named from the docs folder, should hold."""
    from domain.events import contracts  # noqa: PLC0415  -- found through the path set below

    document = yaml.dump(contracts.asyncapi(), Dumper=_Plain, sort_keys=False, allow_unicode=True, width=110)
    made = {"asyncapi.yaml": f"# Written by `make contracts` from domain/contracts.\n{document}"}
    for name, schema in contracts.schemas().items():
        made[f"schemas/{name}.json"] = json.dumps(schema, indent=2, ensure_ascii=False) + "\n"
    return made


def differences(docs: Path) -> list[str]:
    wanted = files()
    there = {f"schemas/{path.name}" for path in (docs / "schemas").glob("*.json")}
    stale = [f"{name}: no such type" for name in sorted(there - set(wanted))]
    return stale + [f"{name}: differs" for name, text in wanted.items() if _read(docs / name) != text]


def write(docs: Path) -> None:
    for name, text in files().items():
        (docs / name).parent.mkdir(parents=True, exist_ok=True)
        (docs / name).write_text(text, encoding="utf-8")


def _read(path: Path) -> str | None:
    return path.read_text(encoding="utf-8") if path.exists() else None


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("docs", type=Path, nargs="?", default=ROOT / "docs")
    parser.add_argument("--check", action="store_true")
    options = parser.parse_args()
    if not options.check:
        write(options.docs)
        return 0
    found = differences(options.docs)
    sys.stdout.write("".join(f"{line}\n" for line in found))
    return 1 if found else 0


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    sys.exit(main())
