"""A small real instance for the sidecar's tests: a segment file, its rings, and producers that write records into them."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

import msgspec
import numpy as np

from pipeline.config import Config, load_config, with_overrides
from pipeline.config_account import AccountSection, RateSection
from pipeline.instruments import Instrument, Instruments
from pipeline.messages import (
    ACCEPTED,
    BUY,
    EXIT,
    FILLED,
    NEW,
    NOTE,
    QUOTE,
    REJECTED,
    SELL,
    SET_STATE,
    STOP_ARMED,
    STOP_TRIGGERED,
    TIMER,
    TRADE,
)
from pipeline.money import Money, money_of
from pipeline.sidecar.worker import SidecarStage
from pipeline.topology import Sizes, regions, ring_rows, set_up, write_about
from shm.heartbeat import BELL
from shm.jit import njit
from shm.ring import FULL, Producer, claim, open_producer, open_ring, publish
from shm.segment import Segment, attach, finish, open_owned
from shm.wait import PARK, make_waiter

INSTRUMENTS = Instruments(
    [
        Instrument("AAPL", Decimal("0.01"), Decimal("1"), venue="NASDAQ"),
        Instrument("BTCUSDT", Decimal("0.10"), Decimal("0.001"), currency="USDT"),
        Instrument("MESZ6", Decimal("0.25"), Decimal("1"), multiplier=Decimal(5)),
    ]
)
#: Money units of 10**-6 USD.
MONEY: Money = money_of(INSTRUMENTS, AccountSection(balance="10000000", rates=(RateSection(currency="USDT", rate="1"),)))
SIZES = Sizes(
    instruments=3, strategies=2, ticks=4096, requests=64, orders=256, reports=256, events=256, stops=64, working_orders=256,
    venue_orders=64, notes=256,
)  # fmt: skip
STARTED_UTC_NS_VALUE = 1_767_623_400_000_000_000


@njit
def push(producer, records_words):
    """Publish records, one after the other, as far as there is room; return how many."""
    mask = producer.ring.slots.shape[0] - 1
    for k in range(records_words.shape[0]):
        seq = claim(producer, 1)
        if seq == FULL:
            return k
        for w in range(records_words.shape[1]):
            producer.ring.slot_words[seq & mask, w] = records_words[k, w]
        publish(producer)
    return records_words.shape[0]


@dataclass
class Instance:
    """An instance and what writes its rings."""

    segment: Segment
    config: Config
    producers: dict[str, Producer]

    def send(self, ring: str, records: np.ndarray) -> int:
        """Publish records; return how many found room."""
        words = np.ascontiguousarray(records).view(np.int64).reshape(len(records), records.dtype.itemsize // 8)
        return int(push(self.producers[ring], words))

    def stage(self) -> SidecarStage:
        """Start a sidecar stage in this process."""
        waiter = make_waiter(self.segment.memory, self.segment.base("sidecar.heartbeat") + BELL, PARK, 0)
        return SidecarStage(self.segment, self.config, waiter)

    def release_gates(self) -> None:
        """Let the other gating readers of every ring be done, so that only the sidecar holds a producer back."""
        for row in ring_rows(SIZES.strategies):
            for index, (reader, _) in enumerate(row.readers):
                if reader != "sidecar":
                    self.producers[row.name].ring.words[48 + index] = 0


def config_for(folder: Path, **sidecar: object) -> Config:
    """Return the shipped configuration with the sidecar's files in a folder and any free port."""
    settings = {"metrics_port": 0, "database": str(folder / "history.duckdb"), "flush_ms": 10} | sidecar
    return with_overrides(load_config(), {f"sidecar.{key}": value for key, value in settings.items()})


