"""The account as people and programs see it: folded from the rows and the marks, so that it always adds up.

Every amount is a whole number of money units (pipeline.money). Risk keeps sums of its own to check orders against; this is the
same arithmetic from the committed rows (DESIGN section 6), for whoever looks from outside and may not disturb it.
"""

import math
from typing import NamedTuple

import numpy as np

from pipeline.instruments import Instruments
from pipeline.limit_values import limit_decimal
from pipeline.messages import (
    ACTIVE,
    BY_DAILY_LOSS,
    BY_DRAWDOWN,
    BY_LOSSES,
    BY_REJECTS,
    BY_TRADES,
    BY_WEEKLY_LOSS,
)
from pipeline.money import Money
from pipeline.table_rows import committed_rows
from pipeline.tables import (
    LIMITS,
    MARK,
    NOT_SET,
    POSITION,
    SCOPE_COOLDOWN_NS,
    SCOPE_DAY_PNL,
    SCOPE_FEES,
    SCOPE_PEAK,
    SCOPE_REALISED,
    SCOPE_REASON,
    SCOPE_RESTRICTED,
    SCOPE_SINCE_NS,
    SCOPE_STATE,
    SCOPE_WEEK_PNL,
    SCOPE_WORDS,
    UNLIMITED,
)
from pipeline.topology import ACCOUNT, Sizes
from shm.rows import open_table
from shm.segment import Segment

PPM = 1_000_000
#: The limit that the circuit breaker holds against what it finds, by the reason that it then gives.
BREAKER_LIMITS = {
    BY_DAILY_LOSS: "max_daily_loss", BY_WEEKLY_LOSS: "max_weekly_loss", BY_DRAWDOWN: "max_drawdown",
    BY_LOSSES: "max_consecutive_losses", BY_TRADES: "max_trades_per_day", BY_REJECTS: "max_reject_percent",
}  # fmt: skip


class Totals(NamedTuple):
    """What the positions of one scope come to, in money units."""

    realised: int = 0
    fees: int = 0
    unrealised: int = 0  #: if each were left at the touch
    gross: int = 0  #: exposure, working orders counted at their worst
    net: int = 0  #: the larger one of what is held if all that is bought, or all that is sold, fills
    open_count: int = 0  #: positions that are not flat

    @property
    def pnl(self) -> int:
        """P&L since the instance was made."""
        return self.realised - self.fees + self.unrealised


NOTHING = Totals()


class ScopeState(NamedTuple):
    """One scope at one moment; amounts in money units, times in ns of stream time."""

    name: str  #: "account", "strategy 0", "AAPL"
    totals: Totals
    limits: np.void  #: LIMITS
    state: int  #: ACTIVE, ...
    reason: int  #: BY_*
    since_ns: int
    cooldown_ns: int  #: when the breaker lets go by itself; 0 = never
    peak: int  #: highest P&L seen
    day_pnl: int  #: of this day
    week_pnl: int
    is_restricted: bool
    booked: tuple[int, int]  #: realised and fees as risk has summed them, fill by fill

    @property
    def is_booked_right(self) -> bool:
        """Whether risk's own sums are those of the rows; of an instance at rest they must be."""
        return self.booked == (self.totals.realised, self.totals.fees)

    @property
    def drawdown(self) -> int:
        """How far the P&L is below its peak."""
        return self.peak - self.totals.pnl


