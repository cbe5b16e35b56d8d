"""Positions, orders and stops as a strategy sees them: exact decimals for people, integers for code, never changed later."""

from dataclasses import dataclass
from decimal import Decimal

import numpy as np

from pipeline.instruments import EXACT, Instruments
from pipeline.messages import EXIT, LIMIT, STOP_KIND_NAMES, STOP_STATE_NAMES, TIME, WATCH_NAMES
from pipeline.order_ids import ATTEMPT_BITS, EXIT_ID_BIT
from pipeline.tables import TAKEN_BACK

PPM = 1_000_000


@dataclass(frozen=True)
class Position:
    """One strategy's position in one instrument, as risk holds it.

    Attributes:
        symbol: The instrument.
        quantity: Units, > 0 long, < 0 short.
        average_price: What the open quantity cost per unit, None where it is flat; rounded to 28 digits.
        realised: Profit of closed quantity since the instance was made, in the instrument's currency.
        unrealised: Profit at the touch that would close it now; None where no price is known.
        working_buy, working_sell: Units ordered and neither filled nor ended.
        instrument, *_lots, *_ticks, *_tick_lots: The same in the pipeline's integers.
        entry_ticks: Price of the fill that opened it, the stops' reference.
        exit_lots: Of what works, ordered by stops.
        generation: Grows each time the position opens or flips.
    """

    symbol: str
    quantity: Decimal
    average_price: Decimal | None
    realised: Decimal
    unrealised: Decimal | None
    working_buy: Decimal
    working_sell: Decimal
    instrument: int
    quantity_lots: int
    cost_tick_lots: int
    realised_tick_lots: int
    unrealised_tick_lots: int | None
    working_buy_lots: int
    working_sell_lots: int
    exit_lots: int
    entry_ticks: int
    entry_ns: int
    generation: int

    @property
    def is_flat(self) -> bool:
        """Whether nothing is held."""
        return self.quantity_lots == 0

    @property
    def is_working(self) -> bool:
        """Whether an order of this strategy or of its stops is under way."""
        return self.working_buy_lots != 0 or self.working_sell_lots != 0


@dataclass(frozen=True)
class Order:
    """One order that is at work: it left, and has neither filled nor ended.

    Attributes:
        order_id: As reports and events carry it.
        symbol: The instrument.
        side: BUY or SELL.
        quantity: Units that are left to fill.
        price: The limit; None = a market order.
        is_exit: Whether a stop sent it.
        is_taken_back: Whether its cancel is on the way.
        sent_ns: Stream time at which it left.
        request_id: The request that asked for it; 0 = an exit.
        stop_id: The stop that sent it; 0 = none.
        strategy: The slot whose position it changes.
        instrument, *_lots, *_ticks: The same in the pipeline's integers.
    """

    order_id: int
    symbol: str
    side: int
    quantity: Decimal
    price: Decimal | None
    is_exit: bool
    is_taken_back: bool
    sent_ns: int
    request_id: int
    stop_id: int
    strategy: int
    instrument: int
    left_lots: int
    price_ticks: int


@dataclass(frozen=True)
class Stop:
    """One stop of this strategy.

    Attributes:
        stop_id: Its number, never used again.
        symbol: The instrument it guards.
        kind: "static", "trailing", "atr", "chandelier", "time" or "take_profit".
        watch: "bid_ask", "last" or "mid".
        state: "armed", or "triggered": its exit is on the way or owed.
        side: LONG or SHORT, of the position.
        level: Price at which it fires, or fired; a take-profit's target; None where only time fires it.
        entry_price: Its reference.
        percent: Distance, percent; 0 = it has another.
        best_price: Best price since armed; None = it waits for its entry time.
        is_provisional: An ATR stop that has no ATR yet, and lies at its percentage.
        is_owed: It fired, and no exit of it works at this moment.
        order_id: Its last exit; 0 = none.
        deadline_ns: TIME: stream time at which it fires; else 0.
        *_ticks: The same in units of the watch: half ticks where it follows the mid.
    """

    stop_id: int
    symbol: str
    kind: str
    watch: str
    state: str
    side: int
    level: Decimal | None
    entry_price: Decimal
    percent: Decimal
    best_price: Decimal | None
    is_provisional: bool
    is_owed: bool
    order_id: int
    deadline_ns: int
    instrument: int
    level_ticks: int
    entry_ticks: int
    best_ticks: int
    generation: int


