"""What a seed of the simulation draws: a market, an instance with its limits and configured stops, and what strategies ask for.

Times of the market count in a unit that is drawn too: with small ones a life lasts a millisecond, and what takes longer comes
after the end of the data; with large ones bars of whole seconds close, and limit exits escalate, in the midst of it.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from pipeline import topology
from pipeline.messages import (
    ARMED,
    ATR,
    BUY,
    CANCEL_ORDER,
    CANCEL_STOP,
    CHANDELIER,
    FIRE_NOW,
    LAST,
    LIMIT,
    MARKET,
    MID,
    NON_FINITE,
    QUOTE,
    SELL,
    SET_STOP,
    STATIC,
    SUBMIT,
    TAKE_PROFIT,
    TICK,
    TIME,
    TRADE,
    TRAILING,
)
from pipeline.risk.limits import NOT_SET, UNLIMITED, Limits, default_terms, free_limits
from pipeline.tables import SCOPE_RESTRICTED, SCOPE_WORDS
from shm.jit import JIT_ENABLED
from tests.gateway import GatewayRig
from tests.recorder import RecordingRig, committed
from tests.rig import limits
from tests.sim_account import account_settings, add_limits, limit_fields

ORDER_LOTS_MAX = 400
TICKS_MAX = 400 if JIT_ENABLED else 200
UNITS_NS = (1, 10_000, 10_000)
KINDS = (STATIC, TRAILING, ATR, CHANDELIER, TIME, TAKE_PROFIT)
PPM = 10**6
MODIFIERS = (
    ("activation_ppm", (500, 2_000)),
    ("breakeven_ppm", (500, 2_000)),
    ("fraction_ppm", (1, 250_000, 700_000, PPM)),
)


def random_feed(rng: np.random.Generator, instruments: int, count: int, unit_ns: int) -> np.ndarray:
    """Return a market: walks, jumps that come back, long silences of all but one instrument, and ticks that are no prices."""
    ticks = np.zeros(count, TICK)
    mids = rng.integers(5_000, 20_000, instruments)
    away = np.zeros(instruments, np.int64)
    event_ns, only = 1_000_000 * unit_ns, -1
    volatility, jumpy, dirty = rng.choice([3, 20, 60]), rng.choice([0.01, 0.05, 0.2]), rng.choice([0.0, 0.03, 0.2])
    for k in range(count):
        if rng.random() < 0.02:
            only = int(rng.integers(-1, instruments))
        instrument = int(rng.integers(instruments)) if only < 0 else only
        event_ns += int(rng.choice([0, 100, 1_000, 5_000, 50_000])) * unit_ns
        mids[instrument] = max(100, mids[instrument] + rng.integers(-volatility, volatility + 1))
        # A jump of up to 5% that the next jump takes back.
        if rng.random() < jumpy:
            away[instrument] = 0 if away[instrument] else rng.integers(-500, 501) * mids[instrument] // 10_000
        bid = max(1, int(mids[instrument] + away[instrument]))
        stamp = event_ns - int(rng.choice([0, 0, 0, 2_000])) * unit_ns
        if rng.random() < 0.3:
            ticks[k] = (stamp, 0, k + 1, instrument, TRADE, 0, 0, bid + 1, 10, k, 0)
        else:
            ticks[k] = (stamp, 0, k + 1, instrument, QUOTE, 0, 0, bid, bid + int(rng.integers(0, 4)), 100, 100)
        if rng.random() < dirty:
            spoil(rng, ticks[k], instruments)
    return ticks


def spoil(rng: np.random.Generator, tick: np.void, instruments: int) -> None:
    """Make a tick one that must move nothing, most of them with a price that would fire any stop."""
    tick["a"] = int(rng.choice([1, 1 << 41]))
    tick["b"] = tick["a"]
    field, value = [
        ("b", int(tick["a"]) - 1), ("a", 0), ("a", -7), ("b", NON_FINITE), ("instrument", instruments), ("kind", 9),
        ("event_ns", 0), ("event_ns", 1 << 62), ("a", 1 << 42), ("instrument", (1 << 32) - 1), ("event_ns", -1),
    ][rng.integers(11)]  # fmt: skip
    tick[field] = value
    if tick["kind"] == TRADE and field == "b":
        tick[field] = -1


def random_defaults(rng: np.random.Generator, unit_ns: int) -> np.ndarray:
    """Return the configured stops."""
    defaults = default_terms(
        static_ppm=int(rng.choice([20_000, 5_000, 1_000])),
        trailing_ppm=int(rng.choice([0, 5_000, 1_000])),
        atr_ppm=int(rng.choice([0, 0, 1_000_000, 10_000_000])),
        holding_ns=int(rng.choice([0, 0, 200_000, 600_000])) * unit_ns,
        take_profit_ppm=int(rng.choice([0, 0, 1_000, 10_000])),
        activation_ppm=int(rng.choice([0, 0, 500, 2_000])),
        breakeven_ppm=int(rng.choice([0, 0, 500, 2_000])),
    )
    defaults["watch"] = rng.choice([0, 0, LAST, MID])
    defaults["limit_ticks"] = rng.choice([0, 0, 0, 2, 40])
    defaults["escalate_ms"] = rng.choice([1, 20, 300])
    return defaults


def random_limit_rows(rng: np.random.Generator, sizes: topology.Sizes, lot_units: int) -> np.ndarray:
    """Return the limits of every scope: no order is larger than ORDER_LOTS_MAX, and now and then something else is limited."""
    rows = free_limits(sizes.scope_count)
    rows["max_order_quantity"][topology.ACCOUNT] = ORDER_LOTS_MAX * lot_units
    if rng.random() < 0.15:
        rows["max_order_notional"][topology.scope_of_instrument(sizes, 0)] = NOT_SET
    if rng.random() < 0.5:
        rows["max_position_notional"][topology.scope_of_instrument(sizes, 1)] = rng.choice([UNLIMITED, 4_000_000])
    return rows


def random_limits(rng: np.random.Generator, instruments: int, unit_ns: int) -> Limits:
    """Return settings of risk, and what stops are by themselves."""
    chosen = limits(instruments)._replace(defaults=random_defaults(rng, unit_ns))
    retry_ns = int(rng.choice([500, 1_000, 30_000])) * unit_ns
    enforces = int(rng.random() < 0.6)
    if not enforces and rng.random() < 0.3:
        chosen = chosen._replace(defaults=chosen.defaults[:0])
    return chosen._replace(
        **account_settings(rng, instruments, unit_ns),
        retry_ns=retry_ns,
        retry_ns_max=8 * retry_ns,
        enforces=enforces,
        min_stop_ppm=int(rng.choice([1, 500])),
        max_stop_ppm=int(rng.choice([999_999, 300_000])),
        fallback_ppm=int(rng.choice([2_000, 20_000])),
        atr_ppm=int(rng.choice([500_000, 3_000_000])),
        atr_period=int(rng.integers(1, 4)),
        bar_ns=int(rng.choice([5_000, 20_000, 100_000])) * unit_ns,
        atr_source=int(rng.choice([LAST, MID])),
        escalate_ms=int(rng.choice([1, 20, 300])),
        stale_ns=int(rng.choice([1 << 40, 150_000, 400_000])) * unit_ns,
        flattens=int(rng.random() < 0.4),
    )


def random_rig(rng: np.random.Generator) -> tuple[GatewayRig, int]:
    """Return an instance of random sizes and limits, with its feed; and the unit of its times in ns."""
    instruments = int(rng.integers(2, 5))
    small = [int(2 ** rng.integers(low, high)) for low, high in ((2, 7), (2, 5), (4, 7), (3, 7))]
    # Rows for more orders than the venue lets work: it is the venue that refuses.
    sizes = topology.Sizes(
        instruments=instruments, strategies=2, ticks=small[0], requests=small[1], orders=small[2], reports=small[3],
        events=int(rng.choice([512, 1024])), stops=int(rng.choice([32, 64, 128])), working_orders=128,
        venue_orders=int(2 ** rng.integers(1, 7)), series=instruments + int(rng.choice([1, 8])),
    )  # fmt: skip
    unit_ns = int(rng.choice(UNITS_NS))
    chosen = random_limits(rng, instruments, unit_ns)
    count = int(rng.integers(TICKS_MAX // 4, TICKS_MAX))
    latency_ns = int(rng.choice([0, 1_000, 20_000, 200_000])) * unit_ns
    feed, live = random_feed(rng, instruments, count, unit_ns), bool(rng.random() < 0.5)
    # Numbers that skip make gaps of nearly all trades.
    max_jump_ppm, numbered = int(rng.choice([0, 10_000, 30_000])), bool(rng.random() < 0.25)
    rows = random_limit_rows(rng, sizes, int(chosen.lot_units.max()))
    add_limits(rng, rows, chosen, unit_ns)
    rig = GatewayRig(
        feed, sizes, chosen, live, latency_ns, max_jump_ppm=max_jump_ppm, numbered=numbered, limit_rows=rows, rng=rng,
        faults=float(rng.choice([0.0, 0.1, 0.4])), fee_max=int(rng.choice([0, 1_000])),
        blackouts=random_blackouts(rng, instruments, feed),
    )  # fmt: skip
    restrict(rng, rig)
    return rig, unit_ns


def random_blackouts(rng: np.random.Generator, instruments: int, feed: np.ndarray) -> list[np.ndarray]:
    """Return of each instrument when it must not be traded: mostly never, now and then for a part of the feed."""
    if rng.random() < 0.7:
        return []
    times = np.sort(feed["event_ns"][(feed["event_ns"] > 0) & (feed["event_ns"] < 1 << 61)])
    first, end = sorted(rng.integers(len(times), size=2).tolist())
    none = np.zeros((0, 2), np.int64)
    span = np.array([[times[first], times[end] + 1]], np.int64)
    return [span if rng.random() < 0.5 else none for _ in range(instruments)]


def restrict(rng: np.random.Generator, rig: RecordingRig) -> None:
    """Restrict an instrument, now and then: nothing may be ordered in it."""
    if rng.random() < 0.1:
        scope = topology.scope_of_instrument(rig.sizes, int(rng.integers(rig.sizes.instruments)))
        rig.risk.scopes.words[scope * SCOPE_WORDS + SCOPE_RESTRICTED] = 1
        # The record begins here.
        rig.turns.clear()


# ── Requests ──


def random_order(rng: np.random.Generator, rig: RecordingRig) -> dict[str, int]:
    """Return the fields of a request for an order, sensible or not."""
    sent = committed(rig.risk.positions)
    sent = sent[sent["last_order_lots"] != 0]
    if len(sent) and rng.random() < 0.1:
        return same_order(rng.choice(sent))
    if current_positions(rig).any() and rng.random() < 0.2:
        return leaving_order(rng, rig)
    instrument, side = int(rng.integers(rig.sizes.instruments)), int(rng.choice([BUY, SELL]))
    lots, kind, order_type = int(rng.integers(1, ORDER_LOTS_MAX)), SUBMIT, MARKET
    if rng.random() < 0.3:
        # The same size again and again, and sizes of what is held.
        held = np.abs(current_positions(rig))
        lots = int(rng.choice([100, 200, *held[held > 0]]))
    oddity = rng.random()
    if oddity < 0.02:
        instrument = int(rng.choice([rig.sizes.instruments, (1 << 32) - 1]))
    elif oddity < 0.06:
        lots = int(rng.choice([0, -5, ORDER_LOTS_MAX + 1, 1 << 40, 1 << 62]))
    elif oddity < 0.08:
        side = int(rng.choice([0, 7, -(1 << 62)]))
    elif oddity < 0.1:
        kind, order_type = int(rng.choice([SUBMIT, 0, 9, CANCEL_ORDER])), LIMIT
    fields = {"instrument": instrument, "side": side, "quantity_lots": lots, "kind": kind, "order_type": order_type}
    return fields | (limit_fields(rng, rig, instrument, side) if rng.random() < 0.4 else {})


def same_order(position: Any) -> dict[str, int]:
    """Return the fields of the order that was sent last for a position."""
    lots, price = int(position["last_order_lots"]), int(position["last_order_ticks"])
    return {
        "kind": SUBMIT, "instrument": int(position["instrument"]), "side": BUY if lots > 0 else SELL,
        "quantity_lots": abs(lots), "order_type": LIMIT if price else MARKET, "price_ticks": price,
    }  # fmt: skip


def leaving_order(rng: np.random.Generator, rig: RecordingRig) -> dict[str, int]:
    """Return the fields of an order against a position: for a part of it, all of it, or a lot more than that."""
    positions = current_positions(rig)
    row = int(rng.choice(np.flatnonzero(positions)))
    held, side = abs(int(positions[row])), BUY if positions[row] < 0 else SELL
    fields = {
        "kind": SUBMIT, "instrument": row % rig.sizes.instruments, "side": side, "order_type": MARKET,
        "quantity_lots": int(rng.choice([(held + 1) // 2, held, held + 1])),
    }  # fmt: skip
    return fields | (limit_fields(rng, rig, fields["instrument"], side) if rng.random() < 0.4 else {})


def random_new_stop(rng: np.random.Generator, rig: RecordingRig, strategy: int) -> dict[str, int]:
    """Return the fields of a request for a stop: of any kind, near the price, on either side of it; sensible or not."""
    instrument = random_holding(rng, rig, strategy)
    # Two of the same, so that more of it fires: it takes the longest to get near the price.
    kind, watch = int(rng.choice([*KINDS, CHANDELIER])), int(rng.choice([0, 0, LAST, MID]))
    mark = rig.risk.marks[instrument]
    quantity = int(current_positions(rig)[strategy * rig.sizes.instruments + instrument])
    side = 1 if quantity >= 0 else -1
    away = int(rng.choice([1, 5, 40, 200])) * (-1 if rng.random() < 0.1 else 1)
    middle = int(mark["bid_ticks"] or mark["last_ticks"] or 10_000)
    price = max(1, (middle + side * (away if kind == TAKE_PROFIT else -away)) * (2 if watch == MID else 1))
    fields = {"kind": SET_STOP, "instrument": instrument, "strategy": strategy, "stop_kind": kind, "watch": watch}
    fields["flags"] = FIRE_NOW if rng.random() < 0.3 else 0
    percent_ppm, by_price = int(rng.choice([500, 2_000, 10_000, 50_000])), rng.random() < 0.5
    if kind in (STATIC, TAKE_PROFIT):
        fields |= {"price_ticks": price} if by_price else {"percent_ppm": percent_ppm}
    elif kind == TRAILING:
        fields |= {"offset_ticks": abs(away)} if by_price else {"percent_ppm": percent_ppm}
        fields |= {"price_ticks": price} if rng.random() < 0.3 else {}
    elif kind in (ATR, CHANDELIER):
        fields |= {"percent_ppm": percent_ppm} if by_price else {}
        fields |= {"atr_ppm": int(rng.choice([0, 100_000, 400_000, 2_000_000])), "atr_period": int(rng.choice([0, 1, 2]))}
        fields |= {"bar_seconds": int(rng.choice([0, 0, 1, 2]))}
    else:
        fields["holding_ns"] = max(1, int(rng.choice([20_000, 200_000, 1_000_000]) * rig.limits.bar_ns // 20_000))
    for name, ppms in MODIFIERS:
        if rng.random() < 0.25 and (name, kind) != ("breakeven_ppm", TAKE_PROFIT):
            fields[name] = int(rng.choice(ppms))
    if rng.random() < 0.35:
        fields |= {"limit_ticks": int(rng.choice([1, 10, 300])), "escalate_ms": int(rng.choice([0, 1, 50]))}
    return fields | odd_fields(rng, 0.1)


def odd_fields(rng: np.random.Generator, share: float) -> dict[str, int]:
    """Return, for a share of the requests, a term that makes no sense, or may make none."""
    if rng.random() >= share:
        return {}
    name, value = [
        ("stop_kind", 0), ("stop_kind", 7), ("stop_kind", 255), ("watch", 3), ("price_ticks", -5), ("price_ticks", 1 << 62),
        ("price_ticks", (1 << 63) - 1), ("offset_ticks", -1), ("offset_ticks", (1 << 63) - 1), ("holding_ns", 0),
        ("holding_ns", -1), ("holding_ns", (1 << 63) - 1), ("percent_ppm", PPM), ("percent_ppm", (1 << 32) - 1),
        ("activation_ppm", PPM), ("breakeven_ppm", 5), ("fraction_ppm", PPM + 1), ("limit_ticks", (1 << 32) - 1),
        ("atr_ppm", (1 << 32) - 1), ("atr_period", (1 << 32) - 1), ("bar_seconds", (1 << 32) - 1), ("strategy", 7),
        ("instrument", (1 << 32) - 1), ("escalate_ms", (1 << 32) - 1), ("percent_ppm", 100), ("price_ticks", 10_000),
    ][rng.integers(26)]  # fmt: skip
    return {name: value}


def random_change(rng: np.random.Generator, rig: RecordingRig, kind: int) -> dict[str, int]:
    """Return the fields of a request that moves or cancels a stop: one that is there, was there, or never was."""
    armed, oddity = armed_stops(rig), rng.random()
    if oddity < 0.05:
        return {"kind": kind, "instrument": int(rng.integers(rig.sizes.instruments)), "stop_id": int(rng.integers(-1, 50))}
    if len(armed) == 0 or oddity < 0.15:
        # Slots keep the terms of stops that have ended.
        armed = rig.risk.book.terms
    terms = rng.choice(armed)
    instrument, watch, side = (int(terms[name]) for name in ("instrument", "watch", "side"))
    strategy = int(terms["position"]) // rig.sizes.instruments
    fields = {"kind": kind, "instrument": instrument, "strategy": strategy, "stop_id": int(terms["stop_id"])}
    if kind == CANCEL_STOP:
        return fields | ({"stop_id": 1 << 62} if rng.random() < 0.05 else {})
    fields["flags"] = FIRE_NOW if rng.random() < 0.3 else 0
    way = rng.random()
    if way < 0.5:
        mark = rig.risk.marks[instrument]
        away = int(rng.choice([1, 5, 40])) * (-side if terms["kind"] != TAKE_PROFIT else side)
        price = int(mark["bid_ticks"] or 10_000) + away * (-1 if rng.random() < 0.1 else 1)
        fields["price_ticks"] = max(1, price) * (2 if watch == MID else 1)
    elif way < 0.9 or terms["kind"] != TRAILING:
        fields["percent_ppm"] = int(rng.choice([400, 1_500, 30_000]))
    else:
        fields["offset_ticks"] = int(rng.choice([1, 20, 100]))
    return fields | odd_fields(rng, 0.05)


def random_holding(rng: np.random.Generator, rig: RecordingRig, strategy: int) -> int:
    """Return an instrument, mostly one that the strategy holds."""
    held = np.flatnonzero(current_positions(rig).reshape(rig.sizes.strategies, rig.sizes.instruments)[strategy])
    if len(held) == 0 or rng.random() < 0.05:
        return int(rng.integers(rig.sizes.instruments))
    return int(rng.choice(held))


def armed_stops(rig: RecordingRig) -> np.ndarray:
    """Return the STOP_TERMS of the stops that are armed; without a store at which a kill would come."""
    table: Any = rig.risk.book.table
    state = table.copies["state"][2 * np.arange(len(table.commits)) + (table.commits & 1)]
    return rig.risk.book.terms[np.flatnonzero(state == ARMED)]


def current_positions(rig: RecordingRig) -> np.ndarray:
    """Return the lots of every position, by risk's table; without a store at which a kill would come."""
    table: Any = rig.risk.positions
    rows = 2 * np.arange(len(table.commits)) + (table.commits & 1)
    return np.ascontiguousarray(table.copies["quantity_lots"][rows])
