"""Where the API lies. Routers carry it themselves, so that a request's route knows its whole template."""

BASE = "/api/v1"
