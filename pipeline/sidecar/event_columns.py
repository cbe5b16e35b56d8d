"""Events and notes as columns for the database: who changed what, and by which limit something was refused, in words."""

import numpy as np

from pipeline.account_view import BREAKER_LIMITS
from pipeline.errors import one_line
from pipeline.limit_values import amount_text, limit_text
from pipeline.messages import (
    CANCEL_ALL,
    END_REASONS,
    EVENT_NAMES,
    LIMIT_CHANGED,
    MID,
    NOTE_SOURCES,
    NOTE_TEXT_BYTES,
    REJECT_FLATTENING,
    REJECT_MIN_QUANTITY,
    REJECT_NO_LIMIT,
    REJECT_NOTIONAL,
    REJECT_POSITION_LIMIT,
    REJECT_QUANTITY,
    REJECT_REASONS,
    REJECT_REDUCING,
    REJECT_VOLATILITY,
    REQUEST_DONE,
    REQUEST_NAMES,
    REQUEST_REFUSED,
    STATE_CHANGED,
    STATE_REASONS,
    STOP_ENDED,
    STOP_KIND_NAMES,
    STOP_TRIGGERED,
    TRADING_STATES,
    TRIGGER_REASONS,
    WATCH_NAMES,
)
from pipeline.money import Money
from pipeline.sidecar.scales import Columns, Scales, named, only, plain, side, times
from pipeline.sidecar.schema import UNKNOWN
from pipeline.tables import LIMIT_NAMES

#: Stored as NULL: nobody's, of no instrument, no number.
NO_STRATEGY, NO_INSTRUMENT, NO_VALUE = (1 << 16) - 1, (1 << 32) - 1, -(1 << 63)
#: Reasons of a refusal that name a limit, and whose; and those that name whose trading state it was.
LIMIT_REASONS = (
    REJECT_QUANTITY, REJECT_NOTIONAL, REJECT_POSITION_LIMIT, REJECT_NO_LIMIT, *range(REJECT_MIN_QUANTITY, REJECT_VOLATILITY + 1)
)  # fmt: skip
STATE_REFUSALS = tuple(range(REJECT_REDUCING, REJECT_FLATTENING + 1))
NO_LIMIT = -1
_BREAKER_IDS = np.array(
    [LIMIT_NAMES.index(BREAKER_LIMITS[code]) if code in BREAKER_LIMITS else NO_LIMIT for code in range(len(STATE_REASONS) + 1)]
)


def event_columns(records: np.ndarray, seqs: np.ndarray, scales: Scales) -> list[Columns]:
    """Return events as columns, in one part. What `reason`, `side`, `value` and `limit_value` mean depends on the kind."""
    kind = records["kind"]
    columns = {"seq": seqs} | times(records) | plain(
        records, "event_id", "sent_ns", "stop_id", "order_id", "price_ticks", "level_ticks", "quantity_lots", "tick_seq",
        "request_id", "requester", "generation",
    )  # fmt: skip
    refused = kind == REQUEST_REFUSED
    reason = np.where(records["reason"] == 0, "none", UNKNOWN)
    for of_kind, names in (
        (STOP_ENDED, END_REASONS), (STOP_TRIGGERED, TRIGGER_REASONS), (REQUEST_REFUSED, REJECT_REASONS),
        (STATE_CHANGED, STATE_REASONS),
    ):  # fmt: skip
        reason = np.where(kind == of_kind, named(records["reason"], names), reason)
    subject = _subject(records, scales)
    row = scales.row(subject["instrument"])
    # A stop that follows the mid counts in half ticks.
    unit = np.where(records["watch"] == MID, 2, 1)
    return [
        columns
        | subject
        | _limit(records, scales.money)
        | {
            "kind": named(kind, EVENT_NAMES),
            "reason": reason,
            "symbol": scales.symbol(row),
            "side": np.where(refused, side(records), side(records, "long", "short")),
            "stop_kind": named(records["stop_kind"], STOP_KIND_NAMES),
            "watch": named(records["watch"], WATCH_NAMES),
            "state": only(kind == STATE_CHANGED, named(records["state"], TRADING_STATES)),
            "quantity": scales.quantity(row, records["quantity_lots"]),
            "price": scales.price(row, records["price_ticks"]) / unit,
            "level_price": scales.price(row, records["level_ticks"]) / unit,
        }
    ]