@contextmanager
def made_instance(folder: Path, name: str = "", **sidecar: object) -> Iterator[Instance]:
    """Make an instance, and remove it afterwards."""
    name = name or f"test-sidecar-{os.getpid()}"
    config = config_for(folder, **sidecar)
    about = {"sizes": SIZES._asdict(), "instruments": INSTRUMENTS.to_json(), "config": msgspec.to_builtins(config), "feed": {},
             "account": MONEY.to_json()}  # fmt: skip
    segment = open_owned(name, regions(SIZES, 65_536), fresh=True)
    try:
        set_up(segment, SIZES, {})
        write_about(segment, about)
        segment.array("supervisor.state")[2] = STARTED_UTC_NS_VALUE
        finish(segment)
        yield instance_of(segment, config)
    finally:
        segment.unlink()
        segment.close()


def attached_instance(name: str, config: Config) -> Instance:
    """Attach to an instance that another process made."""
    return instance_of(attach(name), config)


def instance_of(segment: Segment, config: Config) -> Instance:
    """Open the rings of a mapped instance for writing."""
    rows = ring_rows(SIZES.strategies)
    producers = {row.name: open_producer(segment, open_ring(segment, row.name, row.dtype)) for row in rows}
    instance = Instance(segment, config, producers)
    instance.release_gates()
    return instance


def records_of(ring: str, count: int, first: int = 0) -> np.ndarray:
    """Return records that can be told apart: each has its number in its id."""
    row = next(row for row in ring_rows(SIZES.strategies) if row.name == ring)
    records = np.zeros(count, row.dtype)
    number = np.arange(first, first + count)
    if row.dtype is NOTE:
        _fill_notes(records, number)
        return records
    records["event_ns"] = STARTED_UTC_NS_VALUE + number * 1_000_003
    records["instrument"] = number % len(INSTRUMENTS)
    fill = {"ticks": _fill_ticks, "orders": _fill_orders, "reports": _fill_reports, "events": _fill_events}[ring]
    fill(records, number)
    return records


def _fill_ticks(records: np.ndarray, number: np.ndarray) -> None:
    records["venue_seq"] = number + 1
    records["kind"] = np.where(number % 10 == 9, TIMER, np.where(number % 5 == 3, TRADE, QUOTE))
    records["a"], records["b"], records["c"], records["d"] = 10_001 + number, 10_003 + number, 7, 11


def _fill_orders(records: np.ndarray, number: np.ndarray) -> None:
    is_exit = number % 2 == 1
    records["order_id"], records["quantity_lots"] = number + 1, 100
    records["price_ticks"], records["reference_ticks"] = np.where(is_exit, 0, 10_000), 10_001
    records["order_type"], records["side"] = np.where(is_exit, 1, 2), np.where(is_exit, SELL, BUY)
    records["flags"], records["kind"] = np.where(is_exit, EXIT | 1, 0), NEW


def _fill_reports(records: np.ndarray, number: np.ndarray) -> None:
    records["order_id"], records["quantity_lots"], records["side"] = number + 1, 100, BUY
    records["kind"] = np.choose(number % 3, [ACCEPTED, FILLED, REJECTED])
    records["price_ticks"] = np.where(number % 3 == 1, 10_002, 0)
    records["fill_id"] = np.where(number % 3 == 1, number, 0)
    records["reason"] = np.where(number % 3 == 2, 3, 0)


def _fill_events(records: np.ndarray, number: np.ndarray) -> None:
    records["event_id"], records["stop_id"] = number + 1, number // 2 + 1
    records["kind"] = np.where(number % 2 == 0, STOP_ARMED, STOP_TRIGGERED)
    records["stop_kind"], records["side"], records["price_ticks"] = 1, 1, 10_000


def _fill_notes(records: np.ndarray, number: np.ndarray) -> None:
    records["utc_ns"], records["request_id"] = STARTED_UTC_NS_VALUE + number, number + 1
    records["uid"], records["pid"], records["kind"], records["source"] = 1000, 4711, SET_STATE, 1
    for record, count in zip(records, number.tolist(), strict=True):
        write_text(record, f"note {count}")


def write_text(note: np.void, text: str) -> None:
    """Write the text of a NOTE, as far as it fits."""
    data = text.encode()[: note["text"].size]
    note["length"] = len(data)
    note["text"][: len(data)] = np.frombuffer(data, np.uint8)
