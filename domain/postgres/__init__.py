"""How Postgres is spoken to: engines, event loop, prepared statements, rows, schema, clock. Knows no locks."""
