"""An instance with a name, whose real stages step in the test's own process, for clients to attach to."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from decimal import Decimal
from time import monotonic

import numpy as np
import pytest

from pipeline import client_asking, topology
from pipeline.config_account import AccountSection, RateSection
from pipeline.instruments import Instrument, Instruments
from pipeline.messages import EVENT, REQUEST, TICK
from pipeline.money import money_of
from shm import ring, rows
from shm.jit import ROOT
from tests.rig import Rig, limits, quotes

INSTRUMENTS = Instruments(
    [
        Instrument("AAPL", Decimal("0.01"), Decimal("1"), venue="NASDAQ"),
        Instrument("BTCUSDT", Decimal("0.10"), Decimal("0.001"), currency="USDT"),
    ]
)
MONEY = money_of(INSTRUMENTS, AccountSection(balance="1000000", rates=(RateSection(currency="USDT", rate="1"),)))
SIZES = topology.Sizes(
    instruments=2, strategies=3, ticks=64, requests=16, orders=64, reports=64, events=512, stops=64, working_orders=64,
    venue_orders=64,
)  # fmt: skip
AAPL, BTCUSDT = 0, 1
#: Bid and ask before anything moves, in ticks.
AAPL_QUOTE, BTCUSDT_QUOTE = (10_000, 10_002), (900_000, 900_010)
DEADLINE_S = 60.0


def calm(count: int = 2) -> np.ndarray:
    """Return quotes that do not move, the instruments in turn, 1 µs apart."""
    both = [(AAPL, *AAPL_QUOTE), (BTCUSDT, *BTCUSDT_QUOTE)]
    return quotes(both[k % 2] for k in range(count))


class Instance(Rig):
    """A rig that keeps its name, and says about itself what a launched instance does.

    Args:
        name: Instance name.
        ticks: TICK, the feed so far; `feed` gives more.
        about: More for the description.
    """

    def __init__(self, name: str, ticks: np.ndarray | None = None, about: dict | None = None) -> None:
        told = {
            "sizes": SIZES._asdict(), "instruments": INSTRUMENTS.to_json(), "account": MONEY.to_json(),
            "feed": {}, "config": {},
        }  # fmt: skip
        units = limits(SIZES.instruments)._replace(
            value_units=np.array(MONEY.value_units), lot_units=np.array(MONEY.lot_units), balance_units=MONEY.balance_units
        )
        super().__init__(calm() if ticks is None else ticks, SIZES, units, name=name, about=told | (about or {}))

    @property
    def stream_ns(self) -> int:
        """Stream time as risk has reached it."""
        return int(self.segment.array("risk.state")[topology.RISK_NOW_NS])

    def feed(self, ticks: np.ndarray, after_ns: int = 1_000) -> None:
        """Give more ticks, the first of them `after_ns` from now in stream time, and let the stages work them off."""
        self.give(ticks, after_ns)
        self.settle()

    def give(self, ticks: np.ndarray, after_ns: int = 1_000) -> None:
        """Give more ticks, and let nothing step."""
        ticks = ticks.copy()
        ticks["event_ns"] += self.stream_ns + after_ns - ticks["event_ns"][0]
        # Numbered on: a sequence that was seen is no tick.
        ticks["venue_seq"] = len(self.ticks) + 1 + np.arange(len(ticks))
        self.ticks = np.concatenate([self.ticks, ticks]).astype(TICK)

    def settle_working(self, turns: int = 50) -> None:
        """Let the stages step while orders may go on working."""
        for _ in range(turns):
            for stage in ("ingest", "risk", "execution"):
                self.step(stage)
            self.drain_sidecar()

    def end(self) -> None:
        """End the instance as a supervisor does."""
        self.segment.unlink()
        self.segment.close()


@contextmanager
def running(name: str, ticks: np.ndarray | None = None, about: dict | None = None) -> Iterator[Instance]:
    """Give an instance whose first quotes are worked off, and end it afterwards."""
    instance = Instance(name, ticks, about)
    try:
        instance.settle()
        yield instance
    finally:
        instance.end()


class Risk:
    """Steps risk, or answers in its place, each time that a client's call would sleep."""

    def __init__(self, instance: Instance, monkeypatch: pytest.MonkeyPatch) -> None:
        self.instance = instance
        self.answers: list[dict] | None = None  #: None = the real one answers
        self.naps = 0
        monkeypatch.setattr(client_asking, "nap", self.nap)

    def nap(self) -> None:
        """Let risk do its part."""
        self.naps += 1
        if self.answers is None:
            self.instance.step("risk")
            self.instance.drain_sidecar()
            return
        for answer in self.answers:
            self.publish(answer)
        self.answers = []

    def publish(self, fields: dict) -> None:
        """Publish one event in risk's place, of the last request of slot 0 unless it says otherwise."""
        pen = self.instance.risk.events
        seq = int(ring.claim(pen, 1))
        assert seq != ring.FULL, "the test tells more than the ring holds"
        at = seq & (SIZES.events - 1)
        pen.ring.slots[at : at + 1] = np.zeros(1, EVENT)
        event = pen.ring.slots[at : at + 1]
        event["request_id"] = len(requests_of(self.instance, 0))
        for name, value in fields.items():
            event[name] = value
        ring.publish(pen)
        self.instance.drain_sidecar()


def put_row(instance: Instance, table: str, dtype: np.dtype, row: int, **fields: int) -> None:
    """Write one row of a table in risk's place."""
    opened = rows.open_table(instance.segment, table, dtype)
    at = 2 * row + (int(opened.commits[row]) + 1 & 1)
    opened.copies[at : at + 1] = opened.copies[at ^ 1]
    for name, value in fields.items():
        opened.copies[at][name] = value
    opened.commits[row] += 1


def requests_of(instance: Instance, slot: int) -> np.ndarray:
    """Return what is in a strategy's requests ring."""
    return instance.records(f"requests.strategy{slot}", REQUEST)


@contextmanager
def spawned(*arguments: str) -> Iterator[subprocess.Popen]:
    """Start a Python process in the sources' folder, its output to be read as text; kill it afterwards."""
    pipe = subprocess.PIPE
    process = subprocess.Popen([sys.executable, *arguments], stdin=pipe, stdout=pipe, stderr=pipe, text=True, cwd=ROOT)
    with process:
        try:
            yield process
        finally:
            process.kill()
            assert process.stdin is not None, "it has a pipe"
            process.stdin.close()


def answer_of(process: subprocess.Popen) -> tuple[str, str, int]:
    """Wait for a process to end by itself; return what it printed, its errors and its exit code."""
    output, errors = process.communicate(timeout=DEADLINE_S)
    return output, errors, process.returncode


def until(is_so: Callable[[], bool], what: str, meanwhile: Callable[[], object] = lambda: None) -> None:
    """Wait until something is so, doing something meanwhile; fail after DEADLINE_S."""
    deadline = monotonic() + DEADLINE_S
    while not is_so():
        meanwhile()
        if monotonic() > deadline:
            raise AssertionError(f"{what}: not within {DEADLINE_S:.0f} s")
