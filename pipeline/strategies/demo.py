"""The demo strategy: it opens a position in every symbol and keeps reversing them, so that a run shows stops at work.

    python -m pipeline.strategies.demo INSTANCE SLOT INCARNATION

Entries are staggered over the instruments. Each position is held for `hold_seconds` of stream time, then reversed by an order
of twice its size; in a replay it is held until a stop takes it out, since real prices take their time. After a stop the demo
stays out for `pause_seconds`, and enters again on the other side. It waits for the first price of a symbol, and what risk
refuses it asks again later, less often each time.

Holds and pauses are stream time, so they fit the feed at every speed. But it looks once a millisecond of our time, which costs
little and is many ticks of a fast feed: at which tick it acts differs from run to run, and so do its orders.
"""

import gc
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import numpy as np

from pipeline.child import die_with_supervisor
from pipeline.client import Client, Fenced, RequestsFull
from pipeline.errors import UserError
from pipeline.instruments import Instruments
from pipeline.log import log, log_to_stderr
from pipeline.messages import BUY, FILLED, QUANTITY_LOTS_LIMIT, REJECTED, REQUEST_REFUSED, SELL, STOP_TRIGGERED
from pipeline.seat import Termination, take_seat
from shm.errors import SharedMemoryError
from shm.heartbeat import Command, State

#: Sleep between two looks, in seconds.
LOOK_S = 0.001
#: A hold is divided by these: the wait for orders under way, the first wait after a refusal.
WORKING_SHARE, REFUSED_SHARE = 16, 4
#: The wait after refusals in a row doubles this often at most.
DOUBLINGS_MAX = 6

#: How the process ends; as pipeline.worker's.
EXIT_OK, EXIT_USER_ERROR, EXIT_FENCED = 0, 2, 3


@dataclass(frozen=True)
class Settings:
    """What [strategies.demo] says, in the pipeline's units."""

    hold_ns: int  #: stream time
    quantity_lots: int
    symbols: tuple[str, ...] = ()  #: empty = all
    pause_ns: int = 30_000_000_000  #: stream time to stay out after a stop
    reverses: bool = True  #: False: hold until a stop

    @classmethod
    def of(cls, section: Mapping[str, Any], reverses: bool = True) -> "Settings":
        """Return the settings from the section as the instance file has it: plain JSON values, validated at the launch."""
        hold_ns = int(Decimal(str(section["hold_seconds"])) * 1_000_000_000)
        pause_ns = int(Decimal(str(section["pause_seconds"])) * 1_000_000_000)
        return cls(hold_ns, int(section["quantity"]), tuple(section["symbols"]), pause_ns, reverses)

    def indices(self, instruments: Instruments) -> list[int]:
        """Return which instruments to trade; symbols that this feed does not have are left out.

        Raises:
            UserError: It has none of them.
        """
        if not self.symbols:
            return list(range(len(instruments)))
        found = [instruments.index(symbol) for symbol in self.symbols if symbol in instruments]
        if not found:
            what = f"this feed has none of {', '.join(self.symbols)}"
            raise UserError(what, "strategies.demo.symbols", f"choose from {', '.join(instruments.symbols)}")
        return found