def note_columns(records: np.ndarray, seqs: np.ndarray, scales: Scales) -> list[Columns]:
    """Return notes as columns, in one part. Whatever stands in a text, it becomes one printable line."""
    utc_ns = np.ascontiguousarray(records["utc_ns"])
    length = np.minimum(records["length"], NOTE_TEXT_BYTES)
    texts = [
        one_line(bytes(text[:count]).decode("utf-8", "replace"))
        for text, count in zip(records["text"], length.tolist(), strict=True)
    ]
    return [
        {"seq": seqs, "utc_ns": utc_ns, "utc_time": utc_ns.view("M8[ns]")}
        | plain(records, "uid", "pid", "request_id")
        | {
            "source": named(records["source"], NOTE_SOURCES),
            "kind": named(records["kind"], REQUEST_NAMES),
            "scope": only(records["kind"] >= CANCEL_ALL, scales.scope(records["scope"])),
            "text": np.array(texts, object),
        }
    ]


def _subject(records: np.ndarray, scales: Scales) -> Columns:
    """Return whose each event is: scope, strategy and instrument, those that it does not concern absent."""
    kind, reason = records["kind"], records["reason"]
    # One order that was taken back has an instrument and a strategy, and is of no scope.
    of_scope = (kind == STATE_CHANGED) | (kind == LIMIT_CHANGED) | ((kind == REQUEST_DONE) & (records["order_id"] == 0))
    has_scope = of_scope | ((kind == REQUEST_REFUSED) & np.isin(reason, (*LIMIT_REASONS, *STATE_REFUSALS)))
    scope = records["scope"].astype(np.int64)
    base = scales.instrument_base
    strategy = np.where((scope > 0) & (scope < base), scope - 1, NO_STRATEGY)
    instrument = np.where(scope >= base, scope - base, NO_INSTRUMENT)
    return {
        "scope": only(has_scope, scales.scope(scope)),
        "strategy": np.where(of_scope, strategy, records["strategy"]).astype(np.int64),
        "instrument": np.where(of_scope, instrument, records["instrument"]).astype(np.int64),
    }


def _limit(records: np.ndarray, money: Money) -> Columns:
    """Return which limit an event is about, with the value and the limit as integers and in words."""
    kind, reason = records["kind"], records["reason"].astype(np.int64)
    changed, refused = kind == LIMIT_CHANGED, kind == REQUEST_REFUSED
    by_breaker = np.where(kind == STATE_CHANGED, _BREAKER_IDS[np.minimum(reason, len(STATE_REASONS))], NO_LIMIT)
    limit_id = np.where(changed | (refused & np.isin(reason, LIMIT_REASONS)), records["limit_id"], by_breaker).astype(np.int64)
    is_limit = limit_id != NO_LIMIT
    values = np.where(is_limit | (kind == REQUEST_DONE), records["value"], NO_VALUE)
    limits = np.where(is_limit, records["limit"], NO_VALUE)
    value_words, limit_words = np.full(len(kind), None, object), np.full(len(kind), None, object)
    # Where no limit is set there is nothing to hold a value against.
    has_words = (limit_id < len(LIMIT_NAMES)) & is_limit & ~(refused & (reason == REJECT_NO_LIMIT))
    for place in np.flatnonzero(has_words).tolist():
        name = LIMIT_NAMES[limit_id[place]]
        # A limit before its change may be a word as well; what was found beside a limit is a number.
        write = limit_text if changed[place] else amount_text
        value_words[place] = write(name, int(values[place]), money)
        limit_words[place] = limit_text(name, int(limits[place]), money)
    return {
        "limit_name": only(is_limit, named(limit_id, LIMIT_NAMES)), "value": values, "limit_value": limits,
        "value_text": value_words, "limit_text": limit_words,
    }  # fmt: skip
