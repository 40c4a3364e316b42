"""The embedded Postgres and Valkey, their binaries and their data."""
