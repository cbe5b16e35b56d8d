"""What columns are made of: names instead of codes, doubles beside integers.

Every column is contiguous: DuckDB 1.5 stores garbage from strided arrays without a word. Integers of a price become doubles by
one exact product and one division (ticks * numerator / denominator of the tick size), so that 10001 ticks of 0.01 are the
double of 100.01 and no neighbour of it.
"""

from collections.abc import Sequence
from fractions import Fraction

import numpy as np

from pipeline.instruments import Instruments
from pipeline.money import Money
from pipeline.sidecar.schema import UNKNOWN

Columns = dict[str, np.ndarray]


def named(codes: np.ndarray, names: Sequence[str]) -> np.ndarray:
    """Return the name of each code, an array of str; a code past the names is 'unknown'."""
    table = np.array([*names, UNKNOWN], object)
    return table[np.minimum(codes.astype(np.int64), len(names))]


def only(chosen: np.ndarray, names: np.ndarray) -> np.ndarray:
    """Return the names of the chosen records, None for all others."""
    result = np.full(len(names), None, object)
    result[chosen] = names[chosen]
    return result


class Scales:
    """What turns ticks and lots of each instrument, and the account's money, into doubles, and numbers into names.

    Args:
        instruments: Of the instance.
        money: Units of its account.
        slots: How many strategies it has room for: with the instruments that makes the scopes.
    """

    def __init__(self, instruments: Instruments, money: Money, slots: int) -> None:
        self.money = money
        self.instrument_base = 1 + slots
        # As pipeline.scopes names them.
        self._scopes = ("account", *(f"strategy {slot}" for slot in range(slots)), *instruments.symbols)
        self._count = len(instruments)
        # One row past the instruments serves records of an unknown one: no symbol, and no number.
        self._symbols = np.array([*instruments.symbols, None], object)
        self._tick = _ratios([Fraction(item.tick_size) for item in instruments])
        self._lot = _ratios([Fraction(item.lot_size) for item in instruments])

    def row(self, instrument: np.ndarray) -> np.ndarray:
        """Return each instrument's row in these tables."""
        return np.minimum(instrument.astype(np.int64), self._count)

    def symbol(self, row: np.ndarray) -> np.ndarray:
        """Return symbols; None where the instrument is unknown."""
        return self._symbols[row]

    def scope(self, scopes: np.ndarray) -> np.ndarray:
        """Return what people call each scope: account, strategy 0, AAPL."""
        return named(scopes, self._scopes)

    def fee(self, units: np.ndarray) -> np.ndarray:
        """Return money units as float64 amounts of the account's currency."""
        return units / float(10**self.money.places)

    def price(self, row: np.ndarray, ticks: np.ndarray) -> np.ndarray:
        """Return ticks as float64 prices."""
        return ticks * self._tick[0][row] / self._tick[1][row]

    def quantity(self, row: np.ndarray, lots: np.ndarray) -> np.ndarray:
        """Return lots as float64 quantities."""
        return lots * self._lot[0][row] / self._lot[1][row]


def _ratios(values: Sequence[Fraction]) -> tuple[np.ndarray, np.ndarray]:
    """Return numerators and denominators as float64, with a row of NaN at the end."""
    numerators = [float(value.numerator) for value in values]
    return np.array([*numerators, np.nan]), np.array([*(float(value.denominator) for value in values), 1.0])


def plain(records: np.ndarray, *fields: str) -> Columns:
    """Return fields as they are, each as a column."""
    return {field: np.ascontiguousarray(records[field]) for field in fields}


def times(records: np.ndarray) -> Columns:
    """Return the stream time, as an integer and as a timestamp."""
    event_ns = np.ascontiguousarray(records["event_ns"])
    return {"event_ns": event_ns, "event_time": event_ns.view("M8[ns]")}


def has_flag(records: np.ndarray, flag: int) -> np.ndarray:
    """Return whether each record has a flag."""
    return (records["flags"] & flag) != 0


def side(records: np.ndarray, positive: str = "buy", negative: str = "sell") -> np.ndarray:
    """Return the names of sides."""
    return np.array([negative, "none", positive], object)[np.clip(records["side"], -1, 1) + 1]
