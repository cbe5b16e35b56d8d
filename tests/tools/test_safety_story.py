"""The story of the README: limits, breaker, REDUCING, kill, resume, and two strategies of which one is killed.

Strategy 0 is the test's own, strategy 1 a process that is killed by SIGKILL while its order rests.
"""

from __future__ import annotations

import select
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pytest

from pipeline.client import Client
from pipeline.messages import BUY, REQUEST_REFUSED, SELL
from tests.kernel_cache import ROOT
from tests.tools.test_ctl_run import NO_DEMO, PATIENCE_S, Console, changed_config, running

#: Buys, then leaves an order far below the market, and says so.
OTHER = """
import select, signal, sys
from pipeline.client import Client
from pipeline.messages import BUY
def wait_until(is_so):
    while not is_so():
        select.select([], [], [], 0.01)
with Client(sys.argv[1], 1) as client:
    client.submit("MSFT", BUY, "10")
    wait_until(lambda: not client.position("MSFT").is_flat)
    price = client.instruments.price_text(1, int(client.mark_rows()[1]["bid_ticks"]) * 98 // 100)
    client.submit("MSFT", BUY, "5", price=price)
    wait_until(client.orders)
    print("resting", flush=True)
    signal.pause()
"""


def wait_until(is_so: Callable[[], Any], what: str, seconds: float = 60.0) -> None:
    """Wait for what must come."""
    deadline = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < deadline, f"{what} did not come within {seconds} s"
        select.select([], [], [], 0.01)


class Teller:
    """Runs commands that must be done, and keeps what the story tells."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.lines: list[str] = []

    def ask(self, *arguments: str) -> dict[str, Any]:
        """Run one command; return its answer."""
        code, answer = self.console.ask(*arguments)
        assert 0 == code, answer
        self.lines.append(f"$ tools/ctl.py {' '.join(arguments)}\n  {answer.get('text', '')}")
        return answer


class Trader:
    """Strategy 0: asks, and reads what it is told."""

    def __init__(self, client: Client) -> None:
        self.client = client

    def held(self, symbol: str) -> int:
        """Return the lots that are held."""
        return int(self.client.position(symbol).quantity)

    def fill(self, symbol: str, side: int, quantity: str) -> None:
        """Send an order that must be filled."""
        wanted = self.held(symbol) + side * int(quantity)
        self.client.submit(symbol, side, quantity)
        wait_until(lambda: self.held(symbol) == wanted, f"the fill of {quantity} {symbol}")

    def refusal(self, symbol: str, side: int, quantity: str) -> str:
        """Send an order that must be refused; return why, as a person reads it."""
        order_id = self.client.submit(symbol, side, quantity)
        found: list[np.void] = []

        def look() -> bool:
            found.extend(event for event in self.client.events() if event["kind"] == REQUEST_REFUSED)
            return any(event["order_id"] == order_id for event in found)

        wait_until(look, f"the refusal of {quantity} {symbol}")
        return str(self.client.refusal(found[-1]))


def lose_the_other_strategy(teller: Teller, instance: str) -> None:
    """Two strategies, one of which dies: its order is taken back, its stops stay."""
    with subprocess.Popen([sys.executable, "-c", OTHER, instance], cwd=ROOT, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert "resting" in other.stdout.readline()
        assert 1 == len(teller.ask("orders", "--strategy", "1")["orders"])
        other.kill()
    teller.console.until(lambda answer: not answer["orders"], "orders", "--strategy", "1")
    assert {"armed"} == {stop["state"] for stop in teller.ask("stops", "--strategy", "1")["stops"]}


def trip_the_breaker(teller: Teller, trader: Trader) -> None:
    """The account has lost the spread at least: one cent a day is too little, and only what reduces may leave."""
    teller.ask("set-limit", "max_daily_loss", "0.01")
    teller.console.until(lambda answer: answer["account"]["trading_state"] == "reducing", "account")
    teller.lines.append(f"AAPL buy 1: {trader.refusal('AAPL', BUY, '1')}")
    teller.lines.append(f"AAPL sell 21 of 20: {trader.refusal('AAPL', SELL, '21')}")
    trader.fill("AAPL", SELL, "15")
    teller.lines.append("AAPL sell 15 of 20: filled")
    teller.ask("set-limit", "max_daily_loss", "unlimited")


def read_back(database: Path) -> list[str]:
    """Hold the story against the database, and return it as that tells it."""
    with duckdb.connect(str(database), read_only=True) as connection:

        def rows(query: str) -> list[Any]:
            return connection.execute(query).fetchall()

        states = rows("SELECT state, reason FROM trading_states ORDER BY seq")
        assert [("reducing", "daily_loss"), ("killed", "person"), ("active", "person")] == states
        refused = rows("SELECT reason FROM refusals ORDER BY seq")
        assert ["quantity", "reducing", "reducing", "killed"] == [reason for (reason,) in refused]
        limits = rows("SELECT limit_name FROM limit_changes ORDER BY seq")
        assert ["max_order_quantity", "max_daily_loss", "max_daily_loss"] == [name for (name,) in limits]
        assert any("prices make no sense" in text for (text,) in rows("SELECT text FROM notes ORDER BY seq"))
        told = rows(
            "SELECT event_time, told FROM trading_states UNION ALL SELECT event_time, told FROM limit_changes "
            "UNION ALL SELECT event_time, symbol || ' ' || told FROM refusals ORDER BY event_time"
        )
    return [f"{moment:%H:%M:%S} {line}" for moment, line in told]


@pytest.mark.processes
@pytest.mark.slow
@pytest.mark.timeout(PATIENCE_S)
def test_story_of_safety_limits_breaker_reducing_kill_and_two_strategies(
    tmp_path: Path, runtime_folder: Path, instance_name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each way of keeping something from leaving shows its reason, and the database tells the same story afterwards."""
    teller = Teller(Console(instance_name, capsys))
    flags = ("--config", str(changed_config(tmp_path, NO_DEMO)), "--db", "story.duckdb")
    with running(tmp_path, instance_name, *flags) as process, Client(instance_name, 0) as client:
        trader = Trader(client)
        wait_until(lambda: bool(client.mark_rows()["bid_ticks"].all()), "prices")
        trader.fill("AAPL", BUY, "20")
        teller.ask("set-limit", "max_order_quantity", "50", "--symbol", "AAPL")
        teller.lines.append(f"AAPL buy 51: {trader.refusal('AAPL', BUY, '51')}")
        lose_the_other_strategy(teller, instance_name)
        trip_the_breaker(teller, trader)
        teller.ask("kill", "--reason", "prices make no sense")
        teller.lines.append(f"AAPL sell 1: {trader.refusal('AAPL', SELL, '1')}")
        teller.ask("resume", "--reason", "checked with the broker")
        trader.fill("AAPL", SELL, "5")
        teller.ask("flatten", "--strategy", "1")
        teller.console.until(lambda answer: not answer["stops"], "stops", "--strategy", "1")
        process.terminate()
        output, _ = process.communicate()
        assert 0 == process.returncode, output
    # What the README shows.
    (tmp_path / "told.txt").write_text("\n".join([*teller.lines, *read_back(tmp_path / "story.duckdb")]))
