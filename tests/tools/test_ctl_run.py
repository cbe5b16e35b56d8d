"""tools/ctl.py and tools/top.py against real processes: an instance from tools/run.py, its crash, and its end."""

import json
import os
import select
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from pipeline.config import DEFAULT_PATH
from tests.kernel_cache import ROOT
from tools import ctl, top

#: Time for kernels to compile on a machine that never did, on top of the run itself.
PATIENCE_S = 290
RUN = [sys.executable, str(ROOT / "tools" / "run.py"), "--rate", "2000", "--metrics-port", "0"]


#: Change of the shipped configuration by which no demo runs.
NO_DEMO = {"enabled = true            # false: no demo": "enabled = false           # false: no demo"}


def changed_config(folder: Path, changes: Mapping[str, str]) -> Path:
    """Write the shipped configuration with some of its text replaced; return the file."""
    text = DEFAULT_PATH.read_text(encoding="utf-8")
    for before, after in changes.items():
        assert 1 == text.count(before), f"config.toml has {before!r} {text.count(before)} times"
        text = text.replace(before, after)
    path = folder / "test.toml"
    path.write_text(text, encoding="utf-8")
    return path


@contextmanager
def running(folder: Path, instance: str, *flags: str) -> Iterator[subprocess.Popen[str]]:
    """Start an instance with its demo, and wait until it is ready; whatever is left of it is killed."""
    command = [*RUN, "--instance", instance, *flags]
    with subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        try:
            assert process.stdout is not None
            lines = []
            for line in process.stdout:
                lines.append(line)
                if "ready after" in line:
                    break
            else:
                raise AssertionError("it did not get ready:\n" + "".join(lines))
            yield process
        finally:
            process.kill()


class Console:
    """Runs tools/ctl.py in this process."""

    def __init__(self, instance: str, capsys: pytest.CaptureFixture[str]) -> None:
        self.instance, self.capsys = instance, capsys

    def ask(self, *arguments: str) -> tuple[int, dict[str, Any]]:
        """Run one command; return its exit code and its answer."""
        self.capsys.readouterr()
        code = ctl.main(["--instance", self.instance, "--json", *arguments])
        captured = self.capsys.readouterr()
        return code, json.loads(captured.out) if captured.out else {"ok": False, "told": captured.err}

    def until(self, is_so: Callable[[dict[str, Any]], Any], *arguments: str) -> dict[str, Any]:
        """Ask again and again until the answer is as it must become; the test's own deadline ends it."""
        while True:
            _, answer = self.ask(*arguments)
            if answer.get("ok") and is_so(answer):
                return answer
            select.select([], [], [], 0.01)


