"""What a strategy imports: a client of a running instance.

    with Client("default", strategy=1) as client:
        client.submit("AAPL", BUY, "100", price="189.50")
        while client.alive:
            ticks = client.ticks()
            ...

A strategy is a process of its own. It asks through its own requests ring, and sees ticks, reports and events as copies; it can
neither slow the instance nor harm it, and its stops stand whether it lives or not. Where the instance is started anew, the next
call attaches to it by itself. One client may be used by several threads.
"""

import os
import threading
import time
from types import TracebackType
from typing import Any, Self

import numpy as np

from pipeline import topology
from pipeline.client_account import Account, AccountView, LimitInForce, Performance
from pipeline.client_errors import ClientClosed, Fenced, RequestError, RequestsFull
from pipeline.client_kernels import Stream, open_words_table, read_rows, send_request, warm_up
from pipeline.client_orders import OrderCommands, order_id_of
from pipeline.client_slot import Attachment, InstanceGone, SlotTaken, claim_slot, gone
from pipeline.client_stops import StopCommands
from pipeline.client_streams import StreamReads
from pipeline.client_tables import Order, Position, Stop, position_of, stop_of
from pipeline.control_client import ControlClient
from pipeline.errors import InstanceError, RiskCheckError
from pipeline.instruments import Instruments
from pipeline.log import log
from pipeline.messages import EVENT, REPORT, REQUEST, TICK
from pipeline.money import Money
from pipeline.scopes import Scopes
from pipeline.stop_refusals import InvalidStop, LastStop, NoAnswer, NoPosition, NoStopFound, StopRefused, StopTableFull
from pipeline.stop_rows import StopRows
from pipeline.strategy_kernel import Desk, open_desk
from pipeline.tables import MARK, POSITION, SENT_ORDER
from shm import heartbeat
from shm.heartbeat import Command, State
from shm.layout import WORD
from shm.ring import CURSOR, FULL, PUBLISHED, STRIDE, load_acquire_py, open_producer, open_ring
from shm.segment import Segment

__all__ = [
    "Account", "Client", "ClientClosed", "Fenced", "InstanceGone", "InvalidStop", "LastStop", "LimitInForce", "NoAnswer",
    "NoPosition", "NoStopFound", "Order", "Performance", "Position", "RequestError", "RequestsFull", "RiskCheckError",
    "SlotTaken", "Stop", "StopRefused", "StopTableFull", "order_id_of", "warm_up",
]  # fmt: skip

#: Risk is the one reader of a requests ring.
RISK_READER = 0
#: How often the calls look whether the instance still runs: a look costs system calls.
LOOK_NS = 10_000_000
#: How long the supervisor may take to note down why a strategy killed the account, in seconds.
NOTE_S = 0.5


