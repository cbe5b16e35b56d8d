"""From ring records to columns for the database: names instead of codes, doubles beside integers, absent instead of zero.

Every column is contiguous: DuckDB 1.5 stores garbage from strided arrays without a word. Integers of a price become doubles by
one exact product and one division (ticks * numerator / denominator of the tick size), so that 10001 ticks of 0.01 are the
double of 100.01 and no neighbour of it.
"""

from collections.abc import Sequence
from fractions import Fraction

import numpy as np

from pipeline.instruments import Instruments
from pipeline.messages import (
    END_REASONS,
    EVENT_NAMES,
    EXIT,
    MID,
    REDUCE_ONLY,
    REJECT_REASONS,
    REPORT_NAMES,
    REQUEST_REFUSED,
    STOP_ENDED,
    STOP_KIND_NAMES,
    STOP_TRIGGERED,
    TICK_OK,
    TICK_REASONS,
    TRADE,
    TRIGGER_REASONS,
    WATCH_NAMES,
)
from pipeline.sidecar.schema import TICK_KINDS, UNKNOWN

Columns = dict[str, np.ndarray]

_ORDER_TYPES = ("none", "market", "limit")


def named(codes: np.ndarray, names: Sequence[str]) -> np.ndarray:
    """Return the name of each code, an array of str; a code past the names is 'unknown'."""
    table = np.array([*names, UNKNOWN], object)
    return table[np.minimum(codes.astype(np.int64), len(names))]


class Scales:
    """What turns ticks and lots of each instrument into doubles, and its number into its symbol."""

    def __init__(self, instruments: Instruments) -> None:
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


def _plain(records: np.ndarray, *fields: str) -> Columns:
    return {field: np.ascontiguousarray(records[field]) for field in fields}


def _times(records: np.ndarray) -> Columns:
    event_ns = np.ascontiguousarray(records["event_ns"])
    return {"event_ns": event_ns, "event_time": event_ns.view("M8[ns]")}


def _flag(records: np.ndarray, flag: int) -> np.ndarray:
    return (records["flags"] & flag) != 0


def _side(records: np.ndarray, positive: str = "buy", negative: str = "sell") -> np.ndarray:
    return np.array([negative, "none", positive], object)[np.clip(records["side"], -1, 1) + 1]


def _order_kind(records: np.ndarray) -> np.ndarray:
    return np.array(["entry", "exit"], object)[_flag(records, EXIT).astype(np.int64)]


def tick_columns(records: np.ndarray, seqs: np.ndarray, scales: Scales) -> list[Columns]:
    """Return ticks in up to four parts: quotes and trades, each with their values in doubles where they were accepted."""
    kind, accepted = records["kind"], records["flags"] == TICK_OK
    parts = []
    for is_trade, is_accepted in ((False, True), (True, True), (False, False), (True, False)):
        chosen = np.flatnonzero(((kind == TRADE) == is_trade) & (accepted == is_accepted))
        if len(chosen) == 0:
            continue
        rows = records if len(chosen) == len(records) else records[chosen]
        row = scales.row(rows["instrument"])
        columns = {"seq": seqs[chosen]} | _times(rows) | _plain(rows, "recv_ns", "instrument", "venue", "venue_seq")
        columns |= {
            "symbol": scales.symbol(row), "kind": named(rows["kind"], TICK_KINDS), "reason": named(rows["flags"], TICK_REASONS),
        }  # fmt: skip
        names = ("price_ticks", "quantity_lots", "trade_id", "conditions") if is_trade else ()
        names = names or ("bid_ticks", "ask_ticks", "bid_lots", "ask_lots")
        columns |= {name: np.ascontiguousarray(rows[field]) for name, field in zip(names, "abcd", strict=True)}
        if is_accepted and is_trade:
            columns |= {"price": scales.price(row, rows["a"]), "quantity": scales.quantity(row, rows["b"])}
        elif is_accepted:
            columns |= {"bid": scales.price(row, rows["a"]), "ask": scales.price(row, rows["b"])}
        parts.append(columns)
    return parts


