"""`python -m benchmarks` measures with real processes, tells what it found, and leaves nothing behind."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import options
from benchmarks.failures import ProgramMissing
from benchmarks.peers import etcd, pgbench

ROOT = Path(__file__).parents[2]
MOST_SECONDS = 230  # of which a machine with nothing else to do needs a tenth
SERVERS = {"DATABASE_URL", "REDIS_URL"}


def bench(*arguments: str, **variables: str) -> "subprocess.CompletedProcess[str]":
    environment = {name: value for name, value in os.environ.items() if name not in SERVERS}
    return subprocess.run(
        [sys.executable, "-m", "benchmarks", *arguments],
        cwd=ROOT,
        env=environment | variables,
        capture_output=True,
        text=True,
        check=False,
        timeout=MOST_SECONDS,
    )


def missing() -> list[str]:
    """The peers this machine has no program of."""
    found = []
    for name, program in (("etcd", etcd.program), ("pgbench", pgbench.program)):
        try:
            program()
        except ProgramMissing:
            found.append(name)
    return found


@pytest.mark.timeout(MOST_SECONDS + 10)
@pytest.mark.skipif(shutil.which("wrk") is None, reason="wrk is not installed")
def test_a_quick_run_measures_every_peer_there_is_and_says_which_there_is_not(tmp_path: Path) -> None:
    without = missing()
    left_out = [word for name in without for word in ("--without", name)]

    done = bench("--quick", "--parts", "changes", "--output", str(tmp_path), *left_out)

    assert done.returncode == 0, done.stderr + done.stdout
    body = json.loads((tmp_path / "figures.json").read_text())
    rates = {f["peer"]: f["median"] for f in body["figures"] if (f["measure"], f["setting"]) == RATE}
    assert rates.keys() == {"botfarm", "plain", "pgbench", "etcd"} - set(without)
    assert min(rates.values()) > 0
    verdicts = {bar["bar"]: bar["verdict"] for bar in body["bars"]}
    assert verdicts["botfarm / plain, 32 clients"] in {"reached", "missed"}
    assert verdicts["botfarm / plain, 128 clients"] == "not measured"
    assert body["run"]["without"] == sorted(without)
    assert "A quick run" in done.stdout
    assert {file.name for file in tmp_path.iterdir()} == {
        *("figures.json", "changes-throughput.svg", "changes-latency.svg")
    }


RATE = ("lock changes", "32 clients")


def test_without_wrk_one_line_says_what_to_install(tmp_path: Path) -> None:
    done = bench("--quick", "--parts", "changes", PATH=str(tmp_path))

    assert done.returncode == 1
    assert done.stderr == "wrk, which makes the load, is not installed: apt install wrk\n"


def test_a_postgres_that_does_not_sync_is_refused(postgres_url: str, redis_url: str) -> None:
    done = bench("--quick", "--parts", "plans", DATABASE_URL=postgres_url, REDIS_URL=redis_url)

    assert done.returncode == 1
    assert done.stderr.startswith("DATABASE_URL names a Postgres with fsync not on")


def test_a_part_that_is_not_there_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        options.parse(["--parts", "changes,nonsense"])

    assert "no such part: nonsense" in capsys.readouterr().err


def test_without_options_every_part_is_measured_in_three_rounds() -> None:
    chosen = options.parse([])

    assert (chosen.rounds, chosen.seconds, chosen.quick, chosen.without) == (3, 10.0, False, frozenset())
    assert chosen.parts == options.existing()
    assert "changes" in chosen.parts