class Client(StopCommands, OrderCommands, StreamReads):
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

    Every method raises ClientClosed after close(). Where the instance has ended, it raises InstanceGone within 10 ms; where one
    of the same name was started since, it attaches to that first, on the same slot where that is free, and counts `restarts`.
    What was asked of the one before is then lost, and positions, stops and ids are those of the new one. A process that the
    supervisor started ends with it, and attaches to no other.

    Attributes:
        slot: The strategy's number in the instance.
        name: The same as people see it: "strategy1".
        instruments: The instance's table of instruments.
        money: In which units the account counts.
        about: What the instance says of itself.
        restarts: How often this client has attached again.
    """

    def __init__(
        self,
        instance: str = "default",
        strategy: int | None = None,
        state: State = State.RUNNING,
        incarnation: int | None = None,
    ) -> None:
        self.restarts = 0
        self._wanted, self._child_of = strategy, incarnation
        # Before a call looks at what another thread replaces.
        self._lock = threading.Lock()
        self._attachment = Attachment(instance)
        try:
            self._open(self._attachment, strategy)
            self.announce(state)
        except BaseException:
            self._attachment.close()
            raise

    def _open(self, attachment: Attachment, strategy: int | None) -> None:
        """Take a slot of an instance, and open what this client reads and writes there."""
        segment = attachment.segment
        about: dict[str, Any] = topology.read_about(segment)
        sizes = topology.Sizes(**about["sizes"])
        self.slot = claim_slot(attachment, strategy, sizes.strategies, frozenset(about.get("strategies", ())))
        self.name, self.about = f"strategy{self.slot}", about
        self.instruments = Instruments.from_json(about["instruments"])
        self.scopes = Scopes(sizes, self.instruments)
        self.money = Money.from_json(about["account"])
        self._words = segment.array(f"{self.name}.heartbeat")
        self.incarnation = load_acquire_py(self._words, heartbeat.INCARNATION)
        if self._child_of is not None and self._child_of != self.incarnation:
            raise Fenced(f"{self.name} has been given to incarnation {self.incarnation}, this is {self._child_of}")
        self._words[heartbeat.PID] = os.getpid()
        self._words[heartbeat.START] = heartbeat.process_start(os.getpid())
        # Last: with it we say that the words before are ours.
        self._words[heartbeat.STATE] = State.BOOT
        self._cpu_ns_before = int(self._words[heartbeat.CPU_NS]) - time.process_time_ns()
        warm_up()
        self._pen = open_producer(segment, open_ring(segment, f"requests.{self.name}", REQUEST))
        ends = {name: topology.reader_index(name, self.name, sizes.strategies) for name in ("ticks", "reports", "events")}
        self._ticks = Stream(segment, "ticks", TICK, ends["ticks"])
        self._reports = Stream(segment, "reports", REPORT, ends["reports"])
        self._events = Stream(segment, "events", EVENT, ends["events"])
        self._positions = open_words_table(segment, "positions", POSITION)
        self._sent = open_words_table(segment, "sent", SENT_ORDER)
        self._stops = StopRows(segment)
        self._marks = segment.array("marks", MARK)
        self._risk_words = segment.array("risk.state")
        self._account_view = AccountView(segment, self.scopes, self.money)
        self._event_view = None
        self._desk: Desk | None = None
        self._looked_ns = 0

    # ── The instance ─────────────────────────────────────────────────────────────────────────────────────────────────

    @property
    def alive(self) -> bool:
        """Whether this client is attached to a running instance now, after a restart perhaps to a new one."""
        # What was just seen to be dead is looked at again, not taken for alive for a while.
        self._looked_ns = 0
        try:
            self._look()
        except (ClientClosed, InstanceError):
            return False
        return True

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
        self._state = state
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
        """See that the instance is there, attach again where it was started anew, and beat; at most every 10 ms."""
        if not self._attachment.is_open:
            raise ClientClosed(f"this client of instance '{self._attachment.name}' is closed: make a new one")
        now_ns = time.monotonic_ns()
        if now_ns - self._looked_ns >= LOOK_NS:
            if not self._attachment.alive:
                self._attach_again()
            self._looked_ns = now_ns
            self._beat(now_ns)

    def _still_there(self) -> None:
        if not self._attachment.alive:
            # At the next call it is looked for again.
            self._looked_ns = 0
            raise gone(self._attachment.name)
        self._look()

    def _attach_again(self) -> None:
        """Attach to the instance of this name that runs now.

        Raises:
            InstanceGone: None does.
            InstanceError: It has other instruments: numbers that this strategy keeps would mean others.
            SlotTaken: Another process has the slot.
        """
        if self._child_of is not None:
            raise gone(self._attachment.name)
        with self._lock:
            before = self._attachment
            if before.alive:
                return
            try:
                after = Attachment(before.name)
            except InstanceGone:
                raise gone(before.name) from None
            try:
                if topology.read_about(after.segment)["instruments"] != self.about["instruments"]:
                    what = f"instance '{before.name}' was started anew with other instruments"
                    raise InstanceError(what, str(after.segment.path), "make a new Client")
                try:
                    self._open(after, self.slot)
                except SlotTaken:
                    if self._wanted is not None:
                        raise
                    self._open(after, None)
            except BaseException:
                after.close()
                raise
            self._attachment = after
            before.close()
            self.restarts += 1
            self.announce(self._state)

    # ── Orders ───────────────────────────────────────────────────────────────────────────────────────────────────────

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

    def _record(self, text: str) -> None:
        log.warning("%s", text)
        try:
            with ControlClient(self._attachment.name, timeout_s=NOTE_S) as control:
                control.ask("note", text=text, strategy=self.slot)
        except InstanceError as error:
            log.warning("the supervisor has not noted it down: %s", error)

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

    # ── The account ──────────────────────────────────────────────────────────────────────────────────────────────────

    def account(self) -> Account:
        """Return the account of this moment: equity, P&L, exposure, what may still be bought, its trading state."""
        self._look()
        return self._account_view.account()

    def performance(self) -> Performance:
        """Return this strategy's share of the account: its P&L and exposure, and its own trading state."""
        self._look()
        return self._account_view.performance(self.slot)

    def limits(self, symbol: str | None = None) -> list[LimitInForce]:
        """Return the limits that hold for this strategy: the account's, its own, and one instrument's.

        Args:
            symbol: The instrument; None = without any.
        """
        self._look()
        return self._account_view.limits(self.slot, symbol)

    # ── From inside the strategy's own kernels ───────────────────────────────────────────────────────────────────────

    def desk(self) -> Desk:
        """Return what a strategy's own @njit function takes to trade (pipeline.strategy_kernel).

        Call it again each time that the function has come back to Python: after a restart it is another one. A desk shares its
        places in the streams with this client, and is for the thread that made it.
        """
        self._look()
        if self._desk is None:
            self._desk = open_desk(
                self._pen, (self._ticks, self._reports, self._events), self._positions, self._marks, self.slot
            )
        return self._desk

    # ── The end ──────────────────────────────────────────────────────────────────────────────────────────────────────

    def _mapped(self) -> Segment:
        return self._attachment.segment

    def close(self) -> None:
        """Give the slot back with a word: orders at work go on, as the stops do. To take them back, `cancel_all` first."""
        if self._attachment.is_open:
            if not self.is_fenced:
                # First the word: who finds the slot free without one takes us for dead.
                self._words[heartbeat.LEFT] += 1
                self.announce(State.STOPPED)
            self._attachment.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()
