"""tools/ctl.py: tables for people, JSON for programs, one line and an exit code for whatever is refused."""

import json
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline import control_client
from pipeline.control_client import ControlClient, running_instances
from pipeline.control_path import Peer, make_folder, socket_path
from pipeline.errors import InstanceError
from pipeline.messages import BUY, REJECT_STOP_TABLE_FULL
from tests.kernel_cache import ROOT
from tests.pipeline.client_instance import AAPL, BTCUSDT
from tests.pipeline.control_instance import Served, served, turning
from tools.ctl import main

pytestmark = pytest.mark.jitless
#: Runs a command in which Ctrl-C counts: tests may run where it is ignored.
WITH_INTERRUPT = "import os, signal, sys; signal.signal(signal.SIGINT, signal.SIG_DFL); os.execv(sys.argv[1], sys.argv[1:])"
CTL = [sys.executable, str(ROOT / "tools" / "ctl.py")]


@pytest.fixture(autouse=True)
def sockets(runtime_folder: Path) -> Path:
    """Have all control sockets in a folder of the test."""
    return runtime_folder


@pytest.fixture
def instance(instance_name: str) -> Iterator[Served]:
    """Return an instance whose strategies 0 and 1 hold positions, served meanwhile by a thread."""
    with served(instance_name) as instance:
        instance.submit(AAPL, BUY, 100, 0)
        instance.submit(BTCUSDT, BUY, 5, 0)
        instance.submit(BTCUSDT, BUY, 7, 1)
        instance.settle()
        with turning(instance):
            yield instance


def ctl(instance: Served, *arguments: str) -> int:
    """Run one command against the instance."""
    return main(["--instance", instance.owner.launch.name, *arguments])


def said(capsys: pytest.CaptureFixture[str]) -> list[str]:
    """Return the lines on standard output, none of them padded at its end."""
    return [line.rstrip() for line in capsys.readouterr().out.splitlines()]


def columns(lines: list[str], name: str) -> list[str]:
    """Return the cells below a heading that is aligned at the right."""
    end = lines[0].index(name) + len(name)
    return [line[:end].split()[-1] for line in lines[1:]]


def test_ctl_status_tells_each_part_in_its_line(instance: Served, capsys: pytest.CaptureFixture[str]) -> None:
    """Who, since when, what flows, what is held, and every process."""
    assert 0 == ctl(instance, "status")
    lines = said(capsys)
    text = " ".join(" ".join(lines).split())
    assert f"instance {instance.owner.launch.name}, version 0.1.0, pid 4711 feed simulator" in text
    for words in ("entries allowed", "3 entries, 0 exits, 3 filled", "3 open", "6 armed, 0 exiting, 0 fired, 0 owed"):
        assert words in text
    assert ["process", "ingest", "risk", "execution", "sidecar"] == [line.split()[0] for line in lines[-5:]]


def test_ctl_positions_are_an_aligned_table(instance: Served, capsys: pytest.CaptureFixture[str]) -> None:
    """Numbers end below the ends of their headings."""
    assert 0 == ctl(instance, "positions")
    lines = said(capsys)
    assert ["100", "0.005", "0.007"] == columns(lines, "quantity")
    assert ["100.02", "90001.00", "90001.00"] == columns(lines, "entry")
    assert lines[1].endswith("2 armed")
    assert 0 == ctl(instance, "positions", "BTCUSDT", "--strategy", "1")
    assert 2 == len(said(capsys))


def test_ctl_stops_are_an_aligned_table(instance: Served, capsys: pytest.CaptureFixture[str]) -> None:
    """Level, price and the way between them, for each stop."""
    assert 0 == ctl(instance, "stops", "AAPL")
    lines = said(capsys)
    assert (["1", "2"], ["98.01", "99.01"]) == (columns(lines, "id"), columns(lines, "level"))
    assert (["2%", "1%"], ["1.990%", "0.990%"]) == (columns(lines, "distance"), columns(lines, "away"))
    assert 0 == ctl(instance, "stops", "--strategy", "2")
    assert ["no stop is armed"] == said(capsys)


