"""The demo strategy on real stages: what it trades when, and its life as a process of the supervisor."""

import os
import signal
import subprocess
from decimal import Decimal

import numpy as np
import pytest

from pipeline import topology
from pipeline.client import Client
from pipeline.config import config_to_json, load_config
from pipeline.errors import UserError
from pipeline.log import read_lines
from pipeline.messages import BUY, ORDER, REQUEST, SELL
from pipeline.strategies.demo import EXIT_FENCED, EXIT_OK, EXIT_USER_ERROR, Demo, Settings
from shm import heartbeat
from shm.heartbeat import Command, State
from tests.pipeline.client_instance import AAPL, BTCUSDT, INSTRUMENTS, answer_of, calm, running, spawned, until
from tests.rig import quotes

HOLD_NS = 1_000_000_000
SETTINGS = Settings(HOLD_NS, 100)
DEMO = "pipeline.strategies.demo"
SECTION = {"hold_seconds": "0.5", "pause_seconds": "0.5", "quantity": "10", "symbols": []}
ABOUT = {
    "config": {"strategies": {"demo": SECTION}, "feed": {"kind": "simulator"}},
    "strategies": {"strategy0": DEMO},
    "placement": {"strategy0": {"core": -1, "wait": 3}},
}


def held(client: Client) -> list[int]:
    """Return what is held in each instrument, in lots."""
    return client.position_rows()["quantity_lots"].tolist()


def act(instance, demo: Demo, after_ns: int = 1_000, ticks: np.ndarray | None = None) -> int:
    """Let stream time pass, the demo act, and the stages work off what it asked for; return how many orders it sent."""
    instance.feed(calm() if ticks is None else ticks, after_ns)
    sent = demo.act()
    instance.settle()
    return sent


@pytest.mark.jitless
def test_demo_settings_are_those_of_the_configuration():
    """The section as the instance file carries it gives the same numbers as the configuration's own properties."""
    config = load_config()
    section = config_to_json(config)["strategies"]["demo"]
    demo = config.strategies.demo
    expected = Settings(demo.hold_ns, demo.quantity_lots, demo.symbols, demo.pause_ns)
    assert expected == Settings.of(section)
    assert isinstance(section["hold_seconds"], str | int | Decimal)


@pytest.mark.jitless
def test_demo_symbols_of_another_feed_are_left_out():
    """Only what the feed has is traded; where it has none of them, one line says so."""
    assert [BTCUSDT] == Settings(HOLD_NS, 1, ("AIG", "BTCUSDT")).indices(INSTRUMENTS)
    assert [AAPL, BTCUSDT] == Settings(HOLD_NS, 1).indices(INSTRUMENTS)
    with pytest.raises(UserError, match="none of AIG"):
        Settings(HOLD_NS, 1, ("AIG",)).indices(INSTRUMENTS)


