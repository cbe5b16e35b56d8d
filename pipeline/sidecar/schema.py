"""What the database looks like: tables, views, and the fingerprint by which a file of another version is told apart.

Every stored record has the key (epoch, seq): the life of the instance and the record's sequence in its ring. There is no index
on it. That no key comes twice is held by the transaction that stores a batch together with the progress of its stream, and an
index would cost more than all else. Prices and quantities are there three times: exact integers (ticks, lots), doubles for
arithmetic, and in the `..._decimal` views exact decimals.
"""

import hashlib
from collections.abc import Mapping, Sequence

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
    epoch BIGINT NOT NULL, seq BIGINT NOT NULL, event_time TIMESTAMP_NS, event_ns BIGINT, order_id BIGINT, kind VARCHAR,
    symbol VARCHAR, side VARCHAR, order_type VARCHAR, quantity DOUBLE, price DOUBLE, reference_price DOUBLE,
    reduce_only BOOLEAN, strategy USMALLINT, instrument UINTEGER, quantity_lots BIGINT, price_ticks BIGINT,
    reference_ticks BIGINT, stop_id BIGINT, request_id BIGINT, generation BIGINT, tick_seq BIGINT, tick_recv_ns BIGINT,
    sent_ns BIGINT
);
CREATE TABLE reports (
    epoch BIGINT NOT NULL, seq BIGINT NOT NULL, event_time TIMESTAMP_NS, event_ns BIGINT, order_id BIGINT, kind VARCHAR,
    reason VARCHAR, symbol VARCHAR, side VARCHAR, order_kind VARCHAR, quantity DOUBLE, price DOUBLE, fill_id BIGINT,
    reduce_only BOOLEAN, strategy USMALLINT, instrument UINTEGER, quantity_lots BIGINT, price_ticks BIGINT, left_lots BIGINT,
    stop_id BIGINT, request_id BIGINT, generation BIGINT, order_sent_ns BIGINT, sent_ns BIGINT
);
CREATE TABLE events (
    epoch BIGINT NOT NULL, seq BIGINT NOT NULL, event_time TIMESTAMP_NS, event_ns BIGINT, event_id BIGINT, kind VARCHAR,
    reason VARCHAR, symbol VARCHAR, side VARCHAR, stop_kind VARCHAR, watch VARCHAR, stop_id BIGINT, order_id BIGINT,
    quantity DOUBLE, price DOUBLE, level_price DOUBLE, strategy USMALLINT, instrument UINTEGER, quantity_lots BIGINT,
    price_ticks BIGINT, level_ticks BIGINT, request_id BIGINT, requester UTINYINT, generation BIGINT, tick_seq BIGINT,
    sent_ns BIGINT
);
"""


#: What a tick is worth, and what one unit of a stop's price is: half of it where the stop follows the mid.
_TICK, _LOT = "i.tick_size::DECIMAL(38, 12)", "i.lot_size::DECIMAL(38, 12)"
_WATCHED = f"(CASE WHEN t.watch = 'mid' THEN (i.tick_size::DECIMAL(30, 12) * 0.5)::DECIMAL(38, 12) ELSE {_TICK} END)"


def _decimal_view(
    table: str, prices: Mapping[str, str], quantities: Mapping[str, str], where: str = "true", price_step: str = _TICK
) -> str:
    """Return a view of a table with exact decimals beside its integers, as {name: column of integers}.

    Where the condition does not hold, the integers may be anything, even past what a decimal holds: none is shown.
    """
    steps = [(name, column, price_step) for name, column in prices.items()]
    steps += [(name, column, _LOT) for name, column in quantities.items()]
    exact = ", ".join(
        f"CASE WHEN {where} THEN t.{column}::DECIMAL(38, 0) * {step} END AS {name}_decimal" for name, column, step in steps
    )
    joined = f"{table} t LEFT JOIN instruments i USING (epoch, instrument)"
    return f"CREATE VIEW {table}_decimal AS SELECT t.*, {exact} FROM {joined};"


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
        _decimal_view("fills", {"price": "price_ticks"}, _QUANTITY),
        _decimal_view("stop_events", {"price": "price_ticks", "level": "level_ticks"}, _QUANTITY, price_step=_WATCHED),
    )
)

#: Changes with every change of a table, a view or the names of a code.
FINGERPRINT = hashlib.sha256((TABLES + VIEWS).encode()).hexdigest()[:16]
