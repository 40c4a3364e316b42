"""Users of the farm: creating, finding, listing, changing and deleting them."""

from domain.users.changing import Change, change, remove
from domain.users.creating import NewUser, create, create_many
from domain.users.listing import Filter, Page, find, get

__all__ = ["Change", "Filter", "NewUser", "Page", "change", "create", "create_many", "find", "get", "remove"]
