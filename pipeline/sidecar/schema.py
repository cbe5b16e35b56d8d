"""What the database looks like: tables, views, and the fingerprint by which a file of another version is told apart.

Every stored record has the key (epoch, seq): the life of the instance and the record's sequence in its ring. There is no index
on it. That no key comes twice is held by the transaction that stores a batch together with the progress of its stream, and an
index would cost more than all else. Prices and quantities are there three times: exact integers (ticks, lots), doubles for
arithmetic, and in the `..._decimal` views exact decimals. Fees, limits and what was found beside them are exact integers in the
units of `accounts` and of the limit (pipeline.limit_values), with words beside them and decimals in the views.
"""

import hashlib
from collections.abc import Mapping, Sequence

from pipeline.limit_values import LIMIT_FORMS, MONEY, QUANTITY
from pipeline.messages import TICK_REASONS

#: The value of a code that no name is known for.
UNKNOWN = "unknown"
TICK_KINDS = ("none", "quote", "trade", "timer", "status")


def _enum(names: Sequence[str]) -> str:
    return "ENUM (" + ", ".join(f"'{name}'" for name in (*names, UNKNOWN)) + ")"


TABLES = f"""
CREATE TABLE database_format (fingerprint VARCHAR NOT NULL);
CREATE TABLE runs (
    epoch BIGINT NOT NULL, started_ns BIGINT NOT NULL, started_time TIMESTAMP_NS, instance VARCHAR, version VARCHAR, config JSON
);
CREATE TABLE instruments (
    epoch BIGINT NOT NULL, instrument UINTEGER NOT NULL, symbol VARCHAR NOT NULL, tick_size DECIMAL(38, 18),
    lot_size DECIMAL(38, 18), multiplier DECIMAL(38, 18), currency VARCHAR, venue VARCHAR
);
CREATE TABLE accounts (
    epoch BIGINT NOT NULL, currency VARCHAR NOT NULL, money_unit DECIMAL(38, 12), quantity_unit DECIMAL(38, 12),
    balance DECIMAL(38, 12), strategies UTINYINT
);
CREATE TABLE progress (
    epoch BIGINT NOT NULL, stream VARCHAR NOT NULL, next_seq BIGINT NOT NULL, stored BIGINT NOT NULL, missed BIGINT NOT NULL
);
CREATE TABLE ticks (
    epoch BIGINT NOT NULL, seq BIGINT NOT NULL, event_time TIMESTAMP_NS, event_ns BIGINT, recv_ns BIGINT, instrument UINTEGER,
    symbol VARCHAR, kind {_enum(TICK_KINDS)}, reason {_enum(TICK_REASONS)}, venue USMALLINT, venue_seq BIGINT,
    bid_ticks BIGINT, ask_ticks BIGINT, bid_lots BIGINT, ask_lots BIGINT, price_ticks BIGINT, quantity_lots BIGINT,
    trade_id BIGINT, conditions BIGINT, bid DOUBLE, ask DOUBLE, price DOUBLE, quantity DOUBLE
);
CREATE TABLE orders (
    epoch BIGINT NOT NULL, seq BIGINT NOT NULL, event_time TIMESTAMP_NS, event_ns BIGINT, order_id BIGINT, action VARCHAR,
    kind VARCHAR, symbol VARCHAR, side VARCHAR, order_type VARCHAR, quantity DOUBLE, price DOUBLE, reference_price DOUBLE,
    reduce_only BOOLEAN, strategy USMALLINT, instrument UINTEGER, quantity_lots BIGINT, price_ticks BIGINT,
    reference_ticks BIGINT, stop_id BIGINT, request_id BIGINT, generation BIGINT, tick_seq BIGINT, tick_recv_ns BIGINT,
    sent_ns BIGINT
);
CREATE TABLE reports (
    epoch BIGINT NOT NULL, seq BIGINT NOT NULL, event_time TIMESTAMP_NS, event_ns BIGINT, order_id BIGINT, kind VARCHAR,
    reason VARCHAR, symbol VARCHAR, side VARCHAR, order_kind VARCHAR, quantity DOUBLE, price DOUBLE, fee DOUBLE,
    fill_id BIGINT, reduce_only BOOLEAN, strategy USMALLINT, instrument UINTEGER, quantity_lots BIGINT, price_ticks BIGINT,
    left_lots BIGINT, fee_units BIGINT, stop_id BIGINT, request_id BIGINT, generation BIGINT, order_sent_ns BIGINT,
    sent_ns BIGINT
);
CREATE TABLE events (
    epoch BIGINT NOT NULL, seq BIGINT NOT NULL, event_time TIMESTAMP_NS, event_ns BIGINT, event_id BIGINT, kind VARCHAR,
    reason VARCHAR, symbol VARCHAR, side VARCHAR, stop_kind VARCHAR, watch VARCHAR, stop_id BIGINT, order_id BIGINT,
    quantity DOUBLE, price DOUBLE, level_price DOUBLE, scope VARCHAR, state VARCHAR, limit_name VARCHAR, value BIGINT,
    limit_value BIGINT, value_text VARCHAR, limit_text VARCHAR, strategy USMALLINT, instrument UINTEGER, quantity_lots BIGINT,
    price_ticks BIGINT, level_ticks BIGINT, request_id BIGINT, requester UTINYINT, generation BIGINT, tick_seq BIGINT,
    sent_ns BIGINT
);
CREATE TABLE notes (
    epoch BIGINT NOT NULL, seq BIGINT NOT NULL, utc_time TIMESTAMP_NS, utc_ns BIGINT, source VARCHAR, uid UINTEGER,
    pid UINTEGER, kind VARCHAR, scope VARCHAR, request_id BIGINT, text VARCHAR
);
"""


