"""The instrument table: which symbols there are, and how their ticks and lots read as decimals.

Inside the pipeline a price is an int64 count of ticks and a quantity an int64 count of lots (DESIGN section 6). This is where
people's decimals become those integers and come back, always exactly: what is no whole tick or lot is refused, never rounded.
"""

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from decimal import ROUND_FLOOR, Clamped, Context, Decimal, DivisionByZero, Inexact, InvalidOperation, Overflow
from os import PathLike
from pathlib import Path
from typing import Any

from pipeline.errors import InstrumentError, nearest
from pipeline.messages import MID, PRICE_TICKS_LIMIT, PRODUCT_LIMIT, QUANTITY_LOTS_LIMIT

SYMBOL_PATTERN = r"[A-Za-z0-9][A-Za-z0-9._/:-]{0,31}"
#: Tick size, lot size and multiplier lie between these, so that no conversion can need more digits than EXACT has.
STEP_MIN, STEP_MAX = Decimal("1e-12"), Decimal("1e9")
STEP_DIGITS_MAX = 18

#: Wide enough for any price, product or money here; what does not fit raises instead of rounding.
EXACT = Context(prec=80, traps=[InvalidOperation, DivisionByZero, Overflow, Inexact, Clamped])

_STEP_FIELDS = ("tick_size", "lot_size", "multiplier")
_TEXT_FIELDS = ("symbol", "currency", "venue")


@dataclass(frozen=True)
class Instrument:
    """One tradable symbol.

    Args:
        symbol: unique name; letters, digits and `._/:-`, at most 32.
        tick_size: smallest price step, in `currency`.
        lot_size: smallest quantity step, in units (shares, coins, contracts).
        multiplier: units of the underlying per unit traded; 1 for shares, 50 for an E-mini.
        currency: of the price.
        venue: where it trades, for people; may be empty.
    Raises:
        InstrumentError: a field is not what it must be.
    """

    symbol: str
    tick_size: Decimal
    lot_size: Decimal
    multiplier: Decimal = Decimal(1)
    currency: str = "USD"
    venue: str = ""

    def __post_init__(self) -> None:
        if not isinstance(self.symbol, str) or not re.fullmatch(SYMBOL_PATTERN, self.symbol):
            raise InstrumentError(
                f"symbol {self.symbol!r} is no symbol", "instruments", "use 1 to 32 letters, digits or . _ / : -"
            )
        for field in _STEP_FIELDS:
            fault = step_fault(getattr(self, field))
            if fault:
                raise InstrumentError(f"{field} {fault}", f"instrument {self.symbol}", 'write a decimal such as "0.01"')

    @property
    def tick_lot_value(self) -> Decimal:
        """Money in one tick·lot, in `currency`: P&L and notional are tick·lots times this."""
        return EXACT.multiply(EXACT.multiply(self.tick_size, self.lot_size), self.multiplier)