@pytest.mark.jitless
def test_demo_entries_are_staggered_and_alternate_sides(instance_name):
    """The first instrument is entered at once and long, the second half a hold later and short."""
    with running(instance_name) as instance, Client(instance_name, 0) as client:
        demo = Demo(client, SETTINGS)
        assert 1 == act(instance, demo)
        assert [100, 0] == held(client)
        assert 0 == act(instance, demo)
        assert 1 == act(instance, demo, HOLD_NS // 2)
        assert [100, -100] == held(client)


@pytest.mark.jitless
def test_demo_holds_then_reverses_with_twice_the_size(instance_name):
    """Before the hold is over nothing is sent; then one order of 200 turns 100 long into 100 short, and back."""
    with running(instance_name) as instance, Client(instance_name, 0) as client:
        demo = Demo(client, Settings(HOLD_NS, 100, ("AAPL",)))
        act(instance, demo)
        assert 0 == act(instance, demo, HOLD_NS // 2)
        for expected in (-100, 100, -100):
            assert 1 == act(instance, demo, HOLD_NS)
            assert [expected, 0] == held(client)
        orders = instance.records("orders", ORDER)
        assert [(BUY, 100), (SELL, 200), (BUY, 200), (SELL, 200)] == list(
            zip(orders["side"].tolist(), orders["quantity_lots"].tolist(), strict=True)
        )


@pytest.mark.jitless
def test_demo_stopped_out_waits_and_enters_on_the_other_side(instance_name):
    """After a stop has flattened a long position the demo stays out for its pause, then goes short."""
    with running(instance_name) as instance, Client(instance_name, 0) as client:
        demo = Demo(client, Settings(HOLD_NS, 100, ("AAPL",), pause_ns=HOLD_NS // 2))
        act(instance, demo)
        assert 0 == act(instance, demo, ticks=quotes([(AAPL, 9_700, 9_702)] * 3))
        assert [0, 0] == held(client)
        assert 0 == act(instance, demo, HOLD_NS // 4, quotes([(AAPL, 9_700, 9_702)]))
        assert 1 == act(instance, demo, HOLD_NS // 2, quotes([(AAPL, 9_700, 9_702)]))
        assert [-100, 0] == held(client)


@pytest.mark.jitless
def test_demo_in_a_replay_holds_until_a_stop(instance_name):
    """Where it does not reverse, a position stays as it is for many holds, and nothing is asked for."""
    with running(instance_name) as instance, Client(instance_name, 0) as client:
        demo = Demo(client, Settings(HOLD_NS, 100, ("AAPL",), reverses=False))
        act(instance, demo)
        assert [100, 0] == held(client)
        assert 0 == sum(act(instance, demo, HOLD_NS) for _ in range(20))
        assert [100, 0] == held(client)


@pytest.mark.jitless
def test_demo_waits_for_the_first_price_of_a_symbol(instance_name):
    """A symbol without a price is not asked for, so nothing is refused; with its first quote it is entered."""
    only_aapl = quotes([(AAPL, 10_000, 10_002)])
    with running(instance_name, only_aapl) as instance, Client(instance_name, 0) as client:
        demo = Demo(client, Settings(HOLD_NS, 100, ("BTCUSDT",)))
        assert 0 == sum(act(instance, demo, HOLD_NS // 16, only_aapl) for _ in range(20))
        assert 1 == act(instance, demo, HOLD_NS // 16)
        assert [0, -100] == held(client)


@pytest.mark.jitless
def test_demo_refused_entry_is_asked_for_again_ever_less_often(instance_name):
    """While entries are blocked the waits double; when they are allowed again the demo enters."""
    with running(instance_name) as instance, Client(instance_name, 0) as client:
        allowed = instance.segment.array("supervisor.state")
        allowed[topology.ENTRIES_ALLOWED] = 0
        demo = Demo(client, Settings(HOLD_NS, 100, ("AAPL",)))
        asked = [act(instance, demo, HOLD_NS // 4) for _ in range(40)]
        gaps = np.diff(np.flatnonzero(asked))
        assert gaps.tolist() == sorted(gaps.tolist())
        assert gaps[0] < gaps[-1]
        assert 4 <= sum(asked) <= 7
        allowed[topology.ENTRIES_ALLOWED] = 1
        act(instance, demo, 64 * HOLD_NS)
        act(instance, demo, 64 * HOLD_NS)
        assert 100 == abs(held(client)[0])
        act(instance, demo, 1)
        assert [0, 0] == demo.refusals.tolist()


@pytest.mark.jitless
def test_demo_second_life_takes_up_what_is_held(instance_name):
    """A demo that starts again with a position reverses that one and opens no second one."""
    with running(instance_name) as instance:
        with Client(instance_name, 0) as client:
            act(instance, Demo(client, Settings(HOLD_NS, 100, ("AAPL",))))
        with Client(instance_name, 0) as client:
            demo = Demo(client, Settings(HOLD_NS, 100, ("AAPL",)))
            assert 1 == act(instance, demo, HOLD_NS)
            assert [-100, 0] == held(client)
            assert [1, 2] == instance.records("requests.strategy0", REQUEST)["request_id"].tolist()


@pytest.mark.jitless
def test_demo_untaken_request_is_not_asked_for_twice(instance_name):
    """As long as risk has not taken the last request, nothing more is sent, however much time passes."""
    with running(instance_name) as instance, Client(instance_name, 0) as client:
        demo = Demo(client, SETTINGS)
        assert 1 == demo.act()
        instance.segment.array("risk.state")[topology.RISK_NOW_NS] += 4 * HOLD_NS
        assert 0 == demo.act()
        instance.settle()
        assert [100, 0] == held(client)


@pytest.mark.jitless
def test_demo_before_the_first_tick_does_nothing(instance_name):
    """Without stream time there is nothing to decide by."""
    with running(instance_name) as instance, Client(instance_name, 0) as client:
        instance.segment.array("risk.state")[topology.RISK_NOW_NS] = 0
        assert 0 == Demo(client, SETTINGS).act()


def wait_until_ready(words: np.ndarray, process: subprocess.Popen) -> None:
    """Wait until the demo says that it is READY; fail with its own words where it ended instead."""
    until(lambda: words[heartbeat.STATE] == State.READY or process.poll() is not None, "ready")
    assert process.poll() is None, answer_of(process)


@pytest.mark.processes
def test_demo_process_lives_by_the_supervisors_commands(instance_name):
    """It gets READY and waits, trades on RUN, does not mind SIGINT, and stops with code 0 and its slot given back."""
    with running(instance_name, about=ABOUT) as instance, spawned("-m", DEMO, instance_name, "0", "0") as process:
        words = instance.segment.array("strategy0.heartbeat")
        wait_until_ready(words, process)
        assert process.pid == words[heartbeat.PID]
        assert 0 == len(instance.records("requests.strategy0", REQUEST))
        process.send_signal(signal.SIGINT)
        words[heartbeat.COMMAND] = Command.RUN
        until(
            lambda: bool(instance.positions()["quantity_lots"][:2].all()),
            "positions",
            lambda: instance.feed(calm(), HOLD_NS // 8),
        )
        assert State.RUNNING == words[heartbeat.STATE]
        words[heartbeat.COMMAND] = Command.STOP
        assert ("", "", EXIT_OK) == answer_of(process)
        assert State.STOPPED == words[heartbeat.STATE]
        with Client(instance_name, 0) as client:
            assert client.alive


@pytest.mark.processes
def test_demo_process_ends_on_sigterm(instance_name):
    """SIGTERM counts as the command STOP, also before RUN."""
    with running(instance_name, about=ABOUT) as instance, spawned("-m", DEMO, instance_name, "0", "0") as process:
        words = instance.segment.array("strategy0.heartbeat")
        wait_until_ready(words, process)
        process.send_signal(signal.SIGTERM)
        assert ("", "", EXIT_OK) == answer_of(process)


@pytest.mark.processes
def test_demo_process_of_an_earlier_start_leaves_fenced(instance_name):
    """A process whose incarnation is not the one that counts writes nothing and says so by its exit code."""
    with running(instance_name, about=ABOUT) as instance:
        words = instance.segment.array("strategy0.heartbeat")
        words[heartbeat.INCARNATION] = 2
        with spawned("-m", DEMO, instance_name, "0", "1") as process:
            assert ("", "", EXIT_FENCED) == answer_of(process)
        assert 0 == words[heartbeat.STATE]


@pytest.mark.processes
def test_demo_process_without_an_instance_says_one_line():
    """Where there is no instance, one line tells it, with no traceback."""
    with spawned("-m", DEMO, f"test-never-{os.getpid()}", "0", "1") as process:
        _, errors, code = answer_of(process)
    assert EXIT_USER_ERROR == code
    assert [("error", True)] == [(level, message.startswith("no instance")) for level, message in read_lines(errors)]
    assert 1 == errors.count("\n")