class Demo:
    """The strategy itself: `act` decides, from stream time and what is held now.

    Args:
        client: Whose slot it trades in.
        settings: How long, how much, in what.
    """

    def __init__(self, client: Client, settings: Settings) -> None:
        self.client = client
        self.settings = settings
        self.traded = settings.indices(client.instruments)
        count = len(client.instruments)
        self.due_ns = np.full(count, np.iinfo(np.int64).max)  #: stream time of the next look at an instrument
        # Half of them begin long and half short, so that a move of the whole market strikes some and spares others.
        self.next_side = np.where(np.arange(count) % 2 == 0, BUY, SELL)
        self.refusals = np.zeros(count, np.int64)  #: in a row
        self.is_started = False

    def act(self) -> int:
        """Look at what happened, and send what is due.

        Returns:
            How many orders were asked for.
        """
        now_ns = self.client.stream_ns
        self.client.skip_ticks()
        if now_ns == 0:
            return 0
        if not self.is_started:
            self._start(now_ns)
        self._hear(now_ns)
        due = np.flatnonzero(self.due_ns <= now_ns).tolist()
        if not due:
            return 0
        if self.client.requests_waiting:
            # Until risk has taken them, the positions do not show what they cause.
            return 0
        return sum(self._trade(index, now_ns) for index in due)

    def _start(self, now_ns: int) -> None:
        """Spread the first entries over one hold; a position that an earlier life left is taken up as it is."""
        for place, index in enumerate(self.traded):
            self.due_ns[index] = now_ns + self.settings.hold_ns * place // len(self.traded)
        held = self.client.position_rows()["quantity_lots"]
        self.next_side = np.where(held == 0, self.next_side, np.where(held > 0, SELL, BUY))
        self.is_started = True

    def _hear(self, now_ns: int) -> None:
        """Take in refusals and stops. What is missed here costs nothing but time: the next look sees the position."""
        for event in self.client.events():
            index = int(event["instrument"])
            if event["kind"] == REQUEST_REFUSED:
                self._put_off(index, now_ns)
            elif event["kind"] == STOP_TRIGGERED:
                self.next_side[index] = SELL if event["side"] > 0 else BUY
                self.due_ns[index] = now_ns + self.settings.pause_ns
        for report in self.client.reports():
            if report["stop_id"] == 0 and report["kind"] == REJECTED:
                self._put_off(int(report["instrument"]), now_ns)
            elif report["stop_id"] == 0 and report["kind"] == FILLED:
                self.refusals[report["instrument"]] = 0

    def _put_off(self, index: int, now_ns: int) -> None:
        """Ask again later, less often each time."""
        doublings = min(int(self.refusals[index]), DOUBLINGS_MAX)
        self.refusals[index] += 1
        self.due_ns[index] = now_ns + (self.settings.hold_ns // REFUSED_SHARE << doublings)

    def _trade(self, index: int, now_ns: int) -> int:
        """Enter or reverse one instrument that has a price and nothing under way; return how many orders that took."""
        row, mark = self.client.position_rows(index, 1)[0], self.client.mark_rows(index, 1)[0]
        has_price = mark["last_ticks"] or (mark["bid_ticks"] and mark["ask_ticks"])
        if not has_price or row["working_buy_lots"] or row["working_sell_lots"]:
            # Without a price risk would refuse it: not every symbol has its first tick yet.
            self.due_ns[index] = now_ns + self.settings.hold_ns // WORKING_SHARE
            return 0
        held = int(row["quantity_lots"])
        if held and not self.settings.reverses:
            self.due_ns[index] = now_ns + self.settings.hold_ns
            return 0
        if held:
            side, lots = (SELL if held > 0 else BUY), abs(held) + self.settings.quantity_lots
        else:
            side, lots = int(self.next_side[index]), self.settings.quantity_lots
        try:
            self.client.submit_lots(index, side, min(lots, QUANTITY_LOTS_LIMIT - 1))
        except RequestsFull:
            self.due_ns[index] = now_ns + self.settings.hold_ns // WORKING_SHARE
            return 0
        self.next_side[index] = -side
        self.due_ns[index] = now_ns + self.settings.hold_ns
        return 1


def live(client: Client, termination: Termination) -> int:
    """Be the demo until told to stop.

    Args:
        client: Attached, its heartbeat in state BOOT.
        termination: Set by SIGTERM.
    Returns:
        The exit code.
    """
    config = client.about["config"]
    demo = Demo(client, Settings.of(config["strategies"]["demo"], reverses=config["feed"]["kind"] == "simulator"))
    gc.collect()
    gc.freeze()
    client.announce(State.READY)
    state = State.READY
    while not termination.asked:
        if client.is_fenced:
            return EXIT_FENCED
        command = client.command
        if command == Command.STOP:
            break
        if command == Command.RUN:
            if state != State.RUNNING:
                state = State.RUNNING
                client.announce(state)
            demo.act()
        elif command == Command.DRAIN and state != State.DRAINED:
            # Nothing is asked for any more; orders at work and stops are others' business.
            state = State.DRAINED
            client.announce(state)
        else:
            client.beat()
        time.sleep(LOOK_S)
    return EXIT_OK


def main(arguments: list[str]) -> int:
    """Run the demo; the exit code says how it ended."""
    die_with_supervisor()
    termination = Termination()
    instance, slot, incarnation = arguments
    log_to_stderr(f"strategy{slot}")
    try:
        with Client(instance, int(slot), State.BOOT, int(incarnation)) as client:
            place = client.about.get("placement", {}).get(client.name)
            if place is not None:
                take_seat(client.name, place["core"])
            return live(client, termination)
    except Fenced:
        return EXIT_FENCED
    except (UserError, SharedMemoryError) as error:
        log.error("%s", error, exc_info=error)
        return EXIT_USER_ERROR


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