def order_columns(records: np.ndarray, seqs: np.ndarray, scales: Scales) -> list[Columns]:
    """Return orders as columns, in one part."""
    row = scales.row(records["instrument"])
    columns = {"seq": seqs} | _times(records) | _plain(
        records, "order_id", "tick_recv_ns", "sent_ns", "quantity_lots", "price_ticks", "reference_ticks", "stop_id",
        "request_id", "instrument", "strategy", "generation", "tick_seq",
    )  # fmt: skip
    return [
        columns
        | {
            "kind": _order_kind(records),
            "symbol": scales.symbol(row),
            "side": _side(records),
            "order_type": named(records["order_type"], _ORDER_TYPES),
            "reduce_only": _flag(records, REDUCE_ONLY),
            "quantity": scales.quantity(row, records["quantity_lots"]),
            "price": scales.price(row, records["price_ticks"]),
            "reference_price": scales.price(row, records["reference_ticks"]),
        }
    ]


def report_columns(records: np.ndarray, seqs: np.ndarray, scales: Scales) -> list[Columns]:
    """Return reports as columns, in one part."""
    row = scales.row(records["instrument"])
    columns = {"seq": seqs} | _times(records) | _plain(
        records, "order_id", "sent_ns", "order_sent_ns", "fill_id", "quantity_lots", "price_ticks", "left_lots", "stop_id",
        "request_id", "instrument", "strategy", "generation",
    )  # fmt: skip
    return [
        columns
        | {
            "kind": named(records["kind"], REPORT_NAMES),
            "reason": named(records["reason"], REJECT_REASONS),
            "symbol": scales.symbol(row),
            "side": _side(records),
            "order_kind": _order_kind(records),
            "reduce_only": _flag(records, REDUCE_ONLY),
            "quantity": scales.quantity(row, records["quantity_lots"]),
            "price": scales.price(row, records["price_ticks"]),
        }
    ]


def event_columns(records: np.ndarray, seqs: np.ndarray, scales: Scales) -> list[Columns]:
    """Return events as columns, in one part. What `reason` and `side` mean depends on the kind of event."""
    row = scales.row(records["instrument"])
    columns = {"seq": seqs} | _times(records) | _plain(
        records, "event_id", "sent_ns", "stop_id", "order_id", "price_ticks", "level_ticks", "quantity_lots", "tick_seq",
        "instrument", "strategy", "request_id", "requester", "generation",
    )  # fmt: skip
    refused = records["kind"] == REQUEST_REFUSED
    reason = np.where(records["reason"] == 0, "none", UNKNOWN)
    for kind, names in ((STOP_ENDED, END_REASONS), (STOP_TRIGGERED, TRIGGER_REASONS)):
        reason = np.where(records["kind"] == kind, named(records["reason"], names), reason)
    # A stop that follows the mid counts in half ticks.
    unit = np.where(records["watch"] == MID, 2, 1)
    return [
        columns
        | {
            "kind": named(records["kind"], EVENT_NAMES),
            "reason": np.where(refused, named(records["reason"], REJECT_REASONS), reason),
            "symbol": scales.symbol(row),
            "side": np.where(refused, _side(records), _side(records, "long", "short")),
            "stop_kind": named(records["stop_kind"], STOP_KIND_NAMES),
            "watch": named(records["watch"], WATCH_NAMES),
            "quantity": scales.quantity(row, records["quantity_lots"]),
            "price": scales.price(row, records["price_ticks"]) / unit,
            "level_price": scales.price(row, records["level_ticks"]) / unit,
        }
    ]


#: How the records of each stream become columns.
COLUMNS = {"ticks": tick_columns, "orders": order_columns, "reports": report_columns, "events": event_columns}
#: Columns of each stream in which 0 means that there is none.
ABSENT_AT_ZERO = {
    "ticks": (),
    "orders": ("price_ticks", "price", "reference_ticks", "reference_price"),
    "reports": ("price_ticks", "price"),
    "events": ("price_ticks", "price", "level_ticks", "level_price"),
}
