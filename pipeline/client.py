"""What a strategy imports: a client of a running instance.

    with Client("default", strategy=1) as client:
        client.submit("AAPL", BUY, "100")
        while client.alive:
            ticks = client.ticks()
            ...

A strategy is a process of its own. It asks through its own requests ring, and sees ticks, reports and events as copies; it can
neither slow the instance nor harm it, and its stops stand whether it lives or not. One client may be used by several threads.
"""

import os
import threading
import time
from decimal import Decimal
from types import TracebackType
from typing import Any, Self

import numpy as np

from pipeline import topology
from pipeline.client_errors import ClientClosed, Fenced, RequestError, RequestsFull
from pipeline.client_kernels import Stream, open_words_table, read_rows, send_request, warm_up
from pipeline.client_slot import Attachment, InstanceGone, SlotTaken, claim_slot, gone
from pipeline.client_stops import StopCommands
from pipeline.client_tables import Position, Stop, position_of, stop_of
from pipeline.instruments import Instruments
from pipeline.messages import BUY, EVENT, MARKET, QUANTITY_LOTS_LIMIT, REPORT, REQUEST, SELL, SUBMIT, TICK, TICK_OK
from pipeline.order_ids import REQUEST_SEQ_BITS
from pipeline.stop_refusals import InvalidStop, LastStop, NoAnswer, NoPosition, NoStopFound, StopRefused, StopTableFull
from pipeline.stop_rows import StopRows
from pipeline.tables import MARK, POSITION
from shm import heartbeat
from shm.heartbeat import Command, State
from shm.layout import WORD
from shm.ring import CURSOR, FULL, PUBLISHED, STRIDE, load_acquire_py, open_producer, open_ring
from shm.segment import Segment

__all__ = [
    "Client", "ClientClosed", "Fenced", "InstanceGone", "InvalidStop", "LastStop", "NoAnswer", "NoPosition", "NoStopFound",
    "Position", "RequestError", "RequestsFull", "SlotTaken", "Stop", "StopRefused", "StopTableFull", "order_id_of", "warm_up",
]  # fmt: skip

#: Risk is the one reader of a requests ring.
RISK_READER = 0
#: How often the calls look whether the instance still runs: a look costs system calls.
LOOK_NS = 10_000_000
BATCH_MAX = 4096


def order_id_of(slot: int, seq: int) -> int:
    """Return the order id of the request with sequence `seq` in the ring of strategy `slot`."""
    return ((slot + 1) << REQUEST_SEQ_BITS) | seq