def test_ctl_sets_moves_and_cancels_a_stop(instance: Served, capsys: pytest.CaptureFixture[str]) -> None:
    """Each change is told in one line, and the list shows it."""
    assert 0 == ctl(instance, "set-stop", "AAPL", "static", "--price", "97.50")
    assert ["stop 7 set: static on AAPL of strategy 0, level 97.50"] == said(capsys)
    assert 0 == ctl(instance, "move-stop", "7", "--percent", "3")
    assert ["stop 7 moved: static on AAPL of strategy 0, level 97.01"] == said(capsys)
    assert 0 == ctl(instance, "cancel-stop", "7")
    assert ["stop 7 cancelled: static on AAPL of strategy 0"] == said(capsys)


def test_ctl_every_flag_of_a_stop_arrives(instance: Served, capsys: pytest.CaptureFixture[str]) -> None:
    """What --help offers is what the instance takes."""
    common = ["--watch", "mid", "--fraction", "50", "--limit-offset", "0.05", "--escalate-after", "300"]
    profit = ["--activation", "1", "--breakeven", "2"]
    for kind, flags in (
        ("static", ["--percent", "3", *profit]),
        ("trailing", ["--offset", "1.5", "--price", "97", *profit]),
        ("chandelier", ["--atr-multiplier", "2", "--atr-period", "5", "--bar-seconds", "10", "--percent", "4", *profit]),
        ("time", ["--max-holding", "3600"]),
    ):
        assert 0 == ctl(instance, "set-stop", "AAPL", kind, *flags, *common, "--strategy", "0"), capsys.readouterr().err
    rows = json.loads(ctl_json(instance, capsys, "stops", "AAPL"))["stops"][2:]
    assert [("50", "0.05", "mid")] * 4 == [(row["fraction_percent"], row["limit_offset"], row["watch"]) for row in rows]
    assert [("1", "2")] * 3 == [(row["activation_percent"], row["breakeven_percent"]) for row in rows[:3]]
    assert rows[3]["deadline"] is not None


