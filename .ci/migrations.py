"""Print every migration as the SQL that runs, oldest first, without a database."""  # noqa: INP001  -- a script, run by its path

import sys
from pathlib import Path

from alembic.migration import MigrationContext
from alembic.operations import Operations
from alembic.script import ScriptDirectory

MIGRATIONS = Path(__file__).parent.parent / "domain" / "migrations"


def main() -> None:
    output = sys.stdout
    output.write("SET LOCAL lock_timeout = '5s';\n")  # as migrations/env.py does before the first of them
    context = MigrationContext.configure(dialect_name="postgresql", opts={"as_sql": True, "output_buffer": output})
    revisions = list(ScriptDirectory(str(MIGRATIONS)).walk_revisions())
    for revision in reversed(revisions):
        with Operations.context(context):
            revision.module.upgrade()


if __name__ == "__main__":
    sys.path.insert(0, str(MIGRATIONS.parent.parent))
    main()