class Client(StopCommands):
    """A strategy's connection to an instance.

    Args:
        instance: Name of a running instance.
        strategy: Slot to take; None for the first that is free.
        state: What the slot's heartbeat says from now on.
        incarnation: Which start of this strategy we are, where the supervisor started it.
    Raises:
        Fenced: The supervisor has given the slot to a later start.
        InstanceGone: No instance of this name runs.
        SlotTaken: The slot, or every slot, is held by a live process, which is named.
        InstanceError: No such slot; or the instance is another user's or of other code.

    Every method raises ClientClosed after close(), and InstanceGone within 10 ms of the end of the instance.
    """

    def __init__(
        self,
        instance: str = "default",
        strategy: int | None = None,
        state: State = State.RUNNING,
        incarnation: int | None = None,
    ) -> None:
        self._attachment = Attachment(instance)
        try:
            self._open(strategy, incarnation)
            self.announce(state)
        except BaseException:
            self._attachment.close()
            raise

    def _open(self, strategy: int | None, incarnation: int | None) -> None:
        segment = self._attachment.segment
        self.about: dict[str, Any] = topology.read_about(segment)
        sizes = topology.Sizes(**self.about["sizes"])
        self.instruments = Instruments.from_json(self.about["instruments"])
        planned = frozenset(self.about.get("strategies", ()))
        self.slot = claim_slot(self._attachment, strategy, sizes.strategies, planned)
        self.name = f"strategy{self.slot}"
        self._words = segment.array(f"{self.name}.heartbeat")
        self.incarnation = load_acquire_py(self._words, heartbeat.INCARNATION)
        if incarnation is not None and incarnation != self.incarnation:
            raise Fenced(f"{self.name} has been given to incarnation {self.incarnation}, this is {incarnation}")
        self._words[heartbeat.STATE] = State.BOOT
        self._words[heartbeat.PID] = os.getpid()
        self._words[heartbeat.START] = heartbeat.process_start(os.getpid())
        self._cpu_ns_before = int(self._words[heartbeat.CPU_NS]) - time.process_time_ns()
        warm_up()
        self._lock = threading.Lock()
        self._pen = open_producer(segment, open_ring(segment, f"requests.{self.name}", REQUEST))
        ends = {name: topology.reader_index(name, self.name, sizes.strategies) for name in ("ticks", "reports", "events")}
        self._ticks = Stream(segment, "ticks", TICK, ends["ticks"])
        self._reports = Stream(segment, "reports", REPORT, ends["reports"])
        self._events = Stream(segment, "events", EVENT, ends["events"])
        self._positions = open_words_table(segment, "positions", POSITION)
        self._stops = StopRows(segment)
        self._marks = segment.array("marks", MARK)
        self._risk_words = segment.array("risk.state")
        self._looked_ns = 0

    # ── The instance ─────────────────────────────────────────────────────────────────────────────────────────────────

    @property
    def alive(self) -> bool:
        """Whether the instance this client attached to still runs, and the client is not closed."""
        alive = self._attachment.alive
        # What was just seen to be dead is looked at again by the next call, not taken for alive for a while.
        self._looked_ns = time.monotonic_ns() if alive else 0
        return alive

    @property
    def epoch(self) -> int:
        """UTC ns at which the instance was made."""
        return self._attachment.segment.epoch

    @property
    def stream_ns(self) -> int:
        """Stream time as risk has reached it: UTC ns of the venue's clock; 0 before the first tick."""
        self._look()
        return load_acquire_py(self._risk_words, topology.RISK_NOW_NS)

    @property
    def command(self) -> Command:
        """What the supervisor asks of this slot; WAIT where it never started it."""
        return Command(load_acquire_py(self._words, heartbeat.COMMAND))

    @property
    def is_fenced(self) -> bool:
        """Whether the supervisor has given this slot to a later process."""
        return load_acquire_py(self._words, heartbeat.INCARNATION) != self.incarnation

    def announce(self, state: State) -> None:
        """Tell the state of this strategy in its heartbeat."""
        self._words[heartbeat.STATE] = state
        self._beat(time.monotonic_ns())

    def beat(self) -> None:
        """Show that this strategy lives; every other call does so too.

        Raises:
            InstanceGone: The instance has ended.
        """
        self._look()

    def _beat(self, now_ns: int) -> None:
        self._words[heartbeat.PROGRESS] += 1
        self._words[heartbeat.BEAT_NS] = now_ns
        self._words[heartbeat.CPU_NS] = self._cpu_ns_before + time.process_time_ns()

    def _look(self) -> None:
        """See that the instance is there, and beat; at most every 10 ms."""
        if not self._attachment.is_open:
            raise ClientClosed(f"this client of instance '{self._attachment.name}' is closed: make a new one")
        now_ns = time.monotonic_ns()
        if now_ns - self._looked_ns >= LOOK_NS:
            if not self.alive:
                raise gone(self._attachment.name)
            self._beat(now_ns)

    # ── Orders ───────────────────────────────────────────────────────────────────────────────────────────────────────

    def submit(self, symbol: str, side: int, quantity: Decimal | str | int) -> int:
        """Ask for a market order, and return at once; what became of it comes in reports, and in events where it is refused.

        Args:
            symbol: An instrument of the instance.
            side: BUY or SELL.
            quantity: Units (shares, coins, contracts), a whole multiple of the lot size, > 0.
        Returns:
            The order id, as reports and events carry it.
        Raises:
            RequestsFull: Risk has not taken the last ones yet; nothing was sent.
            RequestError, InstrumentError: Side, quantity or symbol cannot be meant; nothing was sent.
        """
        index = self.instruments.index(symbol)
        exact = Decimal(quantity) if isinstance(quantity, int) else quantity
        return self.submit_lots(index, side, self.instruments.lots(index, exact))

    def submit_lots(self, instrument: int, side: int, quantity_lots: int) -> int:
        """Ask for a market order in the pipeline's own integers; see `submit`.

        Args:
            instrument: Index in `instruments`.
            side: BUY or SELL.
            quantity_lots: Lots, 0 < quantity_lots < 2**40.
        """
        if not 0 <= instrument < len(self.instruments):
            known = f"0 to {len(self.instruments) - 1}"
            raise RequestError(f"there is no instrument {instrument!r}", "submit", f"use an index of {known}")
        where = f"submit {self.instruments[instrument].symbol}"
        if side not in (BUY, SELL):
            raise RequestError(f"side {side!r} is no side", where, f"use BUY ({BUY}) or SELL ({SELL})")
        if not 0 < quantity_lots < QUANTITY_LOTS_LIMIT:
            raise RequestError(f"quantity of {quantity_lots} lots", where, "give a quantity above 0 and below 2**40 lots")
        self._look()
        request = np.zeros(1, REQUEST)
        request["instrument"], request["strategy"], request["kind"] = instrument, self.slot, SUBMIT
        request["order_type"], request["side"], request["quantity_lots"] = MARKET, side, quantity_lots
        return order_id_of(self.slot, self._send(request) - 1)

    def _send(self, request: np.ndarray) -> int:
        """Write a prepared request; return its request_id, its sequence plus one."""
        with self._lock:
            seq = int(send_request(self._pen, request.view(np.int64)))
        if seq == FULL:
            raise RequestsFull(len(self._pen.ring.slots))
        return seq + 1

    @property
    def requests_waiting(self) -> int:
        """How many requests risk has not taken yet. At 0 the positions show all that was asked for so far as working."""
        words = self._pen.ring.words
        return load_acquire_py(words, PUBLISHED) - load_acquire_py(words, CURSOR + STRIDE * RISK_READER)

    # ── What happens ─────────────────────────────────────────────────────────────────────────────────────────────────

    def ticks(self, limit: int = BATCH_MAX, with_rejected: bool = False) -> np.ndarray:
        """Return the ticks of all instruments since the last call, oldest first.

        Args:
            limit: Most ticks to take from the ring.
            with_rejected: Also those that hygiene rejected, TICK "flags" not 0; they are no prices.
        Returns:
            Array of TICK, a copy. Where this strategy is too slow, ticks are lost to it alone: see `ticks_missed`.
        """
        self._look()
        with self._lock:
            ticks = self._ticks.read(limit)
        return ticks if with_rejected else ticks[ticks["flags"] == TICK_OK]

    def skip_ticks(self) -> None:
        """Let go of the ticks that were not read: what a strategy calls that looks at marks and positions only.

        At full speed a recording waits for the strategies that the instance started itself; this lets it go on.
        """
        self._look()
        with self._lock:
            self._ticks.skip()

    @property
    def ticks_missed(self) -> int:
        """How many ticks were overwritten before this client read them."""
        return self._ticks.missed

    def reports(self, limit: int = BATCH_MAX, everyone: bool = False) -> np.ndarray:
        """Return the venue's words on this strategy's orders and exits since the last call: array of REPORT, oldest first.

        Args:
            limit: Most reports to return.
            everyone: Those of all strategies.
        """
        return self._own(self._reports, limit, everyone)

    @property
    def reports_missed(self) -> int:
        """How many reports, of all strategies, were overwritten before this client read them. Positions stay exact."""
        return self._reports.missed

    def events(self, limit: int = BATCH_MAX, everyone: bool = False) -> np.ndarray:
        """Return what risk did for this strategy since the last call: stops armed, fired, ended; requests refused.

        Args:
            limit: Most events to return.
            everyone: Those of all strategies.
        Returns:
            Array of EVENT, oldest first, a copy.
        """
        return self._own(self._events, limit, everyone)

    @property
    def events_missed(self) -> int:
        """How many events, of all strategies, were overwritten before this client read them."""
        return self._events.missed

    def _own(self, stream: Stream, limit: int, everyone: bool) -> np.ndarray:
        """Read until `limit` records of ours are found, or all that was there at the call is read."""
        self._look()
        with self._lock:
            left, found, batches = stream.waiting, 0, []
            if left == 0:
                return stream.read(0)
            while True:
                batch = stream.read(min(left, limit - found))
                left -= len(batch)
                ours = batch if everyone else batch[batch["strategy"] == self.slot]
                found += len(ours)
                batches.append(ours)
                if len(batch) == 0 or left <= 0 or found >= limit:
                    return np.concatenate(batches)

    # ── What is held ─────────────────────────────────────────────────────────────────────────────────────────────────

    def position(self, symbol: str) -> Position:
        """Return this strategy's position in one instrument, flat or not.

        Raises:
            InstrumentError: There is no such instrument.
        """
        index = self.instruments.index(symbol)
        return position_of(self.instruments, index, self.position_rows(index, 1)[0], self._marks[index].copy())

    def positions(self) -> dict[str, Position]:
        """Return by symbol what is held or has orders at work."""
        rows = self.position_rows()
        busy = (rows["quantity_lots"] != 0) | (rows["working_buy_lots"] != 0) | (rows["working_sell_lots"] != 0)
        found = (position_of(self.instruments, k, rows[k], self._marks[k].copy()) for k in np.flatnonzero(busy).tolist())
        return {position.symbol: position for position in found}

    def position_rows(self, first: int = 0, count: int | None = None) -> np.ndarray:
        """Return this strategy's rows of the positions table for `count` instruments from `first` on: array of POSITION."""
        self._look()
        rows = np.empty(len(self.instruments) - first if count is None else count, POSITION)
        words = rows.view(np.int64).reshape(len(rows), POSITION.itemsize // WORD)
        read_rows(self._positions, self.slot * len(self.instruments) + first, words)
        return rows

    def mark_rows(self, first: int = 0, count: int | None = None) -> np.ndarray:
        """Return the last prices of `count` instruments from `first` on: array of MARK, a copy; a price of 0 is not known."""
        self._look()
        return self._marks[first : None if count is None else first + count].copy()

    def stops(self) -> list[Stop]:
        """Return this strategy's stops that are armed or fired, each with its present level, in order of their ids."""
        self._look()
        rows = self._stops.read()
        return [stop_of(self.instruments, row) for row in rows[rows["position"] // len(self.instruments) == self.slot]]

    # ── The end ──────────────────────────────────────────────────────────────────────────────────────────────────────

    def _mapped(self) -> Segment:
        return self._attachment.segment

    def close(self) -> None:
        """Give the slot back. Orders at work go on, and so do the stops."""
        if self._attachment.is_open:
            if not self.is_fenced:
                self.announce(State.STOPPED)
            self._attachment.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()