class Instruments:
    """The ordered, immutable table of instruments; an instrument's index is its position here.

    Raises:
        InstrumentError: a symbol occurs twice.
    """

    def __init__(self, items: Iterable[Instrument]) -> None:
        self._items = tuple(items)
        self._index = {item.symbol: index for index, item in enumerate(self._items)}
        if len(self._index) != len(self._items):
            twice = next(item.symbol for index, item in enumerate(self._items) if self._index[item.symbol] != index)
            raise InstrumentError(f"symbol {twice} occurs twice", "instruments", "keep one of them")

    def __len__(self) -> int:
        return len(self._items)

    def __iter__(self) -> Iterator[Instrument]:
        return iter(self._items)

    def __getitem__(self, index: int) -> Instrument:
        return self._items[index]

    def __contains__(self, symbol: object) -> bool:
        return symbol in self._index

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Instruments) and self._items == other._items

    def __hash__(self) -> int:
        return hash(self._items)

    def __repr__(self) -> str:
        return f"Instruments({', '.join(self.symbols)})"

    @property
    def symbols(self) -> tuple[str, ...]:
        """All symbols, in order of index."""
        return tuple(item.symbol for item in self._items)

    def index(self, symbol: str) -> int:
        """Return the index of a symbol.

        Raises:
            InstrumentError: it is not in the table; the remedy names the nearest that are.
        """
        found = self._index.get(symbol)
        if found is not None:
            return found
        near = nearest(symbol, self._index)
        known = ", ".join(self.symbols[:12]) + (", ..." if len(self) > 12 else "")
        remedy = f"did you mean {' or '.join(near)}?" if near else f"known are {known or 'none: the table is empty'}"
        raise InstrumentError(f"unknown symbol {symbol!r}", "instruments", remedy)

    def price_text(self, index: int, ticks: int) -> str:
        """Write a price of `ticks` as a decimal with the places of the tick size: 10001 at 0.01 is "100.01"."""
        return format(EXACT.multiply(self._items[index].tick_size, Decimal(int(ticks))), "f")

    def half_ticks_text(self, index: int, half_ticks: int) -> str:
        """Write a price of so many half ticks as a decimal: as ticks where they are whole."""
        if half_ticks % 2 == 0:
            return self.price_text(index, half_ticks // 2)
        return format(EXACT.divide(EXACT.multiply(self._items[index].tick_size, Decimal(int(half_ticks))), Decimal(2)), "f")

    def watched_text(self, index: int, price: int, watch: int) -> str:
        """Write a price in units of a stop's watch as a decimal: half ticks where it follows the mid (messages.MID)."""
        return self.half_ticks_text(index, price if watch == MID else 2 * price)

    def quantity_text(self, index: int, lots: int) -> str:
        """Write a signed quantity of `lots` as a decimal in units, with the places of the lot size."""
        return format(EXACT.multiply(self._items[index].lot_size, Decimal(int(lots))), "f")

    def price_ticks(self, index: int, price: Decimal | str) -> int:
        """Return a price in ticks.

        Raises:
            InstrumentError: it is no decimal, no whole multiple of the tick size, not above 0, or not below 2**42 ticks.
        """
        item = self._items[index]
        ticks = _steps(item, "price", price, item.tick_size, PRICE_TICKS_LIMIT)
        if ticks <= 0:
            raise InstrumentError(f"price {price} is not above 0", f"instrument {item.symbol}", "give a real price")
        return ticks

    def lots(self, index: int, quantity: Decimal | str) -> int:
        """Return a signed quantity in lots.

        Raises:
            InstrumentError: it is no decimal, no whole multiple of the lot size, or its magnitude not below 2**40 lots.
        """
        item = self._items[index]
        return _steps(item, "quantity", quantity, item.lot_size, QUANTITY_LOTS_LIMIT)

    def lots_max(self, index: int, quantity: Decimal) -> int:
        """Return a limit of `quantity` >= 0 units in whole lots, rounded down and at most the bound that decode holds."""
        return min(_floor(quantity, self._items[index].lot_size), QUANTITY_LOTS_LIMIT - 1)

    def tick_lots_max(self, index: int, money: Decimal) -> int:
        """Return a limit of `money` >= 0 in whole tick·lots, rounded down and at most the bound that decode holds."""
        return min(_floor(money, self._items[index].tick_lot_value), PRODUCT_LIMIT - 1)

    def money(self, index: int, tick_lots: int) -> Decimal:
        """Return tick·lots (a P&L, a cost, a notional) as exact money in the instrument's currency."""
        return EXACT.multiply(self._items[index].tick_lot_value, Decimal(int(tick_lots)))

    def to_json(self) -> list[dict[str, str]]:
        """Return the table as plain JSON values; decimals are strings."""
        return [
            {field: getattr(item, field) for field in _TEXT_FIELDS}
            | {field: format(getattr(item, field), "f") for field in _STEP_FIELDS}
            for item in self._items
        ]

    @classmethod
    def from_json(cls, rows: Any, where: str = "instruments") -> "Instruments":
        """Build the table from what `to_json` returned.

        Args:
            rows: list of objects with text values; multiplier, currency and venue may be absent.
            where: file that the rows come from, for the message.
        Raises:
            InstrumentError: a row is not an instrument.
        """
        if not isinstance(rows, list):
            raise InstrumentError(f"{type(rows).__name__} instead of a list", where, "write the instruments again")
        try:
            return cls(_from_row(row, f"{where}, row {number}") for number, row in enumerate(rows))
        except InstrumentError as error:
            if where in error.where:
                raise
            raise InstrumentError(error.what, f"{where}, {error.where}", error.remedy) from None

    def save(self, path: str | PathLike[str]) -> None:
        """Write the table as instruments.json; the caller puts it in place atomically."""
        Path(path).write_text(json.dumps(self.to_json(), indent=1) + "\n", encoding="utf-8")

    @staticmethod
    def load(path: str | PathLike[str]) -> "Instruments":
        """Read what `save` wrote.

        Raises:
            InstrumentError: the file is missing, no JSON, or no instruments.
        """
        where = str(path)
        try:
            rows = json.loads(Path(path).read_text(encoding="utf-8"))
        except OSError as error:
            raise InstrumentError(f"cannot read the instruments: {error.strerror}", where, "check the path") from None
        except (ValueError, RecursionError) as error:
            raise InstrumentError(f"no JSON: {error}", where, "write the instruments again") from None
        return Instruments.from_json(rows, where)


def step_fault(step: Any) -> str:
    """Say what keeps a value from being a tick size, lot size or multiplier; empty when nothing does."""
    if not isinstance(step, Decimal) or not step.is_finite():
        return f"{step!r} is no finite decimal"
    if not STEP_MIN <= step <= STEP_MAX:
        return f"{step} is not between {STEP_MIN} and {STEP_MAX:f}"
    if len(step.as_tuple().digits) > STEP_DIGITS_MAX:
        return f"{step} has more than {STEP_DIGITS_MAX} digits"
    return ""


def parse_decimal(text: Decimal | str) -> Decimal | None:
    """Return a finite decimal, or None where the text is none. Plain digits only: no spaces, underscores or words."""
    if isinstance(text, Decimal):
        return text if text.is_finite() else None
    if not isinstance(text, str) or not re.fullmatch(r"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]{1,3})?", text):
        return None
    return Decimal(text)


def whole_steps(value: Decimal, step: Decimal) -> int | None:
    """Return how many steps make up a finite value, or None where that is no whole number below 2**62 in magnitude."""
    try:
        count = EXACT.divide(value, step)
    except (Inexact, InvalidOperation, Overflow, Clamped):
        return None
    if not -PRODUCT_LIMIT < count < PRODUCT_LIMIT or count != count.to_integral_value():
        return None
    return int(count)


def _floor(value: Decimal, step: Decimal) -> int:
    """Divide a limit by a step, rounding down: a limit may only ever get tighter."""
    assert value >= 0, f"a limit is not negative, got {value}"
    if value >= EXACT.multiply(step, Decimal(PRODUCT_LIMIT)):
        return PRODUCT_LIMIT
    rounding_down = Context(prec=EXACT.prec, rounding=ROUND_FLOOR)
    return int(rounding_down.divide(value, step).to_integral_value(rounding=ROUND_FLOOR))


def _steps(item: Instrument, name: str, text: Decimal | str, step: Decimal, limit: int) -> int:
    """Return a decimal as a whole count of steps, its magnitude below `limit`, or raise what is wrong with it."""
    where = f"instrument {item.symbol}"
    value = parse_decimal(text)
    if value is None:
        raise InstrumentError(f"{name} {text!r} is no decimal", where, 'write it as in "100.25"')
    bound = EXACT.multiply(step, Decimal(limit))
    if abs(value) >= bound:
        raise InstrumentError(f"{name} {text} is out of bounds", where, f"use one below {bound:f}")
    steps = whole_steps(value, step)
    if steps is None:
        raise InstrumentError(f"{name} {text} is no whole multiple of {step:f}", where, f"use steps of {step:f}")
    return steps


def _from_row(row: Any, where: str) -> Instrument:
    known = (*_TEXT_FIELDS, *_STEP_FIELDS)
    if not isinstance(row, dict):
        raise InstrumentError(f"{type(row).__name__} instead of an object", where, "write the instruments again")
    for name, value in row.items():
        if name not in known:
            raise InstrumentError(f"unknown field {name!r}", where, f"known are {', '.join(known)}")
        if not isinstance(value, str):
            raise InstrumentError(f"{name} {value!r} is no text", where, "write decimals as text, so that they stay exact")
    for name in ("symbol", "tick_size", "lot_size"):
        if name not in row:
            raise InstrumentError(f"{name} is missing", where, "write the instruments again")
    fields: dict[str, Any] = dict(row)
    for name in _STEP_FIELDS:
        if name in row:
            fields[name] = parse_decimal(row[name])
            if fields[name] is None:
                raise InstrumentError(f"{name} {row[name]!r} is no decimal", where, 'write it as in "0.01"')
    return Instrument(**fields)
