import contextlib
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from domain.configuration.settings import Settings
from standalone import addresses, ports
from standalone.errors import StandaloneError
from standalone.options import Options


@pytest.fixture
def taken() -> Iterator[int]:
    with contextlib.closing(socket.create_server((ports.LOOPBACK, ports.free()))) as server:
        yield server.getsockname()[1]


def test_a_preferred_port_that_is_taken_makes_way_and_that_is_said(
    taken: int, capsys: pytest.CaptureFixture[str]
) -> None:
    other = addresses.preferred(taken, who="Postgres")

    assert other != taken
    assert capsys.readouterr().out == f"port {taken}: address already in use; Postgres gets {other}\n"


def test_a_port_taken_on_all_addresses_is_taken(taken: int) -> None:
    with contextlib.closing(socket.create_server(("", ports.free()))) as server:
        assert ports.refusal(server.getsockname()[1]) == "address already in use"


def test_a_port_asked_for_by_name_is_had_or_refused(taken: int) -> None:
    free = ports.free()

    assert ports.insist(free, host=ports.LOOPBACK, setting="--port") == free
    with pytest.raises(StandaloneError, match=rf"cannot listen on 127.0.0.1:{taken}: .* another --port"):
        ports.insist(taken, host=ports.LOOPBACK, setting="--port")


def test_free_ports_differ_and_lie_below_those_of_outgoing_connections() -> None:
    chosen = [ports.free() for _ in range(100)]

    assert len(set(chosen)) == 100
    assert max(chosen) < 32_768


def test_a_host_that_is_not_ours_is_refused_in_one_line() -> None:
    with pytest.raises(StandaloneError, match=r"cannot listen on any port of 192\.0\.2\.1: cannot assign"):
        ports.free(host="192.0.2.1")


@pytest.mark.parametrize(
    ("host", "url"),
    [("127.0.0.1", "http://127.0.0.1:8"), ("0.0.0.0", "http://127.0.0.1:8"), ("::", "http://[::1]:8")],
)
def test_a_server_is_reached_where_it_can_be(host: str, url: str) -> None:
    assert addresses.Address(host, 8).url == url


def test_a_port_in_the_environment_is_as_binding_as_one_on_the_command_line(
    taken: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BOTFARM_PORT", str(taken))
    monkeypatch.setenv("BOTFARM_WORKER_PORT", str(taken))
    options = Options(
        ephemeral=True, host=ports.LOOPBACK, port=None, data_dir=Path(), ready_file=None, settings=Settings()
    )

    with pytest.raises(StandaloneError, match="another BOTFARM_PORT"):
        addresses.api(options)
    with pytest.raises(StandaloneError, match="another BOTFARM_WORKER_PORT"):
        addresses.worker(options)
