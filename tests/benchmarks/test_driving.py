"""A peer is measured by calls that all succeeded, and that its own store knows of; otherwise there is no figure."""

import dataclasses
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import ModuleType

import pytest

from benchmarks import __main__ as command
from benchmarks.failures import ProgramMissing, Unmeasured
from benchmarks.figures import Sample, Setup
from benchmarks.load import open_loop, wrk
from benchmarks.load.wrk import Drive
from benchmarks.parts import changes
from standalone import ports

needs_wrk = pytest.mark.skipif(shutil.which("wrk") is None, reason="wrk is not installed")


@contextmanager
def answering(status: Callable[[int], int]) -> Iterator[tuple[str, list[tuple[str, str]]]]:
    """A service that answers its n-th call so; and what it was asked, with the key."""
    asked: list[tuple[str, str]] = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            asked.append((self.path, self.headers.get("Authorization", "")))
            self.send_response(status(len(asked)))
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"{}")

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", asked
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def requests(tmp_path: Path) -> Path:
    file = tmp_path / "requests"
    wrk.write_requests([("/a", ""), ("/b", '{"x":1}'), ("/c", "")], file=file)
    return file


@needs_wrk
def test_requests_are_sent_in_the_order_of_the_file_and_over_again(requests: Path) -> None:
    with answering(lambda _: 200) as (url, asked):
        found = wrk.replay(url, file=requests, clients=1, seconds=1, headers={"Authorization": "Bearer x"})

    assert asked[:5] == [(path, "Bearer x") for path in ("/a", "/b", "/c", "/a", "/b")]
    assert 0 <= len(asked) - found.answers <= 1
    assert 0 < found.p50_ms <= found.p99_ms


@needs_wrk
@pytest.mark.parametrize("status", [409, 500])
def test_one_refusal_among_all_answers_makes_the_stretch_worthless(requests: Path, status: int) -> None:
    with answering(lambda n: status if n == 20 else 200) as (url, _), pytest.raises(Unmeasured, match="refused 1 "):
        wrk.replay(url, file=requests, clients=2, seconds=1, headers={})


def test_the_open_loop_sends_at_its_given_rate(requests: Path) -> None:
    with answering(lambda _: 200) as (url, asked):
        found = open_loop.drive(url, file=requests, rate=100, seconds=1, headers={"Authorization": "k"}, connections=4)

    assert found.answers == len(asked) == 100
    assert asked[0] == ("/a", "k")


def test_one_refusal_in_the_open_loop_makes_it_worthless(requests: Path) -> None:
    with answering(lambda n: 409 if n == 20 else 200) as (url, _), pytest.raises(Unmeasured, match="refused 1 of 100"):
        open_loop.drive(url, file=requests, rate=100, seconds=1, headers={}, connections=4)


class Liar:
    """A peer that answers so many calls and makes so many changes."""

    name = "liar"
    clients_most = 8

    def __init__(self, *, answers: int, made: int) -> None:
        self._answers, self._made, self._asked = answers, made, 0

    def closed(self, *, clients: int, seconds: float) -> Drive:
        assert clients <= self.clients_most
        return Drive(self._answers, seconds, 1.0, 2.0)

    def changes(self) -> int:
        self._asked += 1
        return self._made * (self._asked - 1)

    def settle(self) -> int:
        return 3


@pytest.mark.parametrize("made", [0, 99, 117])
def test_answers_that_the_store_does_not_bear_out_are_no_figure(made: int) -> None:
    with pytest.raises(Unmeasured, match="liar answered 100 calls"):
        changes.drive(Liar(answers=100, made=made), clients=8, seconds=1)


def test_calls_cut_off_at_the_end_may_have_been_served() -> None:
    found, left = changes.drive(Liar(answers=100, made=108), clients=8, seconds=1)

    assert (found.rate, left) == (100, 3)


def test_a_missing_program_is_reported_with_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None if name == "etcd" else f"/usr/bin/{name}")

    with pytest.raises(ProgramMissing, match=r"apt install etcd-server, or leave it out with --without etcd"):
        changes.require(without=["pgbench"])


@pytest.fixture
def setup(postgres_url: str, redis_url: str, tmp_path: Path) -> Setup:
    return Setup(postgres_url, redis_url, tmp_path, rounds=1, seconds=1, quick=True, say=lambda _: None)


def test_a_part_that_fails_makes_the_run_fail_but_keeps_what_was_found(setup: Setup) -> None:
    def measure(_setup: Setup) -> Iterator[Sample]:
        yield Sample("broken", "calls", "1 client", "botfarm", "1/s", 5)
        raise Unmeasured("it refused 1 call")

    def well(_setup: Setup) -> Iterator[Sample]:
        yield Sample("well", "calls", "1 client", "botfarm", "1/s", 7)

    parts = [module("broken", measure), module("well", well)]

    run = command.measured(parts, setup, command.Progress(["broken", "well"]))

    assert run.failures == {"broken": "Unmeasured: it refused 1 call"}
    assert [(figure.part, figure.median) for figure in run.table] == [("broken", 5), ("well", 7)]
    assert run.versions["Postgres"]


def test_a_redis_that_does_not_answer_is_reported_and_fails_nothing(setup: Setup) -> None:
    gone = dataclasses.replace(setup, redis_url=f"redis://127.0.0.1:{ports.free()}/0")

    body = [command.measured([], each, command.Progress([])).versions["Redis protocol"] for each in (setup, gone)]

    assert body[0].startswith(("Valkey ", "Redis "))
    assert body[1] == "none answers"


def module(name: str, measure: Callable[[Setup], Iterator[Sample]]) -> ModuleType:
    made = ModuleType(f"benchmarks.{name}")
    made.measure = measure  # type: ignore[attr-defined]  # as a part has
    return made
