"""What does the full pre-trade check of one order cost, with a thousand instruments and every limit set?

    topology   one process, one core: requests in an array  ==>  pipeline.risk.checks.check_order, its tables in a segment

The orders are of instruments at random, market and limit orders, and all of them pass, so that every check is made. What is
held is walked over each time: 1, 8 and 64 positions. A thousand instruments do not fit a near cache, so there is a row with
orders of a few of them as well. Beside it, in turns within the same run, a loop that only reads the same requests, and the
same checks in plain Python.
"""

import time
from collections.abc import Callable
from functools import partial

import numpy as np

from bench.check_objects import Holding, Market, PlainChecker, Scope
from bench.harness import Pinned, Ratio, Result, Row, Settings, choose_cores, clock_cost_ns, in_turns
from bench.steal import Disturbance
from pipeline import topology
from pipeline.messages import BUY, LIMIT, MARKET, REASON_NONE, REQUEST, SELL, SUBMIT
from pipeline.risk.checks import check_order
from pipeline.risk.guard import open_guard
from pipeline.risk.held import restore
from pipeline.risk.limits import Limits, write_limits
from pipeline.tables import LIMIT_NAMES, LIMITS
from shm.atomics import monotonic_ns
from shm.jit import njit
from shm.segment import open_private

PRICE_TICKS, SPREAD_TICKS, LOTS_MAX, HELD_LOTS = 10_000, 2, 20, 50
VALUE_UNITS, LOT_UNITS, BALANCE_UNITS, ATR_TICKS = 10_000, 1, 10**15, 25
NOW_NS, STALE_NS, PERIOD = 10**15, 10**10, 14
STRATEGIES, BLOB_BYTES, SEED = 2, 1024, 20_261_124
#: So many checks between two looks at the clock.
BATCH = 16
HELD_COUNTS = (1, 8, 64)
FEW_TRADED = 16
P50_NS_MAX = 100.0
#: Every limit is set, and above what any of these orders comes to. In the units of each limit.
LIMIT_VALUES = {
    "min_order_quantity": 1, "max_order_quantity": 10**6, "min_order_notional": 1, "max_order_notional": 10**12,
    "price_collar_percent": 50_000, "max_position_quantity": 10**7, "max_position_notional": 10**14,
    "max_open_positions": 1_000, "max_concentration_percent": 500_000, "max_gross_exposure": 10**15, "max_net_exposure": 10**15,
    "max_leverage": 4_000_000,
    "max_daily_loss": 10**12, "max_weekly_loss": 10**12, "max_drawdown": 10**12, "max_consecutive_losses": 10,
    "max_trades_per_day": 10**6, "max_reject_percent": 500_000, "max_orders_per_second": 100, "duplicate_window_ms": 10**6,
    "max_executions": 10**6, "max_volatility_percent": 50_000,
}  # fmt: skip


@njit
def check_batches(guard, strategies, requests, times_ns):
    """Check all requests, and note how long each batch of them took.

    Returns:
        How many were refused.
    """
    refused = 0
    for batch in range(times_ns.shape[0]):
        start_ns = monotonic_ns()
        for k in range(batch * BATCH, (batch + 1) * BATCH):
            request = requests[k]
            reason = check_order(guard, 0, strategies[k], np.int64(request["instrument"]), request)
            refused += 1 if reason != REASON_NONE else 0
        times_ns[batch] = monotonic_ns() - start_ns
    return refused


@njit
def read_batches(requests, times_ns):
    """Read what the check reads of each request, and note how long each batch took; returns a sum, so that none is left out."""
    total = 0
    for batch in range(times_ns.shape[0]):
        start_ns = monotonic_ns()
        for k in range(batch * BATCH, (batch + 1) * BATCH):
            request = requests[k]
            total += request["side"] * request["quantity_lots"] + request["price_ticks"] + np.int64(request["instrument"])
        times_ns[batch] = monotonic_ns() - start_ns
    return total