class AccountState(NamedTuple):
    """The account and all of its scopes at one moment."""

    money: Money
    scopes: tuple[ScopeState, ...]  #: all, in order of the limits table
    book_count: int

    @property
    def account(self) -> ScopeState:
        """The account itself."""
        return self.scopes[ACCOUNT]

    @property
    def strategies(self) -> tuple[ScopeState, ...]:
        """Those of the strategies' slots."""
        return self.scopes[1 : 1 + self.book_count]

    @property
    def instruments(self) -> tuple[ScopeState, ...]:
        """Those of the instruments."""
        return self.scopes[1 + self.book_count :]

    @property
    def equity(self) -> int:
        """The balance with all that was won and lost since."""
        return self.money.balance_units + self.account.totals.pnl

    @property
    def peak_equity(self) -> int:
        """The highest equity seen."""
        return self.money.balance_units + self.account.peak

    @property
    def buying_power(self) -> int | None:
        """How much more exposure the account's leverage allows; None = it is not limited."""
        leverage = int(self.account.limits["max_leverage"])
        if leverage == UNLIMITED:
            return None
        return max(0, max(0, leverage) * max(0, self.equity) // PPM - self.account.totals.gross)

    @property
    def strict(self) -> tuple[ScopeState, ...]:
        """The scopes that are not ACTIVE, the account first."""
        return tuple(scope for scope in self.scopes if scope.state != ACTIVE)


class AccountReader:
    """Reads the account of an instance, at any moment.

    Args:
        segment: The instance.
        sizes: What it was made with.
        instruments: Of it.
        money: Units of the account.
    """

    def __init__(self, segment: Segment, sizes: Sizes, instruments: Instruments, money: Money) -> None:
        self.money = money
        self.names = scope_names(sizes, instruments)
        self._sizes = sizes
        self._positions = open_table(segment, "positions", POSITION)
        self._limits = open_table(segment, "limits", LIMITS)
        self._words = segment.array("scopes").reshape(sizes.scope_count, SCOPE_WORDS)
        self._marks = segment.array("marks", MARK)

    def read(self) -> AccountState:
        """Return the account as it is now; rows may be of different moments, each of them is whole."""
        totals = fold(committed_rows(self._positions), self._marks.copy(), self.money)
        limits, words = committed_rows(self._limits), self._words.copy()
        scopes = [
            scope_state(name, totals.get(scope, NOTHING), limits[scope], words[scope].tolist())
            for scope, name in enumerate(self.names)
        ]
        return AccountState(self.money, tuple(scopes), self._sizes.book_count)


def scope_state(name: str, totals: Totals, limits: np.void, words: list[int]) -> ScopeState:
    """Return one scope from its totals, its LIMITS row and its words (tables.SCOPE_*)."""
    pnl = totals.pnl
    return ScopeState(
        name=name,
        totals=totals,
        limits=limits,
        state=words[SCOPE_STATE],
        reason=words[SCOPE_REASON],
        since_ns=words[SCOPE_SINCE_NS],
        cooldown_ns=words[SCOPE_COOLDOWN_NS],
        peak=max(words[SCOPE_PEAK], pnl),
        day_pnl=pnl - words[SCOPE_DAY_PNL],
        week_pnl=pnl - words[SCOPE_WEEK_PNL],
        is_restricted=words[SCOPE_RESTRICTED] != 0,
        booked=(words[SCOPE_REALISED], words[SCOPE_FEES]),
    )


def position_pnl(position: np.void, mark: np.void, money: Money) -> int:
    """Return what one position brought since the instance was made, open part and fees included, in money units.

    Args:
        position: POSITION.
        mark: MARK of its instrument.
        money: units of the account.
    """
    tick_lots = int(position["realised_tick_lots"]) + unrealised_tick_lots(position, mark)
    return tick_lots * money.value_units[int(position["instrument"])] - int(position["fee_units"])


def limit_number(name: str, value: int, money: Money) -> float:
    """Return a limit as a number of the unit in which config.toml writes it; unlimited is infinite, not set is NaN."""
    if value == NOT_SET:
        return math.nan
    return math.inf if value == UNLIMITED else float(limit_decimal(name, value, money))


def scope_names(sizes: Sizes, instruments: Instruments) -> tuple[str, ...]:
    """Return what people call each scope: "account", "strategy 0", ..., "AAPL", ..."""
    return ("account", *(f"strategy {slot}" for slot in range(sizes.book_count)), *instruments.symbols)


def fold(rows: np.ndarray, marks: np.ndarray, money: Money) -> dict[int, Totals]:
    """Return the totals of each scope in which anything was ever ordered, by scope (topology.scope_of_*).

    Args:
        rows: (strategies * instruments,) POSITION.
        marks: (instruments,) MARK.
        money: units of the account.
    """
    count = len(marks)
    instrument_base = 1 + len(rows) // count
    sums: dict[int, list[int]] = {}
    for row in np.flatnonzero((rows["fill_count"] != 0) | (rows["working_buy_lots"] != 0) | (rows["working_sell_lots"] != 0)):
        index = int(row)
        strategy, instrument = divmod(index, count)
        worth = _worth(rows[index], marks[instrument], money.value_units[instrument])
        for scope in (ACCOUNT, 1 + strategy, instrument_base + instrument):
            have = sums.setdefault(scope, [0] * len(worth))
            sums[scope] = [before + more for before, more in zip(have, worth, strict=True)]
    return {scope: _totals(amounts) for scope, amounts in sums.items()}


def unrealised_tick_lots(position: np.void, mark: np.void) -> int:
    """Return the open P&L at the price at which a position could be left now; 0 where that is not known.

    Args:
        position: POSITION.
        mark: MARK of its instrument.
    """
    quantity = int(position["quantity_lots"])
    price = int(mark["bid_ticks"] if quantity > 0 else mark["ask_ticks"]) or int(mark["last_ticks"])
    return quantity * price - int(position["cost_tick_lots"]) if price > 0 and quantity else 0


def _worth(position: np.void, mark: np.void, value: int) -> tuple[int, ...]:
    """Return what a row adds to each sum: realised, fees, unrealised, gross, long side, short side, open positions."""
    quantity = int(position["quantity_lots"])
    price = int(mark["ask_ticks"]) or int(mark["last_ticks"]) or int(mark["bid_ticks"])
    long_side = (quantity + int(position["working_buy_lots"])) * price * value
    short_side = (quantity - int(position["working_sell_lots"])) * price * value
    return (
        int(position["realised_tick_lots"]) * value,
        int(position["fee_units"]),
        unrealised_tick_lots(position, mark) * value,
        max(abs(long_side), abs(short_side)),
        long_side,
        short_side,
        int(quantity != 0),
    )


def _totals(amounts: list[int]) -> Totals:
    realised, fees, unrealised, gross, long_side, short_side, open_count = amounts
    return Totals(realised, fees, unrealised, gross, max(abs(long_side), abs(short_side)), open_count)
