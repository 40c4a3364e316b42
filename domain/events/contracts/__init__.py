"""The contract of the events: what consumers are promised, as models, and as the documents made of them.

`docs/schemas/<type>.json` and `docs/asyncapi.yaml` are written by `make contracts`; tests hold the files against the
models, the models against every event that tests read, and both against `docs/schemas/released/`.
"""

from domain.events.contracts.additions import breaches
from domain.events.contracts.channels import asyncapi
from domain.events.contracts.schemas import schemas, strict

__all__ = ["asyncapi", "breaches", "schemas", "strict"]
