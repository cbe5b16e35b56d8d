"""The story of the README: a strategy opens positions, a person sets a stop of each kind with tools/ctl.py, and each fires."""

from __future__ import annotations

import select
import time
from pathlib import Path

import duckdb
import pytest

from pipeline.client import Client
from pipeline.messages import BUY, SELL
from tests.tools.test_ctl_run import NO_DEMO, PATIENCE_S, Console, changed_config, running

#: Symbol, side, and how its stop is set; the crash of 10% begins SCENARIO_S into the data.
STOPS = (
    ("AAPL", BUY, ("static", "--percent", "1.5")),
    ("MSFT", BUY, ("trailing", "--percent", "1.0")),
    ("NVDA", BUY, ("atr", "--atr-multiplier", "40", "--atr-period", "2", "--bar-seconds", "1")),
    ("AMZN", BUY, ("chandelier", "--atr-multiplier", "60", "--atr-period", "2", "--bar-seconds", "1")),
    ("BTCUSDT", BUY, ("time", "--max-holding", "6")),
    ("SPY", SELL, ("take_profit", "--percent", "3")),
)
SCENARIO_S = 9
SETTINGS = NO_DEMO | {
    "enforce_stops = true": "enforce_stops = false",
    'atr_source = "last" ': 'atr_source = "mid" ',
    "scenario_start_seconds = 5.0 ": f"scenario_start_seconds = {SCENARIO_S}.0 ",
}


def wait(client: Client, is_so: str, seconds: float = 60.0) -> None:
    """Wait until the client's positions are all "held" or all "flat"."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        held = {symbol for symbol, position in client.positions().items() if not position.is_flat}
        if (is_so == "held" and len(held) == len(STOPS)) or (is_so == "flat" and not client.positions()):
            return
        select.select([], [], [], 0.01)
    raise AssertionError(f"not all {is_so} within {seconds} s")


@pytest.mark.processes
@pytest.mark.slow
@pytest.mark.timeout(PATIENCE_S)
def test_story_of_stops_by_hand_each_kind_fires_once(
    tmp_path: Path, runtime_folder: Path, instance_name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """A stop of each kind is set, one is moved and one cancelled; each kind fires once, and the database says why."""
    console = Console(instance_name, capsys)
    flags = (
        "--config",
        str(changed_config(tmp_path, SETTINGS)),
        "--scenario",
        "flash-crash",
        "--duration",
        "16",
        "--db",
        "story.duckdb",
    )
    with running(tmp_path, instance_name, *flags) as process, Client(instance_name) as client:
        while not (marks := client.mark_rows())["bid_ticks"].all() or not client.stream_ns:
            assert len(marks) == len(client.instruments)
        for symbol, side, _ in STOPS:
            client.submit(symbol, side, "10")
        wait(client, "held")
        ids = {}
        for symbol, _, how in STOPS:
            code, answer = console.ask("set-stop", symbol, *how)
            assert 0 == code, answer
            ids[how[0]] = answer["stop_id"]
        assert 0 == console.ask("move-stop", str(ids["static"]), "--percent", "0.8")[0]
        code, answer = console.ask("set-stop", "MSFT", "static", "--percent", "5")
        assert (0, 0) == (code, console.ask("cancel-stop", str(answer["stop_id"]))[0])
        wait(client, "flat")
        output, _ = process.communicate()
        assert 0 == process.returncode, output
    with duckdb.connect(str(tmp_path / "story.duckdb"), read_only=True) as database:
        query = "SELECT stop_kind, reason FROM stop_events WHERE kind = '{}' ORDER BY stop_kind"
        fired = database.execute(query.format("stop_triggered")).fetchall()
        moved = database.execute(query.format("stop_moved")).fetchall()
        ended = database.execute("SELECT reason, count(*) FROM stop_events WHERE kind = 'stop_ended' GROUP BY ALL").fetchall()
    expected = [(kind, {"time": "deadline", "take_profit": "target"}.get(kind, "level")) for kind in sorted(ids)]
    assert expected == fired
    assert [("static", "none")] == moved
    assert {"exit_filled": len(STOPS), "cancelled": 1} == dict(ended)