@pytest.mark.processes
@pytest.mark.slow
@pytest.mark.timeout(PATIENCE_S)
def test_ctl_of_a_real_run_tells_changes_and_ends_with_it(
    tmp_path: Path, runtime_folder: Path, instance_name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Status, positions and stops of live workers; a stop set, moved and cancelled; at the end the socket is gone."""
    console = Console(instance_name, capsys)
    socket = runtime_folder / "stopline" / f"{instance_name}.sock"
    with running(tmp_path, instance_name, "--duration", "12", "--symbols", "AAPL,MSFT") as process:
        status = console.until(lambda answer: answer["positions"]["open"] == 2, "status")
        assert ["running"] * 5 == [worker["state"] for worker in status["processes"]]
        assert status["pid"] == process.pid
        assert socket.is_socket()
        rows = console.ask("positions")[1]["positions"]
        assert {"AAPL", "MSFT"} == {row["symbol"] for row in rows}
        assert len(console.ask("stops")[1]["stops"]) >= 4
        # The demo reverses its positions, and their stops end with them: what is refused for that is asked again.
        done = changed(console)
        assert ["set-stop", "move-stop", "cancel-stop"] == [answer["command"] for answer in done]
        assert 1 == len({answer["stop_id"] for answer in done})
        assert (1, "stop_percent") == refused(console, "set-stop", "AAPL", "static", "--percent", "99")
        assert (1, "no_stop") == refused(console, "cancel-stop", "999999")
        assert 0 == top.main(["--instance", instance_name, "--once"])
        assert f"stopline · {instance_name}" in capsys.readouterr().out
        output, _ = process.communicate()
        assert 0 == process.returncode, output
        assert f"stop {done[0]['stop_id']} set: static on AAPL of strategy 0" in output
    assert not socket.exists()
    assert 2 == console.ask("status")[0]


@pytest.mark.processes
@pytest.mark.slow
@pytest.mark.timeout(PATIENCE_S)
def test_ctl_of_a_run_whose_switch_a_signal_pulls_resumes_it(
    tmp_path: Path, runtime_folder: Path, instance_name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """SIGUSR1 kills the account, a person resumes it with a reason, and a demo that is killed has its orders cancelled."""
    console = Console(instance_name, capsys)
    with running(tmp_path, instance_name, "--duration", "20", "--symbols", "AAPL") as process:
        console.until(lambda answer: answer["positions"]["open"] == 1, "status")
        process.send_signal(signal.SIGUSR1)
        console.until(lambda answer: answer["trading"]["account"] == "killed", "status")
        assert "person" == console.ask("account")[1]["account"]["state_reason"]
        code, answer = console.ask("resume", "--reason", "a test of the switch")
        assert (0, "active") == (code, answer["state"])
        assert 0 == console.ask("set-limit", "max_order_notional", "12345", "--strategy", "3")[0]
        rows = console.ask("limits", "--strategy", "3")[1]["limits"]
        assert "12345" == {row["name"]: row["value"] for row in rows}["max_order_notional"]
        (demo,) = [row for row in console.ask("strategies")[1]["strategies"] if row["pid"] is not None]
        os.kill(demo["pid"], signal.SIGKILL)
        console.until(lambda answer: answer["strategies"][0]["pid"] not in (None, demo["pid"]), "strategies")
        output, _ = process.communicate()
        assert 0 == process.returncode, output
    assert "ALERT account is KILLED: working orders are being cancelled, and nothing new leaves" in output
    assert "account is ACTIVE again (a test of the switch) (control, pid " in output
    assert f"strategy 0 (pid {demo['pid']}) is gone without a word: it" in output


@pytest.mark.processes
@pytest.mark.slow
@pytest.mark.timeout(PATIENCE_S)
def test_ctl_of_a_killed_run_says_so_and_the_next_start_takes_the_socket_over(
    tmp_path: Path, runtime_folder: Path, instance_name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """SIGKILL leaves the socket behind; nobody listens there until the instance is started again."""
    console = Console(instance_name, capsys)
    socket = runtime_folder / "stopline" / f"{instance_name}.sock"
    with running(tmp_path, instance_name, "--symbols", "AAPL") as process:
        code, answer = console.ask("ping")
        assert 0 == code, answer
        process.kill()
        process.wait()
    assert socket.is_socket()
    assert 2 == ctl.main(["--instance", instance_name, "status"])
    assert "nobody listens" in capsys.readouterr().err
    with running(tmp_path, instance_name, "--symbols", "AAPL", "--duration", "1") as process:
        assert process.pid == console.ask("ping")[1]["pid"]
        process.communicate()
        assert 0 == process.returncode
    assert not socket.exists()


def changed(console: Console) -> list[dict[str, Any]]:
    """Set, move and cancel one stop of AAPL, whose position may be reversed meanwhile; return the three answers."""
    while True:
        answers = [console.ask("set-stop", "AAPL", "static", "--percent", "7")[1]]
        stop_id = str(answers[0].get("stop_id"))
        if answers[0]["ok"]:
            answers.append(console.ask("move-stop", stop_id, "--percent", "8")[1])
            answers.append(console.ask("cancel-stop", stop_id)[1])
        if all(answer["ok"] for answer in answers):
            return answers


def refused(console: Console, *arguments: str) -> tuple[int, str]:
    """Ask what must be refused; return the exit code and the error's code."""
    code, answer = console.ask(*arguments)
    return code, answer["error"]["code"]