def position_of(instruments: Instruments, index: int, row: np.ndarray, mark: np.ndarray) -> Position:
    """Return a position from its row and its instrument's mark."""
    item = instruments[index]
    lots, cost = int(row["quantity_lots"]), int(row["cost_tick_lots"])
    touch_ticks = int(mark["bid_ticks"] if lots > 0 else mark["ask_ticks"])
    gain = None if lots and not touch_ticks else lots * touch_ticks - cost
    return Position(
        symbol=item.symbol,
        quantity=EXACT.multiply(item.lot_size, lots),
        average_price=Decimal(cost) / Decimal(lots) * item.tick_size if lots else None,
        realised=instruments.money(index, int(row["realised_tick_lots"])),
        unrealised=None if gain is None else instruments.money(index, gain),
        working_buy=EXACT.multiply(item.lot_size, int(row["working_buy_lots"])),
        working_sell=EXACT.multiply(item.lot_size, int(row["working_sell_lots"])),
        instrument=index,
        quantity_lots=lots,
        cost_tick_lots=cost,
        realised_tick_lots=int(row["realised_tick_lots"]),
        unrealised_tick_lots=gain,
        working_buy_lots=int(row["working_buy_lots"]),
        working_sell_lots=int(row["working_sell_lots"]),
        exit_lots=int(row["exit_lots"]),
        entry_ticks=int(row["entry_ticks"]),
        entry_ns=int(row["entry_ns"]),
        generation=int(row["generation"]),
    )


def order_of(instruments: Instruments, row: np.void) -> Order:
    """Return an order from its SENT_ORDER."""
    strategy, index = divmod(int(row["position"]), len(instruments))
    item, lots, ticks = instruments[index], int(row["left_lots"]), int(row["price_ticks"])
    return Order(
        order_id=int(row["order_id"]),
        symbol=item.symbol,
        side=int(row["side"]),
        quantity=EXACT.multiply(item.lot_size, lots),
        price=Decimal(instruments.price_text(index, ticks)) if row["order_type"] == LIMIT else None,
        is_exit=bool(row["flags"] & EXIT),
        is_taken_back=bool(row["state"] == TAKEN_BACK),
        sent_ns=int(row["sent_ns"]),
        request_id=int(row["request_id"]),
        stop_id=int(row["stop_id"]),
        strategy=strategy,
        instrument=index,
        left_lots=lots,
        price_ticks=ticks,
    )


def stop_of(instruments: Instruments, row: np.ndarray) -> Stop:
    """Return a stop from its STOP_ROW."""
    index, watch = int(row["instrument"]), int(row["watch"])

    def price(ticks: int) -> Decimal:
        return Decimal(instruments.watched_text(index, ticks, watch))

    level, best = int(row["level_ticks"]), int(row["best_ticks"])
    return Stop(
        stop_id=int(row["stop_id"]),
        symbol=instruments[index].symbol,
        kind=STOP_KIND_NAMES[row["kind"]],
        watch=WATCH_NAMES[watch],
        state=STOP_STATE_NAMES[row["state"]],
        side=int(row["side"]),
        level=price(level) if level else None,
        entry_price=price(int(row["entry_ticks"])),
        percent=Decimal(int(row["percent_ppm"])) / (PPM // 100),
        best_price=price(best) if best else None,
        is_provisional=bool(row["is_provisional"]),
        is_owed=bool(row["owed"]),
        order_id=EXIT_ID_BIT | int(row["stop_id"]) << ATTEMPT_BITS | int(row["attempt"]) if row["attempt"] else 0,
        deadline_ns=int(row["deadline_ns"]) if row["kind"] == TIME else 0,
        instrument=index,
        level_ticks=level,
        entry_ticks=int(row["entry_ticks"]),
        best_ticks=best,
        generation=int(row["generation"]),
    )
