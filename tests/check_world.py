"""An account as plain Python data: what the pre-trade check looks at, and how it is written into a guard's tables.

The twin (tests.check_twin) reads the same data, so that neither sees how the other keeps it.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from pipeline import tables, topology
from pipeline.messages import LIMIT, MARKET, REQUEST, SUBMIT
from pipeline.risk.guard import NEVER, Guard, open_guard
from pipeline.risk.held import restore
from pipeline.risk.limits import UNLIMITED, Limits, free_limits, write_limits
from shm import segment

STRATEGIES, INSTRUMENTS = 2, 3
SIZES = topology.Sizes(
    instruments=INSTRUMENTS, strategies=STRATEGIES, ticks=16, requests=16, orders=16, reports=16, events=16, stops=16,
    working_orders=16, venue_orders=16, series=INSTRUMENTS,
)  # fmt: skip
SECOND = 1_000_000_000
NOW_NS = 1_000 * SECOND


@dataclass
class Market:
    """Prices of one instrument in ticks, 0 = not known, and what its bars say, in half ticks."""

    bid: int = 0
    ask: int = 0
    last: int = 0
    quote_ns: int = NOW_NS
    trade_ns: int = NOW_NS
    atr: float = 0.0
    bar_count: int = 0
    seed_sum: int = 0
    open_bar: tuple[int, int] | None = None  #: (high, low)


@dataclass
class Holding:
    """A position and its working orders, in lots and ticks."""

    quantity: int = 0
    cost: int = 0
    working_buy: int = 0
    working_sell: int = 0
    exit_lots: int = 0
    entry: int = 0
    last_order_ns: int = 0
    last_order_lots: int = 0
    last_order_ticks: int = 0


@dataclass
class World:
    """Everything that decides over an order. Scopes: the account, then two strategies, then three instruments."""

    value_units: list[int] = field(default_factory=lambda: [1_000] * INSTRUMENTS)
    lot_units: list[int] = field(default_factory=lambda: [1] * INSTRUMENTS)
    balance: int = 10**12
    stale_ns: int = 10 * SECOND
    burst: int = 10
    reserve_ppm: int = 200_000
    now_ns: int = NOW_NS
    period: int = 14
    markets: list[Market] = field(default_factory=lambda: [Market(99, 101, 100) for _ in range(INSTRUMENTS)])
    holdings: dict[tuple[int, int], Holding] = field(default_factory=dict)
    limits: list[dict[str, int]] = field(
        default_factory=lambda: [dict.fromkeys(tables.LIMIT_NAMES, UNLIMITED) for _ in range(SIZES.scope_count)]
    )
    scopes: list[dict[int, int]] = field(default_factory=lambda: [{} for _ in range(SIZES.scope_count)])

    def settings(self) -> Limits:
        """Return them as kernels take them."""
        return Limits(
            value_units=np.array(self.value_units, np.int64),
            lot_units=np.array(self.lot_units, np.int64),
            balance_units=self.balance,
            stale_ns=self.stale_ns,
            rate_burst=self.burst,
            rate_reserve_ppm=self.reserve_ppm,
        )

    def holding(self, strategy: int, instrument: int) -> Holding:
        """Return a position, flat where there was none."""
        return self.holdings.setdefault((strategy, instrument), Holding())


def scope_name(scope: int) -> str:
    """Return the name of a scope, for the ids of tests."""
    if scope == topology.ACCOUNT:
        return "account"
    return f"strategy{scope - 1}" if scope <= STRATEGIES else f"instrument{scope - 1 - STRATEGIES}"


def scopes_of(strategy: int, instrument: int) -> tuple[int, int, int]:
    """Return the scopes of an order."""
    return topology.ACCOUNT, topology.scope_of_strategy(strategy), topology.scope_of_instrument(SIZES, instrument)


class Tables:
    """A guard on tables of its own, filled from worlds."""

    def __init__(self) -> None:
        self.segment = segment.open_private(topology.regions(SIZES, 1024))
        self.guard = open_guard(self.segment, SIZES, World().settings())

    def fill(self, world: World) -> Guard:
        """Write a world into the tables, committed.

        Returns:
            The guard on it.
        """
        guard = self.guard._replace(limits=world.settings())
        # Limits are written over here, and not by a commit.
        guard.complete[:] = NEVER
        guard.words[topology.RISK_NOW_NS] = world.now_ns
        rows = free_limits(SIZES.scope_count)
        for scope, limits in enumerate(world.limits):
            for name, value in limits.items():
                rows[name][scope] = value
        write_limits(self.segment, rows)
        guard.scopes[:] = 0
        for scope, words in enumerate(world.scopes):
            for word, value in words.items():
                guard.scopes[scope * tables.SCOPE_WORDS + word] = value
        for instrument, market in enumerate(world.markets):
            mark = guard.marks[instrument]
            mark["bid_ticks"], mark["ask_ticks"], mark["last_ticks"] = market.bid, market.ask, market.last
            mark["quote_ns"], mark["trade_ns"] = market.quote_ns, market.trade_ns
            self._fill_series(guard, instrument, market, world.period)
        self._fill_positions(guard, world)
        restore(guard.held, guard.positions)
        return guard

    def _fill_series(self, guard: Guard, instrument: int, market: Market, period: int) -> None:
        series, bar = guard.series.copies[2 * instrument], guard.bars[instrument]
        series["bar_ns"], series["period"], series["instrument"] = 60 * SECOND, period, instrument
        series["bar_count"], series["seed_sum"], series["atr"] = market.bar_count, market.seed_sum, market.atr
        bar["end_ns"] = 0 if market.open_bar is None else world_end(market)
        bar["high"], bar["low"] = market.open_bar or (0, 0)

    def _fill_positions(self, guard: Guard, world: World) -> None:
        guard.positions.copies[:] = np.zeros(1, tables.POSITION)
        for (strategy, instrument), holding in world.holdings.items():
            position = guard.positions.copies[2 * (strategy * INSTRUMENTS + instrument)]
            position["quantity_lots"], position["cost_tick_lots"] = holding.quantity, holding.cost
            position["working_buy_lots"], position["working_sell_lots"] = holding.working_buy, holding.working_sell
            position["exit_lots"], position["entry_ticks"] = holding.exit_lots, holding.entry
            position["last_order_ns"], position["last_order_lots"] = holding.last_order_ns, holding.last_order_lots
            position["last_order_ticks"] = holding.last_order_ticks
            position["strategy"], position["instrument"] = strategy, instrument


def world_end(market: Market) -> int:
    """Return an end of the open bar: any that is not 0 says that it has prices."""
    return market.quote_ns + SECOND


def order(side: int, lots: int, price: int = 0, kind: int = SUBMIT, order_type: int | None = None) -> np.ndarray:
    """Return one REQUEST, of a limit order where there is a price, else of a market order."""
    requests = np.zeros(1, REQUEST)
    requests["kind"], requests["side"], requests["quantity_lots"], requests["price_ticks"] = kind, side, lots, price
    requests["order_type"] = (LIMIT if price else MARKET) if order_type is None else order_type
    return requests