#: What a tick is worth, and what one unit of a stop's price is: half of it where the stop follows the mid.
_TICK, _LOT = "i.tick_size::DECIMAL(38, 12)", "i.lot_size::DECIMAL(38, 12)"
_WATCHED = f"(CASE WHEN t.watch = 'mid' THEN (i.tick_size::DECIMAL(30, 12) * 0.5)::DECIMAL(38, 12) ELSE {_TICK} END)"


def _decimal_view(
    table: str,
    prices: Mapping[str, str],
    quantities: Mapping[str, str],
    where: str = "true",
    price_step: str = _TICK,
    money: Mapping[str, str] | None = None,
) -> str:
    """Return a view of a table with exact decimals beside its integers, as {name: column of integers}.

    Where the condition does not hold, the integers may be anything, even past what a decimal holds: none is shown.
    """
    steps = [(name, column, price_step) for name, column in prices.items()]
    steps += [(name, column, _LOT) for name, column in quantities.items()]
    steps += [(name, column, "a.money_unit") for name, column in (money or {}).items()]
    exact = ", ".join(
        f"CASE WHEN {where} THEN t.{column}::DECIMAL(38, 0) * {step} END AS {name}_decimal" for name, column, step in steps
    )
    joined = f"{table} t LEFT JOIN instruments i USING (epoch, instrument)"
    joined += " LEFT JOIN accounts a USING (epoch)" if money else ""
    return f"CREATE VIEW {table}_decimal AS SELECT t.*, {exact} FROM {joined};"


def _limits_of(form: str) -> str:
    return "(" + ", ".join(f"'{name}'" for name, row in LIMIT_FORMS.items() if row.form == form) + ")"


def _amount(column: str) -> str:
    """Return an expression: a value of a limit as a decimal where it is money of the account or a quantity, else NULL."""
    # NOT_SET and UNLIMITED are no amounts; what was found beside a limit may be any.
    is_changed = "t.kind = 'limit_changed'"
    is_word = f"t.{column} IN (-1, -2) AND {'true' if column == 'limit_value' else is_changed}"
    cases = f"WHEN t.limit_name IN {_limits_of(MONEY)} THEN t.{column}::DECIMAL(38, 0) * a.money_unit"
    cases += f" WHEN t.limit_name IN {_limits_of(QUANTITY)} THEN t.{column}::DECIMAL(38, 0) * a.quantity_unit"
    return f"CASE WHEN {is_word} THEN NULL {cases} END"


