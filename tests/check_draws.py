"""Random accounts and orders for the pre-trade check: limits lie near what orders come to, so that each check is met."""

from __future__ import annotations

import numpy as np

from pipeline import messages as m
from pipeline import tables as t
from pipeline.risk.limits import NOT_SET, UNLIMITED
from tests.check_twin import Order
from tests.check_world import INSTRUMENTS, NOW_NS, SECOND, SIZES, STRATEGIES, Holding, Market, World

LOTS_MAX, PRICE_MAX = 20, 200
#: How often a world has a trading state that is not ACTIVE, an old market, and so on.
SELDOM = 0.04
#: Limits that only the breaker looks at.
OF_BREAKER = ("max_consecutive_losses", "max_trades_per_day", "max_reject_percent")


def draw_world(rng: np.random.Generator) -> World:
    """Return an account with positions, prices, states and limits at random; the limits are all `UNLIMITED` yet."""
    world = World(
        value_units=rng.choice([1, 7, 10_000], INSTRUMENTS).tolist(),
        lot_units=rng.choice([1, 25], INSTRUMENTS).tolist(),
        balance=int(rng.choice([-(10**6), 10**5, 10**8, 10**10])),
        burst=int(rng.choice([1, 4, 10])),
        reserve_ppm=int(rng.choice([0, 200_000, 333_333])),
        markets=[draw_market(rng) for _ in range(INSTRUMENTS)],
    )
    for place in np.ndindex(STRATEGIES, INSTRUMENTS):
        if rng.random() < 0.6:
            world.holdings[place[0], place[1]] = draw_holding(rng)
    for words in world.scopes:
        draw_scope(rng, words)
    return world


def draw_market(rng: np.random.Generator) -> Market:
    """Return prices, some not known and some old, and an ATR in one of its three stages."""
    bid = int(rng.integers(1, PRICE_MAX))
    ask, last = bid + int(rng.integers(0, 4)), bid + int(rng.integers(-2, 4))
    known = (rng.random(3) > SELDOM) & (rng.random() > SELDOM)
    old_ns = rng.choice([0, 10 * SECOND, 10 * SECOND + 1], 2, p=[1 - 2 * SELDOM, SELDOM, SELDOM])
    if rng.random() < SELDOM:
        old_ns[:] = 10 * SECOND + 1
    return Market(
        bid * int(known[0]), ask * int(known[1]), max(last, 1) * int(known[2]),
        int(NOW_NS - old_ns[0]), int(NOW_NS - old_ns[1]),
        atr=float(rng.integers(0, 80)) / 2, bar_count=int(rng.choice([0, 3, 14, 15])), seed_sum=int(rng.integers(0, 60)),
        open_bar=None if rng.random() < 0.3 else (2 * bid + 9, 2 * bid),
    )  # fmt: skip


def draw_holding(rng: np.random.Generator) -> Holding:
    """Return a position, or only orders, or nothing that is left of it."""
    quantity = int(rng.integers(-LOTS_MAX, LOTS_MAX + 1)) * int(rng.random() < 0.8)
    entry = int(rng.integers(1, PRICE_MAX))
    working_buy, working_sell = (int(lots) for lots in rng.integers(0, 8, 2) * (rng.random(2) < 0.4))
    return Holding(
        quantity, quantity * entry + int(rng.integers(-3, 4)) * (quantity != 0), working_buy, working_sell,
        int(rng.random() < SELDOM), entry, int(NOW_NS - rng.choice([0, 500, 1_000])),
        int(rng.integers(-3, 4)), int(rng.choice([0, 100])),
    )  # fmt: skip