def ctl_json(instance: Served, capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """Run a command that is done and return the JSON that it printed."""
    capsys.readouterr()
    assert 0 == ctl(instance, *arguments, "--json")
    return capsys.readouterr().out


@pytest.mark.parametrize("arguments", [["ping"], ["status"], ["positions"], ["stops"], ["stops", "AAPL"]])
def test_ctl_json_is_the_whole_answer(instance: Served, capsys: pytest.CaptureFixture[str], arguments: list[str]) -> None:
    """Programs get what the instance said, before or after the command."""
    answer = json.loads(ctl_json(instance, capsys, *arguments))
    assert (True, arguments[0]) == (answer["ok"], answer["command"])
    assert 0 == main(["--json", "--instance", instance.owner.launch.name, *arguments])
    assert set(answer) == set(json.loads(capsys.readouterr().out))


def test_ctl_long_list_is_put_together(instance: Served, capsys: pytest.CaptureFixture[str], monkeypatch) -> None:
    """Pages are a matter of the socket; people see one list."""
    monkeypatch.setattr("pipeline.control_tables.STOPS_MAX", 2)
    assert 0 == ctl(instance, "stops")
    assert ["1", "2", "3", "4", "5", "6"] == columns(said(capsys), "id")
    assert [1, 2, 3, 4, 5, 6] == [row["stop_id"] for row in json.loads(ctl_json(instance, capsys, "stops"))["stops"]]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["set-stop", "APPL", "static", "--percent", "2"], "unknown symbol 'APPL' (instruments): did you mean AAPL?"),
        (["set-stop", "AAPL", "static", "--percent", "50"], "percent 50 is out of bounds (set-stop AAPL): give 0.1 to 20.0"),
        (["set-stop", "AAPL", "static", "--percent", "x"], "percent x is no decimal"),
        (
            ["set-stop", "AAPL", "static", "--price", "101"],
            "price 101 is crossed by the market already (bid 100.00",
        ),
        (["set-stop", "AAPL", "static"], "a static stop needs price or percent"),
        (["set-stop", "BTCUSDT", "static", "--percent", "2"], "strategies 0, 1 hold positions in BTCUSDT"),
        (["set-stop", "AAPL", "static", "--percent", "2", "--strategy", "1"], "strategy 1 holds no position in AAPL"),
        (["stops", "--strategy", "-1"], "strategy -1 is out of bounds"),
        (["move-stop", "99", "--percent", "2"], "there is no stop 99 that is armed (move-stop 99): list the stops"),
        (["cancel-stop", "0"], "there is no stop 0"),
    ],
)
def test_ctl_refusal_is_one_line_and_exit_code_one(
    instance: Served, capsys: pytest.CaptureFixture[str], arguments: list[str], words: str
) -> None:
    """What, where, and what would do; nothing on standard output, unless a program asked."""
    assert 1 == ctl(instance, *arguments)
    captured = capsys.readouterr()
    (line,) = captured.err.splitlines()
    assert line.startswith("refused: ")
    assert words in line
    assert "" == captured.out
    assert 1 == ctl(instance, "--json", *arguments)
    assert json.loads(capsys.readouterr().out)["ok"] is False


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "COMMAND"),
        (["stps"], "invalid choice: 'stps'"),
        (["cancel-stop"], "required: ID"),
        (["cancel-stop", "seven"], "invalid int value: 'seven'"),
        (["move-stop", "1", "--fraction", "2"], "unrecognized arguments: --fraction 2"),
        (["set-stop", "AAPL"], "required: KIND"),
        (["status", "--timeout", "0"], "--timeout: '0' is not above 0 and below 3600"),
    ],
)
def test_ctl_wrong_command_line_is_one_line_and_exit_code_two(
    capsys: pytest.CaptureFixture[str], arguments: list[str], words: str
) -> None:
    """The parser's own errors look like all others, and nothing is asked."""
    with pytest.raises(SystemExit) as left:
        main(arguments)
    assert 2 == left.value.code
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")
    assert words in line


def test_ctl_without_an_instance_says_what_would_do(capsys: pytest.CaptureFixture[str]) -> None:
    """Where nothing runs there is one thing to do."""
    assert 2 == main(["status"])
    (line,) = capsys.readouterr().err.splitlines()
    assert "error: instance 'default' does not run (control socket): start it with tools/run.py" == line


def test_ctl_wrong_name_of_an_instance_names_those_that_run(instance: Served, capsys: pytest.CaptureFixture[str]) -> None:
    """A slip in the name is answered with the names that there are."""
    name = instance.owner.launch.name
    assert [name] == running_instances()
    assert 2 == main(["--instance", f"{name}x", "status"])
    assert f"did you mean --instance {name}?" in capsys.readouterr().err
    assert 2 == main(["--instance", "quite-another", "status"])
    assert f"running are {name}: give --instance NAME" in capsys.readouterr().err


def test_ctl_socket_that_nobody_serves_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    """After a crash, or before a start is over, the socket is there and nobody listens."""
    path = socket_path("dead")
    make_folder(path.parent)
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    assert 2 == main(["--instance", "dead", "ping"])
    assert "nobody listens at the socket of instance 'dead'" in capsys.readouterr().err
    assert [] == running_instances()


def test_ctl_socket_given_by_its_path_is_used(instance: Served, capsys: pytest.CaptureFixture[str], monkeypatch) -> None:
    """An instance that has its socket elsewhere can be reached all the same."""
    monkeypatch.setenv("XDG_RUNTIME_DIR", "/nowhere")
    assert 0 == main(["--socket", str(instance.path), "ping"])
    assert [f"{instance.owner.launch.name} listens, pid 4711"] == said(capsys)


