"""What a seed of the simulation draws about the account: limits of every kind, the breaker, what is asked of scopes and orders.

Amounts are drawn around what an account of this market comes to: an order of 200 lots at 10,000 is two millions of tick-lots.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from pipeline import topology
from pipeline.messages import (
    ACTIVE,
    AND_FLATTEN,
    BUY,
    CANCEL_ALL,
    CANCEL_ORDER,
    FLATTEN,
    HALTED,
    KILLED,
    LIMIT,
    REDUCING,
    SET_LIMIT,
    SET_STATE,
)
from pipeline.order_ids import entry_order_id, exit_order_id
from pipeline.risk.limits import NOT_SET, UNLIMITED, Limits
from pipeline.tables import LIMIT_NAMES, SCOPE_STATE, SCOPE_WORDS
from tests.recorder import RecordingRig, committed

PPM = 10**6
#: Money of a middling order, in tick-lots.
MONEY = 2_000_000
#: How far a limit order lies from the market, in ticks: within it, at it, near, far.
AWAY_TICKS = (-20, 0, 1, 10, 100, 3_000)
#: Of each limit, how one is drawn: from the generator, the time unit of the market, and what money and quantities count in.
DRAWS: dict[str, Callable[[np.random.Generator, int, int], int]] = {
    "min_order_quantity": lambda rng, unit_ns, units: int(rng.integers(1, 50)),
    "max_order_quantity": lambda rng, unit_ns, units: int(rng.integers(100, 2_000)),
    "min_order_notional": lambda rng, unit_ns, units: int(rng.integers(1, MONEY // 4)) * units,
    "max_order_notional": lambda rng, unit_ns, units: int(rng.integers(MONEY // 2, 3 * MONEY)) * units,
    "price_collar_percent": lambda rng, unit_ns, units: int(rng.choice([0, 200, 5_000, 50_000])),
    "max_position_quantity": lambda rng, unit_ns, units: int(rng.integers(100, 3_000)),
    "max_position_notional": lambda rng, unit_ns, units: int(rng.integers(MONEY, 6 * MONEY)) * units,
    "max_open_positions": lambda rng, unit_ns, units: int(rng.integers(0, 6)),
    "max_concentration_percent": lambda rng, unit_ns, units: int(rng.integers(10_000, PPM)),
    "max_gross_exposure": lambda rng, unit_ns, units: int(rng.integers(MONEY, 20 * MONEY)) * units,
    "max_net_exposure": lambda rng, unit_ns, units: int(rng.integers(MONEY, 10 * MONEY)) * units,
    "max_leverage": lambda rng, unit_ns, units: int(rng.choice([100_000, PPM, 3 * PPM])),
    "max_daily_loss": lambda rng, unit_ns, units: int(rng.integers(0, MONEY // 50)) * units,
    "max_weekly_loss": lambda rng, unit_ns, units: int(rng.integers(0, MONEY // 50)) * units,
    "max_drawdown": lambda rng, unit_ns, units: int(rng.integers(0, MONEY // 50)) * units,
    "max_consecutive_losses": lambda rng, unit_ns, units: int(rng.integers(1, 5)),
    "max_trades_per_day": lambda rng, unit_ns, units: int(rng.integers(1, 15)),
    "max_reject_percent": lambda rng, unit_ns, units: int(rng.choice([0, 100_000, 600_000])),
    "max_orders_per_second": lambda rng, unit_ns, units: int(rng.choice([0, 1, 100, 10_000, 10**6])),
    "duplicate_window_ms": lambda rng, unit_ns, units: int(rng.choice([0, 50_000, 500_000])) * unit_ns,
    "max_executions": lambda rng, unit_ns, units: int(rng.integers(0, 12)),
    "max_volatility_percent": lambda rng, unit_ns, units: int(rng.choice([0, 300, 5_000])),
}
#: What the breaker looks at.
BREAKER_LIMITS = (
    "max_daily_loss", "max_weekly_loss", "max_drawdown", "max_consecutive_losses", "max_trades_per_day", "max_reject_percent",
)  # fmt: skip
assert tuple(DRAWS) == LIMIT_NAMES, "every limit is drawn"


def draw_limit(rng: np.random.Generator, name: str, settings: Limits, unit_ns: int) -> int:
    """Return a value of a limit, in its unit."""
    return DRAWS[name](rng, unit_ns, int(settings.value_units.max()))


def add_limits(rng: np.random.Generator, limit_rows: np.ndarray, settings: Limits, unit_ns: int) -> None:
    """Limit some things in some scopes: in some lives nothing, in most a few, in some nearly all."""
    if rng.random() < 0.3:
        # A life in which the breaker trips.
        for scope in range(3):
            for name in BREAKER_LIMITS:
                if rng.random() < 0.4:
                    limit_rows[name][scope] = draw_limit(rng, name, settings, unit_ns)
    share = float(rng.choice([0.0, 0.03, 0.1, 0.3], p=[0.35, 0.45, 0.15, 0.05]))
    for scope in range(len(limit_rows)):
        for name in LIMIT_NAMES:
            if rng.random() < share:
                limit_rows[name][scope] = draw_limit(rng, name, settings, unit_ns)


def account_settings(rng: np.random.Generator, instruments: int, unit_ns: int) -> dict[str, Any]:
    """Return the fields of Limits that are about the account."""
    return {
        "value_units": rng.choice([1, 3, 25], instruments).astype(np.int64),
        "lot_units": rng.choice([1, 1, 5], instruments).astype(np.int64),
        "balance_units": int(rng.choice([0, 50 * MONEY, 10**12])),
        # A day ends in the midst of it, or does not.
        "day_start_ns": int(rng.choice([0, 1_300_000])) * unit_ns,
        "review_ns": int(rng.choice([0, 5_000, 40_000])) * unit_ns,
        "breaker_state": int(rng.choice([REDUCING, HALTED])),
        "cooldown_ns": int(rng.choice([0, 50_000, 400_000])) * unit_ns,
        "auto_resumes": int(rng.integers(2)),
        "reject_window_ns": int(rng.choice([100_000, 1_000_000])) * unit_ns,
        "reject_orders_min": int(rng.integers(1, 8)),
        "rate_burst": int(rng.choice([1, 4])),
        "rate_reserve_ppm": int(rng.choice([0, 300_000, PPM])),
    }


def limit_fields(rng: np.random.Generator, rig: RecordingRig, instrument: int, side: int) -> dict[str, int]:
    """Return the fields by which an order becomes a limit order: within the market, at it, near it or far from it."""
    mark = rig.risk.marks[min(instrument, rig.sizes.instruments - 1)]
    middle = int(mark["ask_ticks"] if side == BUY else mark["bid_ticks"]) or int(mark["last_ticks"]) or 10_000
    price = middle - (1 if side == BUY else -1) * int(rng.choice(AWAY_TICKS))
    if rng.random() < 0.03:
        price = int(rng.choice([0, -1, 1 << 42, (1 << 63) - 1]))
    return {"order_type": LIMIT, "price_ticks": max(price, 1) if price > 0 else price}


def random_cancel(rng: np.random.Generator, rig: RecordingRig, strategy: int) -> dict[str, int]:
    """Return the fields of a request that takes an order back: mostly one that works, whosever it is; or one that never did."""
    works = committed(rig.risk.sent.table)
    works = works[works["order_id"] != 0]
    oddity = rng.random()
    if len(works) == 0 or oddity < 0.1:
        order_id = int(rng.choice([entry_order_id(strategy, int(rng.integers(30))), exit_order_id(1, 1), 0, -1, (1 << 63) - 1]))
    else:
        order_id = int(rng.choice(works["order_id"]))
    return {"kind": CANCEL_ORDER, "strategy": strategy, "value": order_id}


def random_scope(rng: np.random.Generator, rig: RecordingRig, requester: int) -> int:
    """Return a scope: mostly one of which the requester may ask something."""
    sizes = rig.sizes
    if rng.random() < 0.05:
        return int(rng.choice([sizes.scope_count, (1 << 32) - 1]))
    if requester < sizes.strategies and rng.random() < 0.7:
        return topology.scope_of_strategy(requester)
    return int(rng.integers(sizes.scope_count))


def random_emptying(rng: np.random.Generator, rig: RecordingRig, requester: int) -> dict[str, int]:
    """Return the fields of a request that takes back all orders of a scope, or leaves its positions as well."""
    kind, scope = int(rng.choice([CANCEL_ALL, FLATTEN])), random_scope(rng, rig, requester)
    held = np.flatnonzero(committed(rig.risk.positions)["quantity_lots"])
    if kind == FLATTEN and requester == rig.sizes.strategies and len(held):
        # One in which there is something to leave.
        strategy, instrument = divmod(int(rng.choice(held)), rig.sizes.instruments)
        scopes = topology.ACCOUNT, topology.scope_of_strategy(strategy), topology.scope_of_instrument(rig.sizes, instrument)
        scope = int(rng.choice(scopes))
    return {"kind": kind, "scope": scope, "strategy": 0}


def random_state(rng: np.random.Generator, rig: RecordingRig, requester: int) -> dict[str, int]:
    """Return the fields of a request for a trading state: people mostly resume, so that life goes on."""
    is_person = requester == rig.sizes.strategies
    strict = np.flatnonzero(rig.risk.scopes.words.reshape(-1, SCOPE_WORDS)[:, SCOPE_STATE] != ACTIVE)
    if is_person and len(strict) and rng.random() < 0.8:
        return {"kind": SET_STATE, "scope": int(rng.choice(strict)), "value": ACTIVE, "strategy": 0}
    states = [ACTIVE, REDUCING, REDUCING, HALTED, KILLED]
    value = int(rng.choice(states)) if rng.random() < 0.95 else int(rng.choice([-1, 4, 1 << 40]))
    flags = AND_FLATTEN if rng.random() < 0.4 else 0
    return {"kind": SET_STATE, "scope": random_scope(rng, rig, requester), "value": value, "flags": flags, "strategy": 0}


def random_limit_change(rng: np.random.Generator, rig: RecordingRig, requester: int, unit_ns: int) -> dict[str, int]:
    """Return the fields of a request for another limit; it is mostly loosened again."""
    limit_id = int(rng.integers(len(LIMIT_NAMES)))
    value = UNLIMITED
    if rng.random() < 0.4:
        value = draw_limit(rng, LIMIT_NAMES[limit_id], rig.limits, unit_ns)
    elif rng.random() < 0.05:
        value, limit_id = int(rng.choice([NOT_SET, -100])), int(rng.choice([limit_id, 22, (1 << 32) - 1]))
    return {
        "kind": SET_LIMIT, "scope": random_scope(rng, rig, requester), "value": value, "limit_id": limit_id, "strategy": 0
    }  # fmt: skip