#: Events with their account, and the note of the person who caused them, where one did: a request of the control socket.
_STORY = (
    "events t LEFT JOIN accounts a USING (epoch) LEFT JOIN notes n ON n.epoch = t.epoch AND n.request_id = t.request_id "
    "AND t.request_id <> 0 AND t.requester = a.strategies"
)
_WHO = "n.source AS source, n.uid AS uid, n.pid AS pid, n.text AS note"
#: For people: who did it and why.
_BY = (
    "CASE WHEN n.source IS NOT NULL THEN ' by uid ' || n.uid || ' (' || n.source || ')' "
    "|| CASE WHEN n.text <> '' THEN ': ' || n.text ELSE '' END ELSE '' END"
)
_AGAINST = "t.value_text || ' against a limit of ' || t.limit_text"


def _refusals() -> str:
    """Return the view of what risk refused, with its reason in words."""
    words = f"""CASE WHEN t.reason = 'no_limit' THEN ': ' || coalesce(t.limit_name, 'a limit') || ' is not set'
        WHEN t.value_text IS NOT NULL THEN ': ' || {_AGAINST} ELSE '' END"""
    return f"""CREATE VIEW refusals AS SELECT t.epoch, t.seq, t.event_time, t.strategy, t.requester, t.request_id, t.order_id,
        t.symbol, t.side, t.quantity, t.reason, t.scope, t.limit_name, t.value, t.limit_value,
        {_amount("value")} AS value_decimal, {_amount("limit_value")} AS limit_decimal,
        replace(t.reason, '_', ' ') || {words} || coalesce(' (' || t.scope || ')', '') AS told
        FROM events t LEFT JOIN accounts a USING (epoch) WHERE t.kind = 'request_refused';"""


def _trading_states() -> str:
    """Return the view of the trading states of every scope, each with the one before it, and who or what changed it."""
    before = "lag(t.state, 1, 'active') OVER (PARTITION BY t.epoch, t.scope ORDER BY t.seq)"
    why = f"replace(t.reason, '_', ' ') || CASE WHEN t.value_text IS NOT NULL THEN ': ' || {_AGAINST} ELSE '' END"
    return f"""CREATE VIEW trading_states AS SELECT t.epoch, t.seq, t.event_time, t.scope, {before} AS before, t.state,
        t.reason, t.limit_name, t.value, t.limit_value,
        {_amount("value")} AS value_decimal, {_amount("limit_value")} AS limit_decimal,
        t.request_id, t.requester, {_WHO},
        t.scope || ': ' || {before} || ' to ' || t.state || ', ' || {why} || {_BY} AS told
        FROM {_STORY} WHERE t.kind = 'state_changed';"""


def _limit_changes() -> str:
    """Return the view of the limits that were changed while it ran, by whom."""
    return f"""CREATE VIEW limit_changes AS SELECT t.epoch, t.seq, t.event_time, t.scope, t.limit_name, t.value AS before_value,
        t.limit_value, {_amount("value")} AS before_decimal, {_amount("limit_value")} AS limit_decimal,
        t.value_text AS before_text, t.limit_text, t.request_id, t.requester, {_WHO},
        t.scope || ': ' || t.limit_name || ' from ' || t.value_text || ' to ' || t.limit_text || {_BY} AS told
        FROM {_STORY} WHERE t.kind = 'limit_changed';"""


_QUANTITY = {"quantity": "quantity_lots"}
VIEWS = "\n".join(
    (
        "CREATE VIEW fills AS SELECT * FROM reports WHERE kind IN ('filled', 'partially_filled');",
        "CREATE VIEW stop_events AS SELECT * FROM events WHERE starts_with(kind, 'stop_');",
        _decimal_view(
            "ticks",
            {"bid": "bid_ticks", "ask": "ask_ticks", "price": "price_ticks"},
            {"bid_size": "bid_lots", "ask_size": "ask_lots"} | _QUANTITY,
            "t.reason = 'accepted'",
        ),
        _decimal_view("orders", {"price": "price_ticks", "reference": "reference_ticks"}, _QUANTITY),
        _decimal_view("fills", {"price": "price_ticks"}, _QUANTITY, money={"fee": "fee_units"}),
        _decimal_view("stop_events", {"price": "price_ticks", "level": "level_ticks"}, _QUANTITY, price_step=_WATCHED),
        _refusals(),
        _trading_states(),
        _limit_changes(),
    )
)

#: Changes with every change of a table, a view or the names of a code.
FINGERPRINT = hashlib.sha256((TABLES + VIEWS).encode()).hexdigest()[:16]
