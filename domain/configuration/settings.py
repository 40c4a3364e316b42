"""What an operator may set, read from the environment once, at the edges."""

import ipaddress
import os
import re
from datetime import timedelta
from functools import cached_property
from ipaddress import IPv4Network, IPv6Network
from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator
from pydantic_settings import (
    BaseSettings,
    DotEnvSettingsSource,
    EnvSettingsSource,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)
from sqlalchemy import make_url
from sqlalchemy.exc import ArgumentError

from domain.configuration.setting_files import SECRETS_FOLDER, FilesSource

DEFAULT_DATABASE_URL = "postgresql+psycopg2://postgres:postgres@127.0.0.1:5432/botfarm"
ORIGIN = re.compile(r"https?://[a-z0-9.\-\[\]:]+")
USUAL_WORKERS_MOST = 8
POSTGRES_DRIVERS = {"postgres", "postgresql", "postgresql+psycopg2"}


def usual_workers() -> int:
    """One API process for each core that this one may use, but 8 at most.

    Each has database connections of its own (`api.execution.pool_sizes`), and a server allows 100 unless it is
    configured otherwise. A number that is set is used as it is.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(cores, USUAL_WORKERS_MOST)


class Settings(BaseSettings):
    """Every field is an environment variable: `BOTFARM_` and the name, except the two server addresses.

    Each may be given as a file too, see `setting_files`. Durations are whole seconds.
    """

    model_config = SettingsConfigDict(
        env_prefix="BOTFARM_", env_file=".env", extra="ignore", secrets_dir=None, validate_default=True
    )

    database_url: Annotated[str, Field(validation_alias="DATABASE_URL")] = DEFAULT_DATABASE_URL
    redis_url: Annotated[str, Field(validation_alias="REDIS_URL")] = "redis://127.0.0.1:6379/0"
    redis_prefix: str = "botfarm:"

    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65_535)] = 8000
    auth: Literal["off", "keys"] | None = None
    api_workers: Annotated[int, Field(ge=1, le=64, default_factory=usual_workers)]

    worker_host: str = "127.0.0.1"
    worker_port: Annotated[int, Field(ge=0, le=65_535)] = 9100
    worker_processes: Annotated[int, Field(ge=1, le=64)] = 1

    secret_keys: Annotated[str, Field(repr=False)] = ""
    secret_keys_file: str | None = None

    lock_ttl_seconds: Annotated[int, Field(ge=1)] = 900
    lock_ttl_max_seconds: Annotated[int, Field(ge=1)] = 86_400
    lock_cooldown_seconds: Annotated[int, Field(ge=0)] = 0
    lock_lifetime_max_seconds: Annotated[int, Field(ge=0)] = 0

    lanes: Annotated[int, Field(ge=1, le=32)] = 1
    pool_size: Annotated[int, Field(ge=1, le=200)] = 16

    concurrency: Annotated[int, Field(ge=1, le=1_000_000)] = 4_000
    rate_limit: str = ""
    cors_origins: Annotated[tuple[str, ...], NoDecode] = ()

    events_keep_days: Annotated[int, Field(ge=1)] = 30
    events_keep_count: Annotated[int, Field(ge=1)] = 50_000_000
    stream_keep_count: Annotated[int, Field(ge=1_000)] = 1_000_000

    webhooks_most: Annotated[int, Field(ge=0)] = 1_000
    webhook_allow_networks: Annotated[tuple[IPv4Network | IPv6Network, ...], NoDecode] = ()

    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    log_format: Literal["json", "console"] = "json"

    @field_validator("database_url")
    @classmethod
    def _name_the_driver(cls, value: str) -> str:
        """Accept the short forms that hosting platforms hand out; SQLAlchemy would pick another driver."""
        try:
            url = make_url(value)
        except (ArgumentError, ValueError):  # the latter for a port that is no number
            raise ValueError("is not a database URL: postgresql://user:password@host:5432/name") from None
        if url.drivername not in POSTGRES_DRIVERS:
            raise ValueError(f"must be a postgresql:// URL, not {url.drivername}://")
        return url.set(drivername="postgresql+psycopg2").render_as_string(hide_password=False)

    @field_validator("webhook_allow_networks", "cors_origins", mode="before")
    @classmethod
    def _split_at_commas(cls, value: object) -> object:
        return [item.strip() for item in value.split(",") if item.strip()] if isinstance(value, str) else value

    @model_validator(mode="after")
    def _default_ttl_fits(self) -> Self:
        if self.lock_ttl_seconds > self.lock_ttl_max_seconds:
            raise ValueError("BOTFARM_LOCK_TTL_SECONDS is more than BOTFARM_LOCK_TTL_MAX_SECONDS")
        return self

    @field_validator("cors_origins")
    @classmethod
    def _named_origins(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        """`*` would let every page that somebody of this network visits make calls here."""
        if any(not ORIGIN.fullmatch(origin) for origin in value):
            raise ValueError("names no origins: https://botfarm.example.org, without a path, and never *")
        return value

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003  -- ours says which places hold one setting
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        assert isinstance(env_settings, EnvSettingsSource)
        assert isinstance(dotenv_settings, DotEnvSettingsSource)
        given = {**dotenv_settings.env_vars, **env_settings.env_vars}
        files = FilesSource(settings_cls, given=given, folder=SECRETS_FOLDER)
        return init_settings, files, env_settings, dotenv_settings

    @cached_property
    def loopback(self) -> bool:
        """Whether only this machine can reach the API."""
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"

    @property
    def lock_ttl(self) -> timedelta:
        return timedelta(seconds=self.lock_ttl_seconds)

    @property
    def lock_cooldown(self) -> timedelta:
        return timedelta(seconds=self.lock_cooldown_seconds)

    @property
    def lock_lifetime_max(self) -> timedelta | None:
        """How long one lease may live, renewals included; None means for ever."""
        return timedelta(seconds=self.lock_lifetime_max_seconds) or None
