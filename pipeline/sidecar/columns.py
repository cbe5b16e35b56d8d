"""From ring records to columns for the database: names instead of codes, doubles beside integers, absent instead of zero.

Ticks, orders and reports are here, events and notes in event_columns.
"""

from collections.abc import Callable

import numpy as np

from pipeline.messages import (
    EXIT,
    REDUCE_ONLY,
    REJECT_REASONS,
    REPORT_NAMES,
    TICK_OK,
    TICK_REASONS,
    TRADE,
)
from pipeline.sidecar.event_columns import NO_INSTRUMENT, NO_STRATEGY, NO_VALUE, event_columns, note_columns
from pipeline.sidecar.scales import Columns, Scales, has_flag, named, plain, side, times
from pipeline.sidecar.schema import TICK_KINDS

_ORDER_TYPES = ("none", "market", "limit")
_ACTIONS = ("none", "new", "cancel")


def _order_kind(records: np.ndarray) -> np.ndarray:
    return np.array(["entry", "exit"], object)[has_flag(records, EXIT).astype(np.int64)]


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
        columns = {"seq": seqs[chosen]} | times(rows) | plain(rows, "recv_ns", "instrument", "venue", "venue_seq")
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
    columns = {"seq": seqs} | times(records) | plain(
        records, "order_id", "tick_recv_ns", "sent_ns", "quantity_lots", "price_ticks", "reference_ticks", "stop_id",
        "request_id", "instrument", "strategy", "generation", "tick_seq",
    )  # fmt: skip
    return [
        columns
        | {
            "action": named(records["kind"], _ACTIONS),
            "kind": _order_kind(records),
            "symbol": scales.symbol(row),
            "side": side(records),
            "order_type": named(records["order_type"], _ORDER_TYPES),
            "reduce_only": has_flag(records, REDUCE_ONLY),
            "quantity": scales.quantity(row, records["quantity_lots"]),
            "price": scales.price(row, records["price_ticks"]),
            "reference_price": scales.price(row, records["reference_ticks"]),
        }
    ]


def report_columns(records: np.ndarray, seqs: np.ndarray, scales: Scales) -> list[Columns]:
    """Return reports as columns, in one part."""
    row = scales.row(records["instrument"])
    columns = {"seq": seqs} | times(records) | plain(
        records, "order_id", "sent_ns", "order_sent_ns", "fill_id", "quantity_lots", "price_ticks", "left_lots", "stop_id",
        "request_id", "instrument", "strategy", "generation", "fee_units",
    )  # fmt: skip
    return [
        columns
        | {
            "fee": scales.fee(records["fee_units"]),
            "kind": named(records["kind"], REPORT_NAMES),
            "reason": named(records["reason"], REJECT_REASONS),
            "symbol": scales.symbol(row),
            "side": side(records),
            "order_kind": _order_kind(records),
            "reduce_only": has_flag(records, REDUCE_ONLY),
            "quantity": scales.quantity(row, records["quantity_lots"]),
            "price": scales.price(row, records["price_ticks"]),
        }
    ]


#: How the records of each stream become columns.
COLUMNS: dict[str, Callable[[np.ndarray, np.ndarray, Scales], list[Columns]]] = {
    "ticks": tick_columns, "orders": order_columns, "reports": report_columns, "events": event_columns, "notes": note_columns,
}  # fmt: skip
#: Columns of each stream in which this value means that there is none.
ABSENT: dict[str, dict[str, int]] = {
    "ticks": {},
    "orders": dict.fromkeys(("price_ticks", "price", "reference_ticks", "reference_price"), 0),
    "reports": dict.fromkeys(("price_ticks", "price"), 0),
    "events": dict.fromkeys(("price_ticks", "price", "level_ticks", "level_price"), 0)
    | {"instrument": NO_INSTRUMENT, "strategy": NO_STRATEGY, "value": NO_VALUE, "limit_value": NO_VALUE},
    "notes": {"request_id": 0},
}