class Account:
    """An account with limits, held positions and orders, for the kernel and for plain Python."""

    def __init__(self, instruments: int, held_count: int, order_count: int, traded: int) -> None:
        self.random = np.random.default_rng(SEED)
        sizes = topology.Sizes(instruments, STRATEGIES, 16, 16, 16, 16, 16, 16, 16, 16, series=instruments)
        each = np.ones(instruments, np.int64)
        settings = Limits(each * VALUE_UNITS, each * LOT_UNITS, balance_units=BALANCE_UNITS, stale_ns=STALE_NS)
        segment = open_private(topology.regions(sizes, BLOB_BYTES))
        self.guard = guard = open_guard(segment, sizes, settings)
        limit_rows = np.zeros(sizes.scope_count, LIMITS)
        for name in LIMIT_NAMES:
            limit_rows[name] = LIMIT_VALUES[name]
        write_limits(segment, limit_rows)
        guard.words[topology.RISK_NOW_NS] = NOW_NS
        bids = self.random.integers(PRICE_TICKS // 2, PRICE_TICKS, instruments)
        guard.marks["bid_ticks"], guard.marks["ask_ticks"], guard.marks["last_ticks"] = bids, bids + SPREAD_TICKS, bids
        guard.marks["quote_ns"] = guard.marks["trade_ns"] = NOW_NS
        guard.series.copies["period"], guard.series.copies["bar_count"], guard.series.copies["atr"] = (
            PERIOD,
            PERIOD,
            2.0 * ATR_TICKS,
        )
        rows = self.random.choice(STRATEGIES * instruments, held_count, replace=False)
        positions = guard.positions.copies[2 * rows]
        positions["quantity_lots"] = HELD_LOTS * self.random.choice([BUY, SELL], held_count)
        positions["cost_tick_lots"] = positions["quantity_lots"] * bids[rows % instruments]
        guard.positions.copies[2 * rows] = positions
        restore(guard.held, guard.positions)
        self.requests = self._draw_requests(order_count, bids, traded)
        self.strategies = self.random.integers(0, STRATEGIES, order_count)
        self.times_ns = np.zeros(order_count // BATCH, np.int64)
        self.plain = self._make_plain(bids)

    def _draw_requests(self, count: int, bids: np.ndarray, traded: int) -> np.ndarray:
        requests = np.zeros(count, REQUEST)
        requests["kind"], requests["instrument"] = SUBMIT, self.random.integers(0, traded, count)
        requests["side"], requests["quantity_lots"] = (
            self.random.choice([BUY, SELL], count),
            self.random.integers(1, LOTS_MAX, count),
        )
        limited = self.random.random(count) < 0.5
        requests["order_type"] = np.where(limited, LIMIT, MARKET)
        requests["price_ticks"] = np.where(limited, bids[requests["instrument"]], 0)
        return requests

    def _make_plain(self, bids: np.ndarray) -> PlainChecker:
        """Return the same account as plain Python objects."""
        markets = [Market(bid, bid + SPREAD_TICKS, bid, NOW_NS, VALUE_UNITS, LOT_UNITS, ATR_TICKS) for bid in bids.tolist()]
        settings = self.guard.limits
        usable = settings.rate_burst * (1 - settings.rate_reserve_ppm / 1_000_000)
        plain = PlainChecker(markets, BALANCE_UNITS, STALE_NS, usable)
        plain.account = Scope(LIMIT_VALUES)
        plain.strategies = [Scope(LIMIT_VALUES) for _ in range(STRATEGIES)]
        plain.instruments = [Scope(LIMIT_VALUES) for _ in markets]
        for place in range(int(self.guard.held.count[0])):
            row = int(self.guard.held.rows[place])
            position, instrument = self.guard.positions.copies[2 * row], row % len(markets)
            plain.holdings[row // len(markets), instrument] = Holding(
                instrument, int(position["quantity_lots"]), int(position["cost_tick_lots"])
            )
        return plain

    def time_checks(self) -> float:
        """Return the median ns per check over the batches."""
        refused = check_batches(self.guard, self.strategies, self.requests, self.times_ns)
        assert refused == 0, "an order that is refused takes less than the full check"
        return float(np.median(self.times_ns)) / BATCH

    def time_reading(self) -> float:
        """Return the median ns per request of reading it."""
        read_batches(self.requests, self.times_ns)
        return float(np.median(self.times_ns)) / BATCH

    def time_plain(self, count: int) -> float:
        """Return the mean ns per check of plain Python, on the first orders."""
        fields = [self.requests[name][:count].tolist() for name in ("instrument", "side", "quantity_lots", "price_ticks")]
        orders = list(zip(self.strategies[:count].tolist(), *fields, [NOW_NS] * count, strict=True))
        check = self.plain.check
        start_ns = time.perf_counter_ns()
        refused = [reason for order in orders if (reason := check(*order))]
        elapsed_ns = time.perf_counter_ns() - start_ns
        assert refused == [], "plain Python must say what the kernel says"
        return elapsed_ns / count


def run(settings: Settings) -> Result:
    """Measure the check with few and many held positions, beside reading alone and plain Python."""
    cores = choose_cores(1)
    instruments, order_count, turns = settings.pick(1_000, 100), settings.pick(4_096, 256), settings.pick(31, 2)
    plain_count = settings.pick(1_024, 64)
    result = Result(
        "checks",
        f"one process on one core, {instruments:,} instruments",
        "ns per check of one order, every limit set",
        cores=cores,
    )
    with Disturbance(cores) as disturbance, Pinned(cores[0]):
        accounts = {count: Account(instruments, count, order_count, instruments) for count in HELD_COUNTS}
        few = Account(instruments, 8, order_count, FEW_TRADED)
        measures: dict[str, Callable[[], float]] = {f"{count} held": account.time_checks for count, account in accounts.items()}
        measures[f"8 held, orders of {FEW_TRADED} instruments"] = few.time_checks
        measures["8 held, plain Python"] = partial(accounts[8].time_plain, plain_count)
        measures["reading alone"] = accounts[8].time_reading
        for measure in measures.values():
            measure()
        times = dict(zip(measures, in_turns(list(measures.values()), turns), strict=True))
        clock_ns = clock_cost_ns() / BATCH
    for what, values in times.items():
        p50, best = float(np.median(values)), min(values)
        if what != "8 held, plain Python":
            # Each batch has been looked at by one reading of the clock.
            p50, best = p50 - clock_ns, best - clock_ns
        result.rows.append(Row(what, {"p50_ns": round(p50, 2), "best_ns": round(best, 2)}))
    found = {row.what: row.values["p50_ns"] for row in result.rows}
    result.ratios = [
        Ratio("8 held, p50 ns", found["8 held"], at_most=P50_NS_MAX),
        Ratio("plain Python / kernel, 8 held", round(found["8 held, plain Python"] / found["8 held"], 1)),
        Ratio("64 held / 8 held", round(found["64 held"] / found["8 held"], 2)),
    ]
    result.steal_percent, result.preemption_count = disturbance.steal_percent, disturbance.preemption_count
    return result
