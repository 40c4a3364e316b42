"""The whole of Botfarm on one machine, with Postgres and Valkey out of Python wheels: `python -m standalone`."""