class Stranger(threading.Thread):
    """Serves one connection at a socket with whatever a test wants."""

    def __init__(self, path: Path, answer: bytes | None) -> None:
        super().__init__()
        make_folder(path.parent)
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(str(path))
        self.listener.listen()
        self.answer = answer
        self.is_over = threading.Event()
        self.start()

    def run(self) -> None:
        """Take one line and answer it; None keeps the connection open without a word."""
        channel, _ = self.listener.accept()
        with channel, self.listener:
            channel.recv(65536)
            if self.answer is None:
                self.is_over.wait(60)
            else:
                channel.sendall(self.answer)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (b"", "it hung up before it answered"),
        (b"what?\n", "its answer is no JSON"),
        (b"[]\n", "its answer is none"),
        (None, "it has not answered within 0.01 s"),
    ],
)
def test_ctl_answer_that_is_none_is_exit_code_two(capsys: pytest.CaptureFixture[str], answer: bytes | None, words: str) -> None:
    """Whatever is at the other end, the command ends with one line."""
    stranger = Stranger(socket_path("odd"), answer)
    assert 2 == main(["--instance", "odd", "--timeout", "0.01" if answer is None else "60", "status"])
    stranger.is_over.set()
    stranger.join()
    (line,) = capsys.readouterr().err.splitlines()
    assert words in line


def test_client_of_another_users_instance_hangs_up(instance: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever owned the socket could say anything, so the client asks the kernel whose it is."""
    monkeypatch.setattr(control_client, "peer_of", lambda _channel: Peer(1, 77_777))
    monkeypatch.setattr("pipeline.control_client.os.geteuid", lambda: 1_234)
    with pytest.raises(InstanceError, match="is served by user 77777"):
        ControlClient(instance.owner.launch.name, str(instance.path))


def test_ctl_refusal_of_risk_comes_back_as_its_line(instance_name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A reason that only risk can know is told like all others."""
    with served(instance_name, with_risk=False) as instance:
        instance.submit(AAPL, BUY, 100, 0)
        instance.settle()
        codes: list[int] = []
        asking = threading.Thread(target=lambda: codes.append(ctl(instance, "set-stop", "AAPL", "static", "--percent", "2")))
        asking.start()
        while not instance.requests.published:
            instance.turn(0.001)
        instance.refuse(REJECT_STOP_TABLE_FULL)
        while asking.is_alive():
            instance.turn(0.001)
        assert [1] == codes
    assert "refused: no room for another stop" in capsys.readouterr().err


def test_ctl_interrupted_leaves_with_its_own_code(instance_name: str) -> None:
    """Ctrl-C while it waits is no traceback, and says that the request may stand."""
    with served(instance_name, with_risk=False) as instance:
        instance.submit(AAPL, BUY, 100, 0)
        instance.settle()
        command = [
            sys.executable,
            "-c",
            WITH_INTERRUPT,
            *CTL,
            "--instance",
            instance_name,
            "set-stop",
            "AAPL",
            "static",
            "--percent",
            "2",
        ]
        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
            while not instance.requests.published:
                instance.turn(0.001)
            process.send_signal(signal.SIGINT)
            _, errors = process.communicate()
        assert 130 == process.returncode
        assert "what was asked may still be done" in errors


def test_ctl_help_names_every_flag_of_a_stop(capsys: pytest.CaptureFixture[str]) -> None:
    """All that can be given can be found."""
    with pytest.raises(SystemExit):
        main(["set-stop", "--help"])
    text = capsys.readouterr().out
    flags = "price percent offset watch activation breakeven atr-multiplier atr-period bar-seconds max-holding fraction"
    assert [] == [flag for flag in f"{flags} limit-offset escalate-after strategy fire-now".split() if f"--{flag}" not in text]
