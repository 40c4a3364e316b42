"""How many database connections an API process may open."""

from dataclasses import astuple, dataclass

from domain.configuration.settings import Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolSizes:
    """By what uses them."""

    changes: int  # the lanes, and their rescue
    requests: int
    calls: int
    dispatcher: int = 3
    health: int = 1
    tailer: int = 1

    @classmethod
    def of(cls, settings: Settings) -> "PoolSizes":
        return cls(changes=settings.lanes + 1, requests=settings.lanes + 1, calls=settings.pool_size)

    @property
    def total(self) -> int:
        return sum(astuple(self))
