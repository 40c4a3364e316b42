"""Listing users: every filter, and pages that neither skip nor repeat while users come."""

import base64
import threading
import uuid
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import text

from domain import users
from domain.errors import CursorMalformed
from domain.users import Filter, NewUser, Page
from tests.domain.farms import BOB, Farm

PROJECT, OTHER_PROJECT = UUID(int=1), UUID(int=2)


def find(farm: Farm, *, limit: int = 100, after: str | None = None, **by: Any) -> Page:
    return farm.do(lambda conn: users.find(conn, by=Filter(**by), limit=limit, after=after))


def logins(farm: Farm, **by: Any) -> list[str]:
    return [user.login for user in find(farm, **by).users]


@pytest.fixture
def mixed_farm(own_farm: Farm) -> Farm:
    """A free, a held, a lapsed and a quarantined user, each with something of its own."""
    own_farm.add(login="a-free", project_id=PROJECT, labels={"os": "linux", "gpu": "no"})
    held = own_farm.add(login="b-held", project_id=OTHER_PROJECT, env="prod", labels={"os": "linux", "gpu": "yes"})
    lapsed = own_farm.add(login="b-lapsed", domain="vip")
    quarantined = own_farm.add(login="c_quarantined")
    own_farm.hold(held, owner="ci-1")
    own_farm.hold(lapsed, owner="ci-2", principal=BOB)
    own_farm.lapse(lapsed)
    own_farm.quarantine(quarantined)
    return own_farm


@pytest.mark.parametrize(
    ("by", "expected"),
    [
        ({}, ["a-free", "b-held", "b-lapsed", "c_quarantined"]),
        ({"project_id": PROJECT}, ["a-free"]),
        ({"project_id": "none"}, ["b-lapsed", "c_quarantined"]),
        ({"project_id": uuid.uuid4()}, []),
        ({"env": "prod"}, ["b-held"]),
        ({"domain": "vip"}, ["b-lapsed"]),
        ({"labels": {"os": "linux"}}, ["a-free", "b-held"]),
        ({"labels": {"os": "linux", "gpu": "yes"}}, ["b-held"]),
        ({"labels": {"os": "Linux"}}, []),
        ({"locked": True}, ["b-held"]),
        ({"locked": False}, ["a-free", "b-lapsed", "c_quarantined"]),
        ({"status": "quarantined"}, ["c_quarantined"]),
        ({"status": "active"}, ["a-free", "b-held", "b-lapsed"]),
        ({"login": "b-held"}, ["b-held"]),
        ({"login": "b"}, []),
        ({"login_prefix": "b-"}, ["b-held", "b-lapsed"]),
        ({"login_prefix": "%"}, []),
        ({"login_prefix": "b_"}, []),
        ({"login_prefix": "c_"}, ["c_quarantined"]),
        ({"owner": "ci-1"}, ["b-held"]),
        ({"owner": "ci-2"}, []),
        ({"projects": [PROJECT, OTHER_PROJECT]}, ["a-free", "b-held"]),
        ({"projects": []}, []),
        ({"projects": [PROJECT], "project_id": OTHER_PROJECT}, []),
        ({"locked": False, "status": "active", "login_prefix": "b"}, ["b-lapsed"]),
    ],
)
def test_users_are_listed_that_pass_every_filter(mixed_farm: Farm, by: dict[str, Any], expected: list[str]) -> None:
    assert logins(mixed_farm, **by) == expected


def test_a_listed_user_shows_its_lock_only_while_it_is_in_force(mixed_farm: Farm) -> None:
    owners = {user.login: user.lock and user.lock.owner for user in find(mixed_farm).users}

    assert owners == {"a-free": None, "b-held": "ci-1", "b-lapsed": None, "c_quarantined": None}


def test_pages_follow_each_other_in_the_order_of_logins(own_farm: Farm) -> None:
    for login in ("d", "b", "e", "a", "c"):
        own_farm.add(login=login)

    first = find(own_farm, limit=2)
    second = find(own_farm, limit=2, after=first.next_cursor)
    third = find(own_farm, limit=2, after=second.next_cursor)

    assert [[user.login for user in page.users] for page in (first, second, third)] == [["a", "b"], ["c", "d"], ["e"]]
    assert third.next_cursor is None


def test_a_last_page_that_is_full_has_no_next(own_farm: Farm) -> None:
    own_farm.add_many(2)

    assert find(own_farm, limit=2).next_cursor is None


def test_an_empty_farm_is_one_empty_page(own_farm: Farm) -> None:
    assert find(own_farm) == Page([], None)


def test_logins_of_any_characters_are_paged_through_byte_by_byte(own_farm: Farm) -> None:
    odd = sorted(["Z", "a", "Ä", "ä", "é", "%", "_", "'", "\\", " ", "🦊", "�", "a\u0301", "=", "+/"], key=str.encode)
    own_farm.do(lambda conn: users.create_many(conn, new=list(map(NewUser, odd)), ring=own_farm.ring))

    assert _all_pages(own_farm, limit=1) == odd


def test_filters_hold_on_every_page(own_farm: Farm) -> None:
    for number in range(6):
        own_farm.add(login=f"bot-{number}", env="prod" if number % 2 else "stage")

    first = find(own_farm, limit=2, env="prod")
    second = find(own_farm, limit=2, env="prod", after=first.next_cursor)

    assert [user.login for user in [*first.users, *second.users]] == ["bot-1", "bot-3", "bot-5"]
    assert second.next_cursor is None


def test_paging_neither_skips_nor_repeats_while_users_are_created(own_farm: Farm) -> None:
    there = [f"bot-{number:03}" for number in range(0, 200, 2)]
    own_farm.do(lambda conn: users.create_many(conn, new=list(map(NewUser, there)), ring=own_farm.ring))
    done = threading.Event()

    def keep_creating() -> None:
        for number in range(1, 200, 2):
            if done.is_set():
                break
            own_farm.add(login=f"bot-{number:03}")

    creator = threading.Thread(target=keep_creating)
    creator.start()
    listed = _all_pages(own_farm, limit=7)
    done.set()
    creator.join()

    assert listed == sorted(set(listed))
    assert set(there) <= set(listed)


def test_a_cursor_holds_even_when_its_user_is_gone(own_farm: Farm) -> None:
    for login in ("a", "b", "c"):
        own_farm.add(login=login)
    cursor = find(own_farm, limit=2).next_cursor
    own_farm.do(lambda conn: conn.execute(text("DELETE FROM users WHERE login = 'b'")))

    assert [user.login for user in find(own_farm, after=cursor).users] == ["c"]


@pytest.mark.parametrize(
    "cursor",
    [
        "",
        "x",
        "!!!!",
        "ünï",
        "bot-1",
        base64.urlsafe_b64encode(b"bot-1").decode(),
        base64.urlsafe_b64encode(b"login").decode(),
        base64.urlsafe_b64encode(b"login:\xff").decode(),
        base64.urlsafe_b64encode(b"login:a\0b").decode(),
        "bG9naW46YQ\n",
        "a" * 10_001,
        "\ud800",
    ],
)
def test_a_cursor_that_no_page_gave_out_is_malformed(farm: Farm, cursor: str) -> None:
    with pytest.raises(CursorMalformed) as raised:
        find(farm, after=cursor)

    assert raised.value.cursor == cursor


def _all_pages(farm: Farm, *, limit: int) -> list[str]:
    page = find(farm, limit=limit)
    listed = [user.login for user in page.users]
    while page.next_cursor:
        page = find(farm, limit=limit, after=page.next_cursor)
        listed += [user.login for user in page.users]
    return listed
