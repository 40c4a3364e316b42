"""A connection that rests is kept: neither a client's pool nor a proxy's may find it closing when it calls again."""

import time

import httpx

from tests.api.farms import Farm

HTTPX_SECONDS = 5.0  # so long httpx keeps one, and uvicorn would, so that both hang up at once


def test_a_connection_idle_for_as_long_as_clients_keep_it_serves_the_next_call(served: Farm) -> None:
    limits = httpx.Limits(max_connections=1, keepalive_expiry=60)
    with httpx.Client(base_url=served.url, limits=limits) as client:
        first = client.get("/livez").extensions["network_stream"].get_extra_info("client_addr")
        time.sleep(HTTPX_SECONDS + 0.5)
        second = client.get("/livez").extensions["network_stream"].get_extra_info("client_addr")

    assert first == second
