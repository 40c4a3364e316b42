import subprocess
import sys

import pytest

from standalone.errors import StandaloneError
from standalone.output import complain, step


def test_a_step_is_one_line_with_its_outcome(capsys: pytest.CaptureFixture[str]) -> None:
    with step("starting"):
        pass
    with pytest.raises(StandaloneError), step("stopping"):
        raise StandaloneError("no")
    with pytest.raises(KeyboardInterrupt), step("waiting"):
        raise KeyboardInterrupt

    assert capsys.readouterr().out == "starting … ok 0.0 s\nstopping … failed after 0.0 s\nwaiting … interrupted\n"


def test_a_failure_shows_the_log_first_and_the_line_last(capsys: pytest.CaptureFixture[str]) -> None:
    complain(StandaloneError("no luck", log_lines=["first", "second"]))

    assert capsys.readouterr().err == "  | first\n  | second\nbotfarm: no luck\n"


def test_a_terminal_that_went_away_disturbs_nothing() -> None:
    code = "import time; from standalone.output import say; time.sleep(0.2)\nfor _ in range(3): say('x')"
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.close()
        assert process.stderr is not None

        assert process.stderr.read() == b""

    assert process.returncode == 0


def test_a_terminal_of_another_encoding_gets_what_it_can_show() -> None:
    code = "from standalone import output; output.accept_any_encoding(); output.say('data … here')"

    shown = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, check=True, env={"PYTHONIOENCODING": "ascii"}
    )

    assert shown.stdout == b"data ? here\n"
