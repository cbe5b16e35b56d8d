"""The stop engine alone: the real risk step over ticks whose flags are set, with a position and a book for each stop.

What it needs around it is played here: a ring of ticks that is filled in pieces, and readers that take its orders and events.
Nothing fills the exits, so each position waits for ever once its stop has fired; a comparison of triggers needs no more.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

import numpy as np

from pipeline import topology
from pipeline.messages import ATR, CHANDELIER, EVENT, ORDER, STOP_TRIGGERED, TICK, TIME, WATCH_NAMES
from pipeline.risk.arming import place
from pipeline.risk.atr import NO_SERIES, begin, find_series, link
from pipeline.risk.limits import Limits
from pipeline.risk.state import RiskState, open_risk
from pipeline.risk.step import one_step as step
from pipeline.risk.watching import restore
from pipeline.tables import POSITION, STOP_TERMS
from shm import ring, rows, segment
from shm.transaction import commit
from tests.stop_oracle import StopTerms, Trigger

#: The twins take no time for a fill, and know no configured series.
PERIOD, BAR_NS = 14, 60_000_000_000
TICK_SLOTS, EVENT_SLOTS = 1 << 12, 1 << 13
SCRATCH_WORDS = 512


class Engine:
    """Risk with its stops placed, and the stream that it gets.

    Args:
        ticks: TICK array, flags set.
        terms: The stops; each gets a position of one lot.
        instrument_count: How many instruments.
        atr_source: "last" or "mid".
    """

    def __init__(self, ticks: np.ndarray, terms: Sequence[StopTerms], instrument_count: int, atr_source: str = "last") -> None:
        self.ticks, self.terms = ticks, {one.stop_id: one for one in terms}
        slots = 1 << max(4, (2 * len(terms)).bit_length())
        series = instrument_count + len({(t.instrument, t.atr_period, t.bar_ns) for t in terms}) + 1
        self.sizes = topology.Sizes(
            instrument_count, 1, TICK_SLOTS, 16, EVENT_SLOTS, 16, EVENT_SLOTS, slots, slots, 16, series, max(len(terms), 1)
        )
        ones = np.ones(instrument_count, np.int64)
        source = WATCH_NAMES.index(atr_source)
        self.limits = Limits(ones, ones, atr_period=PERIOD, bar_ns=BAR_NS, atr_source=source, review_ns=0)
        self.segment = segment.open_owned(f"test-engine-{os.getpid()}", topology.regions(self.sizes, 64), fresh=True)
        topology.set_up(self.segment, self.sizes, {})
        segment.finish(self.segment)
        self.segment.unlink()
        self.producer = ring.open_producer(self.segment, ring.open_ring(self.segment, "ticks", TICK))
        pairs = (("orders", ORDER, "execution"), ("orders", ORDER, "sidecar"), ("events", EVENT, "sidecar"))
        self._others = [self._reader(*pair) for pair in (("ticks", TICK, "execution"), *pairs)]
        self.scratch = np.zeros(SCRATCH_WORDS, np.int64)
        self.stop_ids: dict[int, int] = {}
        self.events: list[np.ndarray] = []
        self.risk: RiskState
        self.reopen()
        self._place_all()

    def _reader(self, name: str, dtype: np.dtype, worker: str) -> ring.Reader:
        return ring.open_reader(ring.open_ring(self.segment, name, dtype), topology.reader_index(name, worker, 1))

    def reopen(self) -> None:
        """Open risk as a fresh process would: from shared memory alone."""
        self.risk = open_risk(self.segment, self.sizes, self.limits)

    def _place_all(self) -> None:
        for book, one in enumerate(sorted(self.terms.values(), key=lambda one: one.stop_id)):
            row = book * self.sizes.instruments + one.instrument
            self._hold(row, one, book)
            stop_id = int(place(self.risk, self._record(one, row), 0))
            self.stop_ids[stop_id] = one.stop_id
        restore(self.risk)

    def _hold(self, row: int, one: StopTerms, book: int) -> None:
        table = rows.open_table(self.segment, "positions", POSITION)
        position = table.copies[2 * row]
        position["quantity_lots"] = one.side
        position["cost_tick_lots"] = one.side * one.entry_ticks
        position["entry_ticks"], position["entry_ns"] = one.entry_ticks, one.entry_ns
        position["generation"], position["strategy"], position["instrument"] = 1, book, one.instrument

    def _record(self, one: StopTerms, row: int) -> np.ndarray:
        record = np.zeros(1, STOP_TERMS)
        given = one.given_level
        record["entry_ticks"], record["entry_ns"] = one.entry, one.entry_ns
        record["price_ticks"], record["offset_ticks"] = (0 if given is None else given), one.offset
        record["deadline_ns"] = one.holding_ns if one.kind == TIME else 0
        record["position"], record["instrument"] = row, one.instrument
        record["percent_ppm"] = one.first_ppm if one.kind in (ATR, CHANDELIER) else one.percent_ppm
        record["activation_ppm"], record["breakeven_ppm"] = one.activation_ppm, one.breakeven_ppm
        record["atr_ppm"], record["kind"], record["watch"] = one.atr_ppm, one.kind, one.watch
        if one.kind in (ATR, CHANDELIER):
            record["series"] = self._series(one)
        return record

    def _series(self, one: StopTerms) -> int:
        atr, shape = self.risk.book.atr, (one.atr_period, one.bar_ns)
        series = int(find_series(atr, one.instrument, shape))
        if series == NO_SERIES:
            series = self.sizes.instruments + int(self.risk.words[topology.RISK_SERIES])
            self.risk.words[topology.RISK_SERIES] += 1
            begin(self.risk.transaction, atr, series, one.instrument, shape)
            commit(self.risk.transaction)
            link(atr, series, one.instrument)
        return series

    def run(self, rng: np.random.Generator | None = None, restart_share: float = 0.0) -> list[Trigger]:
        """Take all ticks.

        Args:
            rng: Decides how many ticks come and are taken at once; None: as many as fit.
            restart_share: How often risk is opened anew between two steps.
        Returns:
            What fired, in order.
        """
        fed = 0
        while fed < len(self.ticks) or self.risk.ticks.local[ring.AT] < fed:
            fed += self._feed(fed, TICK_SLOTS if rng is None else int(rng.integers(1, 9)))
            step(self.risk, 64 if rng is None else int(rng.integers(1, 9)), self.scratch)
            self._take_events()
            if rng is not None and rng.random() < restart_share:
                self.reopen()
        return self.triggers()

    def _feed(self, first: int, count: int) -> int:
        count = min(count, len(self.ticks) - first, int(ring.room(self.producer)))
        if count > 0:
            seq = int(ring.claim(self.producer, count))
            self.producer.ring.slots[(seq + np.arange(count)) & (TICK_SLOTS - 1)] = self.ticks[first : first + count]
            ring.publish(self.producer)
        return count

    def _take_events(self) -> None:
        events = self._others[-1]
        end, first = int(events.ring.words[ring.PUBLISHED]), int(events.local[ring.AT])
        if end > first:
            self.events.append(events.ring.slots[np.arange(first, end) & (EVENT_SLOTS - 1)])
        for reader in self._others:
            ring.advance(reader, int(reader.ring.words[ring.PUBLISHED]))

    def triggers(self) -> list[Trigger]:
        """Return what fired so far, in order, by the ids of the twins."""
        return [self._trigger(event) for batch in self.events for event in batch if event["kind"] == STOP_TRIGGERED]

    def _trigger(self, event: np.void) -> Trigger:
        stop_id = self.stop_ids[int(event["stop_id"])]
        level = None if self.terms[stop_id].kind == TIME else int(event["level_ticks"])
        price = int(event["price_ticks"]) or None
        return Trigger(stop_id, int(event["tick_seq"]), int(event["event_ns"]), price, level)