def draw_scope(rng: np.random.Generator, words: dict[int, int]) -> None:
    """Fill the words of a scope."""
    for word in (t.SCOPE_REALISED, t.SCOPE_DAY_PNL, t.SCOPE_WEEK_PNL):
        words[word] = int(rng.integers(-10_000, 10_000))
    words[t.SCOPE_PEAK] = int(rng.integers(0, 100_000))
    words[t.SCOPE_FEES] = int(rng.integers(0, 1_000))
    words[t.SCOPE_EXECUTIONS] = int(rng.integers(0, 5))
    words[t.SCOPE_RATE_NS] = NOW_NS + int(rng.integers(-2, 10)) * SECOND // 20
    if rng.random() < SELDOM / 2:
        words[t.SCOPE_STATE] = int(rng.integers(m.REDUCING, m.KILLED + 1))
    words[t.SCOPE_FLATTENS] = int(rng.random() < SELDOM / 2)
    words[t.SCOPE_RESTRICTED] = int(rng.random() < SELDOM)
    words[t.SCOPE_FORGIVEN] = int(rng.integers(0, 1 << 9)) * int(rng.random() < 0.2)


def draw_limits(rng: np.random.Generator, world: World) -> None:
    """Give a world limits, each near what orders in it come to, in one scope or another; sometimes one is not set."""
    worths = {name: sample(rng, world, name) for name in t.LIMIT_NAMES if name not in OF_BREAKER}
    for scope in range(SIZES.scope_count):
        for name, values in worths.items():
            if rng.random() < 0.1 and values:
                near = int(rng.choice(values)) if len(values) > 1 else values[0]
                is_least = name.startswith("min_")
                world.limits[scope][name] = max(int(near * rng.choice([0.5, 0.9, 1.0] if is_least else [1.0, 1.1, 2.0])), 0)
        if rng.random() < SELDOM / 4:
            world.limits[scope][str(rng.choice(t.LIMIT_NAMES))] = NOT_SET


def sample(rng: np.random.Generator, world: World, name: str) -> list[int]:
    """Return some values that orders in a world come to, in the unit of a limit."""
    if name == "duplicate_window_ms":
        return [500, 501, 1_000, 1_001]
    if name == "max_orders_per_second":
        return [5, 10, 20, 40]
    values = []
    trial = World(**{**world.__dict__, "limits": [dict.fromkeys(t.LIMIT_NAMES, UNLIMITED) for _ in world.limits]})
    for scope_limits in trial.limits:
        scope_limits[name] = 1 << 60 if name.startswith("min_") else 0
    for _ in range(3):
        strategy, instrument, request = draw_order(rng, world)
        trial_order = Order(trial, strategy, instrument, request[0])
        if trial_order.price > 0:
            values += [found[1] for found in trial_order.refusals(0) if found[4] == name]
    return [value for value in values if 0 <= value < 1 << 60]


def draw_order(rng: np.random.Generator, world: World) -> tuple[int, int, np.ndarray]:
    """Return strategy, instrument and one REQUEST; a few are no orders at all."""
    request = draw_requests(rng, world, 1)
    return int(rng.integers(STRATEGIES)), int(request["instrument"][0]), request


def draw_requests(rng: np.random.Generator, world: World, count: int) -> np.ndarray:
    """Return so many REQUESTs of instruments at random."""
    requests = np.zeros(count, m.REQUEST)
    requests["kind"], requests["instrument"] = m.SUBMIT, rng.integers(0, INSTRUMENTS, count)
    requests["side"], requests["quantity_lots"] = rng.choice([m.BUY, m.SELL], count), rng.integers(1, LOTS_MAX, count)
    requests["order_type"] = rng.choice([m.MARKET, m.LIMIT], count)
    bids = np.array([max(market.bid, 3) for market in world.markets])[requests["instrument"]]
    requests["price_ticks"] = np.where(requests["order_type"] == m.LIMIT, bids + rng.integers(-2, 9, count), 0)
    for name, values in (
        ("kind", [m.SET_STOP, 0]), ("side", [0, 2]), ("order_type", [0, 3]), ("price_ticks", [0, -1, m.PRICE_TICKS_LIMIT]),
        ("quantity_lots", [0, -1, m.QUANTITY_LOTS_LIMIT]),
    ):  # fmt: skip
        wrong = rng.random(count) < SELDOM / 8
        requests[name][wrong] = rng.choice(values, int(wrong.sum()))
    return requests
