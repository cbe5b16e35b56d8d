"""All of an instance that metrics read: opened once, looked at when asked, never written."""

import time
from dataclasses import dataclass

import numpy as np

from pipeline.account_view import AccountReader
from pipeline.instruments import Instruments
from pipeline.money import Money
from pipeline.stop_rows import StopRows
from pipeline.tables import MARK, POSITION, SENT_ORDER
from pipeline.topology import (
    COUNTERS,
    HISTOGRAMS,
    REASON_BANKS,
    RISK_NOW_NS,
    STARTED_NS,
    WORKERS,
    RingRow,
    Sizes,
    read_about,
    ring_rows,
    strategy_names,
)
from shm import heartbeat, histogram, rows
from shm.counters import STRIDE, Counters, open_counters, snapshot
from shm.heartbeat import Heartbeat
from shm.ring import RingView, open_ring
from shm.segment import Segment


@dataclass(frozen=True)
class InstanceView:
    """An instance's shared words, by name."""

    epoch: int
    instruments: Instruments
    strategies: tuple[str, ...]
    rings: tuple[tuple[RingRow, RingView], ...]
    heartbeats: dict[str, Heartbeat]
    counters: dict[str, Counters]
    reasons: dict[str, Counters]
    histograms: dict[str, np.ndarray]
    positions: rows.Table
    stops: StopRows
    account: AccountReader
    sent: rows.Table
    marks: np.ndarray
    supervisor: np.ndarray
    risk: np.ndarray
    stale_ns: int  #: stream time without a valid tick after which a symbol is stale

    @property
    def money(self) -> Money:
        """Units of the account."""
        return self.account.money

    @property
    def stream_ns(self) -> int:
        """Stream time as risk has reached it."""
        return int(self.risk[RISK_NOW_NS])

    def count(self, worker: str, name: str) -> int:
        """Return one counter of a worker."""
        return int(self.counters[worker].words[STRIDE * COUNTERS[worker].index(name)])

    def reason_counts(self, bank: str, names: tuple[str, ...]) -> dict[str, int]:
        """Return a bank of counts by reason."""
        return snapshot(self.reasons[bank], names)

    def word(self, worker: str, word: int) -> int:
        """Return one word of a worker's heartbeat."""
        return int(self.heartbeats[worker].words[word])

    @property
    def started_ns(self) -> int:
        """Monotonic start of the launch; 0 where nobody noted it."""
        return int(self.supervisor[STARTED_NS])


def open_view(segment: Segment) -> InstanceView:
    """Open everything that metrics read."""
    about = read_about(segment)
    sizes = Sizes(**about["sizes"])
    strategies = strategy_names(sizes.strategies)
    instruments = Instruments.from_json(about["instruments"])
    return InstanceView(
        epoch=segment.epoch,
        instruments=instruments,
        strategies=strategies,
        rings=tuple((row, RingView(open_ring(segment, row.name, row.dtype))) for row in ring_rows(sizes.strategies)),
        heartbeats={name: heartbeat.open_heartbeat(segment, name) for name in (*WORKERS, *strategies)},
        counters={worker: open_counters(segment, worker) for worker in COUNTERS},
        reasons={bank: open_counters(segment, bank) for bank in REASON_BANKS},
        histograms={name: histogram.open_histogram(segment, name) for name in HISTOGRAMS},
        positions=rows.open_table(segment, "positions", POSITION),
        stops=StopRows(segment),
        account=AccountReader(segment, sizes, instruments, Money.from_json(about["account"])),
        sent=rows.open_table(segment, "sent", SENT_ORDER),
        marks=segment.array("marks", MARK),
        supervisor=segment.array("supervisor.state"),
        risk=segment.array("risk.state"),
        stale_ns=int(about["config"]["hygiene"]["stale_after_ms"]) * 1_000_000 if "config" in about else 1 << 62,
    )


def seconds(duration_ns: float) -> float:
    """Return nanoseconds in seconds, Prometheus's unit."""
    return duration_ns / 1e9


def age_seconds(stamp_ns: int) -> float:
    """Return the age of a monotonic stamp; never below 0, since its writer may just have renewed it."""
    return seconds(max(0, time.monotonic_ns() - stamp_ns))
