"""A body that was announced is read whole, or its call is refused and has done nothing."""

import asyncio
import json
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from api.middleware.limits import Limits
from api.serving.protocol import Protocol
from domain.configuration.settings import Settings
from tests.api.farms import Farm, farming
from tests.api.servers import serving
from tests.hostile.records import Records
from tests.hostile.shapes import CALLS, LAST, REFUSED, WHOLE, Call, Way, head
from tests.hostile.wires import Shape, exchange
from tests.patience import eventually

# Behind uvicorn's own protocol these calls are made, without their body; behind another offer, none is.
OFFERS = {
    name: way
    for name, way in WHOLE.items()
    if name.startswith(("h2c", "websocket", "TLS")) and name != "h2c after another offer"
}
every_call = pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)


@pytest.fixture(scope="module")
def own_farm(fresh_settings: Callable[[], Settings]) -> Iterator[Farm]:
    """A farm in which nothing happens but what this module does."""
    with farming(fresh_settings()) as farm:
        yield farm


@pytest.fixture(scope="module")
def plain_farm(fresh_settings: Callable[[], Settings]) -> Iterator[Farm]:
    """A farm behind uvicorn's own protocol, which drops what follows an offer."""
    with farming(fresh_settings(), http=HttpToolsProtocol) as farm:
        yield farm


def prepared(farm: Farm, call: Call) -> str:
    """The user of the case; a held one is locked by a job that is alive."""
    user_id = str(farm.new_user()["id"])
    if call.held:
        assert farm.acquire(user_id, owner="live", lease_id=str(uuid.uuid4())).status_code == 200
    return user_id


def refusals(farm: Farm) -> float:
    """How many calls the app has answered with 400 so far."""
    lines = farm.client.get("/metrics").text.splitlines()
    return sum(float(line.split()[-1]) for line in lines if "requests_total{" in line and 'status="400"' in line)


def expect_done(farm: Farm, call: Call, way: Way) -> None:
    user_id = prepared(farm, call)
    before = Records.of(farm)

    answers = exchange(farm.url, way(call, user_id))

    statuses = [answer.status for answer in answers if b'"alive"' not in answer.body]
    assert call.status in [answer.status for answer in answers], answers
    assert 400 not in statuses, answers
    assert before.since(farm) == list(call.done)


def expect_refused(farm: Farm, call: Call, way: Way) -> None:
    user_id = prepared(farm, call)
    before, refused = Records.of(farm), refusals(farm)
    shape = way(call, user_id)

    answers = exchange(farm.url, shape)

    if shape.end in {"close", "reset"}:
        assert eventually(lambda: refusals(farm) > refused), "the call has ended"
    else:
        assert [answer.status for answer in answers] == [400], answers
        assert json.loads(answers[0].body)["type"].startswith("urn:botfarm:problem:")
        assert b"connection: close" in answers[0].head.lower()
    assert eventually(lambda: limits_of(farm).open == 0), "whatever was begun has ended"
    assert Records.of(farm) == before


def limits_of(farm: Farm) -> Limits:
    """The layer that knows how many calls are open."""
    layer: Any = farm.app.front
    while not isinstance(layer, Limits):
        layer = vars(layer)["_app"]
    return layer


@every_call
@pytest.mark.parametrize("way", WHOLE.values(), ids=WHOLE)
def test_a_body_is_read_however_it_is_sent(own_farm: Farm, call: Call, way: Way) -> None:
    expect_done(own_farm, call, way)


@every_call
@pytest.mark.parametrize("way", REFUSED.values(), ids=REFUSED)
def test_a_body_that_is_not_whole_is_refused_and_nothing_is_done(own_farm: Farm, call: Call, way: Way) -> None:
    expect_refused(own_farm, call, way)


@every_call
@pytest.mark.parametrize("way", OFFERS.values(), ids=OFFERS)
def test_a_body_that_the_server_drops_is_refused_too(plain_farm: Farm, call: Call, way: Way) -> None:
    user_id = prepared(plain_farm, call)
    before = Records.of(plain_farm)

    answers = exchange(plain_farm.url, ended(way(call, user_id)))

    assert [answer.status for answer in answers][-1] == 400, answers
    assert Records.of(plain_farm) == before


def ended(shape: Shape) -> Shape:
    """The same without the last call, which that server may drop as well."""
    return Shape(tuple(piece.removesuffix(LAST) for piece in shape.pieces))


def test_a_live_lock_survives_a_release_by_a_lost_lease(own_farm: Farm) -> None:
    call = CALLS["release by a lost lease"]
    user_id = prepared(own_farm, call)

    answers = exchange(own_farm.url, WHOLE["h2c"](call, user_id))

    assert json.loads(answers[0].body)["type"] == "urn:botfarm:problem:lease-lost"
    assert own_farm.user(user_id)["lock"]["owner"] == "live"
    assert own_farm.changes(user_id) == ["user.created", "lock.acquired"]


# What all this is for: without the parts under test, the checks above must fail.


async def echo(scope: Scope, receive: Receive, send: Send) -> None:
    assert scope["type"] == "http"
    message = await receive()
    body = json.dumps({"read": message["body"].decode()}).encode()
    headers = [(b"content-length", b"%d" % len(body)), (b"connection", b"close")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


@pytest.mark.parametrize(("http", "read"), [(HttpToolsProtocol, ""), (Protocol, '{"lease_id": "x"}')])
def test_uvicorns_own_protocol_drops_the_body_and_ours_reads_it(http: type[asyncio.Protocol], read: str) -> None:
    call = Call("POST", "/", {"lease_id": "x"}, 200)

    with serving(without_lifespan(echo), http=http) as url:
        answers = exchange(url, ended(WHOLE["h2c"](call, "")))

    assert json.loads(answers[0].body) == {"read": read}


def without_lifespan(app: ASGIApp) -> ASGIApp:
    async def served(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            for step in ("startup", "shutdown"):
                await receive()
                await send({"type": f"lifespan.{step}.complete"})
            return
        await app(scope, receive, send)

    return served


def test_without_both_parts_a_lost_lease_frees_a_live_lock_and_the_harness_reports_it(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("api.main.WholeBodies", lambda app: app)
    call = CALLS["release by a lost lease"]
    with farming(settings, http=HttpToolsProtocol) as farm:
        before = Records.of(farm)
        user_id = prepared(farm, call)
        exchange(farm.url, closing(call, user_id))

        assert farm.user(user_id)["lock"] is None
        assert before.since(farm) == ["user.created", "lock.acquired:live", "lock.released:live"]
        with pytest.raises(AssertionError):
            expect_done(farm, call, closing)


def closing(call: Call, user_id: str) -> Shape:
    content = call.content()
    lines = ("Connection: close, Upgrade", "Upgrade: h2c", f"Content-Length: {len(content)}")
    return Shape((head(call, user_id, *lines) + content,))


def test_without_counting_a_route_that_needs_no_body_acts_on_half_of_one(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("api.main.WholeBodies", lambda app: app)
    with farming(settings) as farm, pytest.raises(AssertionError):
        expect_refused(farm, CALLS["delete"], REFUSED["length, no body, half-close"])
