"""The pre-trade check once more, slow and obvious: exact integers and fractions over plain data, one check after the other."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from fractions import Fraction
from math import ceil

import numpy as np

from pipeline import messages as m
from pipeline import tables as t
from pipeline.risk.limits import NOT_SET, UNLIMITED
from tests.check_world import Holding, Market, World, scopes_of

#: Reason, found value, its limit, whose, and the name of the limit; the last four are 0 and "" where they say nothing.
Verdict = tuple[int, int, int, int, str]
FINE: Verdict = (m.REASON_NONE, 0, 0, 0, "")
TOO_MUCH = 2**61
MILLION = 10**6


def exposure_price(market: Market, holding: Holding) -> int:
    """Ask, else last, else bid; where there is no market, the price of the entry."""
    return market.ask or market.last or market.bid or holding.entry


def worst_lots(holding: Holding) -> int:
    """The most lots that can come of it."""
    return max(abs(holding.quantity + holding.working_buy), abs(holding.quantity - holding.working_sell))


def unrealised(market: Market, holding: Holding) -> int:
    """In tick-lots, at the price at which it could be left."""
    price = (market.bid if holding.quantity > 0 else market.ask) or market.last
    return holding.quantity * price - holding.cost if price else 0


class Sums:
    """What the held positions of one scope come to."""

    def __init__(self, world: World, positions: Iterable[tuple[int, int]]) -> None:
        self.gross = self.bought = self.sold = self.unrealised = self.count = self.lots = 0
        for strategy, instrument in positions:
            holding = world.holdings.get((strategy, instrument), Holding())
            if not (holding.quantity or holding.working_buy or holding.working_sell):
                continue
            market, unit = world.markets[instrument], world.value_units[instrument]
            price = exposure_price(market, holding)
            self.count += 1
            self.lots += worst_lots(holding)
            self.gross += worst_lots(holding) * price * unit
            self.bought += (holding.quantity + holding.working_buy) * price * unit
            self.sold += (holding.quantity - holding.working_sell) * price * unit
            self.unrealised += unrealised(market, holding) * unit


def sums_of(world: World, strategy: int, instrument: int) -> tuple[Sums, Sums, Sums]:
    """Return the sums of the account, of a strategy and of an instrument."""
    every = list(world.holdings)
    return (
        Sums(world, every),
        Sums(world, [place for place in every if place[0] == strategy]),
        Sums(world, [place for place in every if place[1] == instrument]),
    )


class Order:
    """One order of a strategy in a world, with all that the checks ask."""

    def __init__(
        self, world: World, strategy: int, instrument: int, request: np.void, sums: tuple[Sums, Sums, Sums] | None = None
    ) -> None:
        self.world, self.instrument = world, instrument
        self.scopes = scopes_of(strategy, instrument)
        self.kind, self.type = int(request["kind"]), int(request["order_type"])
        self.side, self.lots, self.limit = (int(request[name]) for name in ("side", "quantity_lots", "price_ticks"))
        self.market, self.holding = world.markets[instrument], world.holdings.get((strategy, instrument), Holding())
        self.unit, self.lot_unit = world.value_units[instrument], world.lot_units[instrument]
        market, self.sums = self.market, sums or sums_of(world, strategy, instrument)
        self.price = (market.ask if self.side == m.BUY else market.bid) or market.last
        if self.type == m.LIMIT:
            self.price = self.limit if market.bid or market.ask or market.last else 0
        quantity = self.holding.quantity
        working = self.holding.working_sell if quantity > 0 else self.holding.working_buy
        self.reduces = quantity * self.side < 0 and self.lots <= abs(quantity) - working

    def word(self, scope: int, word: int) -> int:
        """A word of a scope."""
        return self.world.scopes[scope].get(word, 0)

    def profit(self, k: int) -> int:
        """P&L of the account, the strategy or the instrument."""
        scope = self.scopes[k]
        return self.word(scope, t.SCOPE_REALISED) - self.word(scope, t.SCOPE_FEES) + self.sums[k].unrealised

    def most(self, reason: int, name: str, values: Iterable[int]) -> Iterator[Verdict]:
        """Yield what passes an upper limit."""
        for scope, value in zip(self.scopes, values, strict=True):
            limit = self.world.limits[scope][name]
            if value >= TOO_MUCH:
                yield reason, TOO_MUCH, TOO_MUCH - 1 if limit == UNLIMITED else limit, scope, name
            elif limit != UNLIMITED and value > limit:
                yield reason, value, limit, scope, name

    def least(self, reason: int, name: str, value: int) -> Iterator[Verdict]:
        """Yield what falls short of a lower limit."""
        for scope in self.scopes:
            limit = self.world.limits[scope][name]
            if limit != UNLIMITED and value < limit:
                yield reason, min(value, TOO_MUCH), limit, scope, name

    def share(self, reason: int, name: str, values: Iterable[int], base: int) -> Iterator[Verdict]:
        """Yield what is more than a share of a base; nothing is a share of less than nothing."""
        for scope, value in zip(self.scopes, values, strict=True):
            limit = self.world.limits[scope][name]
            if limit != UNLIMITED and value * MILLION > limit * max(base, 0):
                yield reason, ceil(Fraction(value * MILLION, base)) if base > 0 else TOO_MUCH, limit, scope, name

    def refusals(self, calendar_reason: int) -> Iterator[Verdict]:
        """Yield all that there is against the order, the reason first."""
        if self.kind != m.SUBMIT or self.side not in (m.BUY, m.SELL):
            yield m.REJECT_BAD_REQUEST, 0, 0, 0, ""
        if self.type == m.LIMIT and not 0 < self.limit < m.PRICE_TICKS_LIMIT:
            yield m.REJECT_BAD_REQUEST, 0, 0, 0, ""
        if self.type not in (m.MARKET, m.LIMIT):
            yield m.REJECT_ORDER_TYPE, 0, 0, 0, ""
        if not 0 < self.lots < m.QUANTITY_LOTS_LIMIT:
            yield m.REJECT_QUANTITY, 0, 0, 0, ""
        if self.price <= 0:
            yield m.REJECT_NO_MARKET, 0, 0, 0, ""
        if self.holding.exit_lots:
            yield m.REJECT_EXIT_WORKING, 0, 0, 0, ""
        yield from self.states()
        yield from self.times(calendar_reason)
        yield from self.sizes()
        if not self.reduces:
            yield from self.exposures()
            yield from self.losses()
        yield from self.pace()

    def states(self) -> Iterator[Verdict]:
        """The strictest state of the three scopes."""
        states = [self.word(scope, t.SCOPE_STATE) for scope in self.scopes]
        strictest = max(states)
        whose = self.scopes[states.index(strictest)]
        if strictest == m.KILLED:
            yield m.REJECT_KILLED, strictest, 0, whose, ""
        if strictest == m.HALTED:
            yield m.REJECT_HALTED, strictest, 0, whose, ""
        if not self.reduces:
            for scope in self.scopes:
                if self.word(scope, t.SCOPE_FLATTENS):
                    yield m.REJECT_FLATTENING, strictest, 0, scope, ""
            if strictest == m.REDUCING:
                yield m.REJECT_REDUCING, strictest, 0, whose, ""

    def times(self, calendar_reason: int) -> Iterator[Verdict]:
        """Restricted, closed, stale."""
        if self.word(self.scopes[2], t.SCOPE_RESTRICTED):
            yield m.REJECT_RESTRICTED, 1, 0, self.scopes[2], ""
        if calendar_reason:
            yield calendar_reason, 0, 0, 0, ""
        age_ns = self.world.now_ns - max(self.market.quote_ns, self.market.trade_ns)
        if age_ns > self.world.stale_ns and not self.reduces:
            yield m.REJECT_STALE, age_ns, self.world.stale_ns, self.scopes[2], ""

    def sizes(self) -> Iterator[Verdict]:
        """Limits that are missing; quantity, notional, collar."""
        for scope in self.scopes:
            for name, limit in self.world.limits[scope].items():
                if limit == NOT_SET:
                    yield m.REJECT_NO_LIMIT, 0, NOT_SET, scope, name
        quantity, notional = self.lots * self.lot_unit, self.lots * self.price * self.unit
        if not self.reduces:
            yield from self.least(m.REJECT_MIN_QUANTITY, "min_order_quantity", quantity)
        yield from self.most(m.REJECT_QUANTITY, "max_order_quantity", [quantity] * 3)
        if not self.reduces:
            yield from self.least(m.REJECT_MIN_NOTIONAL, "min_order_notional", notional)
        yield from self.most(m.REJECT_NOTIONAL, "max_order_notional", [notional] * 3)
        reference = self.reference()
        beyond = self.side * (self.price - reference)
        for scope in self.scopes:
            limit = self.world.limits[scope]["price_collar_percent"]
            if limit != UNLIMITED and beyond > reference * limit / MILLION:
                yield m.REJECT_PRICE_COLLAR, ceil(beyond * MILLION / reference), limit, scope, "price_collar_percent"

    def reference(self) -> Fraction:
        """A fresh trade, else the mid, else the side that is known, else an old trade."""
        market = self.market
        if market.last and self.world.now_ns - market.trade_ns <= self.world.stale_ns:
            return Fraction(market.last)
        if market.bid and market.ask:
            return Fraction(market.bid + market.ask, 2)
        return Fraction(market.bid or market.ask or market.last)

    def exposures(self) -> Iterator[Verdict]:
        """Position, open positions, concentration, gross, net, buying power."""
        instrument = self.sums[2]
        holding, known = self.holding, exposure_price(self.market, self.holding)
        is_held = bool(holding.quantity or holding.working_buy or holding.working_sell)
        bought = holding.quantity + holding.working_buy + (self.lots if self.side == m.BUY else 0)
        sold = holding.quantity - holding.working_sell - (self.lots if self.side == m.SELL else 0)
        before, after, price = worst_lots(holding), max(abs(bought), abs(sold)), max(known, self.price)
        added = (after - before) * price * self.unit
        of_all, of_one = (instrument.lots + after - before) * self.lot_unit, after * self.lot_unit
        yield from self.most(m.REJECT_POSITION_LIMIT, "max_position_quantity", [of_all, of_one, of_all])
        of_all, of_one = instrument.gross + added, before * known * self.unit + added
        yield from self.most(m.REJECT_POSITION_LIMIT, "max_position_notional", [of_all, of_one, of_all])
        yield from self.most(m.REJECT_OPEN_POSITIONS, "max_open_positions", [s.count + (not is_held) for s in self.sums])
        equity = self.world.balance + self.profit(0)
        concentrations = [of_all, of_one, of_all]
        yield from self.share(m.REJECT_CONCENTRATION, "max_concentration_percent", concentrations, equity)
        gross = [s.gross + added for s in self.sums]
        yield from self.most(m.REJECT_GROSS_EXPOSURE, "max_gross_exposure", gross)
        more = self.lots * price * self.unit
        net = [
            max(abs(s.bought + (more if self.side == m.BUY else 0)), abs(s.sold - (more if self.side == m.SELL else 0)))
            for s in self.sums
        ]
        yield from self.most(m.REJECT_NET_EXPOSURE, "max_net_exposure", net)
        yield from self.share(m.REJECT_BUYING_POWER, "max_leverage", gross, equity)

    def losses(self) -> Iterator[Verdict]:
        """Losses of the day and the week, drawdown, volatility, executions."""
        for reason, name, word, why in (
            (m.REJECT_DAILY_LOSS, "max_daily_loss", t.SCOPE_DAY_PNL, m.BY_DAILY_LOSS),
            (m.REJECT_WEEKLY_LOSS, "max_weekly_loss", t.SCOPE_WEEK_PNL, m.BY_WEEKLY_LOSS),
            (m.REJECT_DRAWDOWN, "max_drawdown", t.SCOPE_PEAK, m.BY_DRAWDOWN),
        ):
            losses = []
            for k, scope in enumerate(self.scopes):
                forgiven = self.word(scope, t.SCOPE_FORGIVEN) & 1 << why
                losses.append(0 if forgiven else max(self.word(scope, word) - self.profit(k), 0))
            yield from self.most(reason, name, losses)
        volatility = ceil(self.range_ticks() * MILLION / exposure_price(self.market, self.holding))
        yield from self.most(m.REJECT_VOLATILITY, "max_volatility_percent", [volatility] * 3)
        executions = [self.word(scope, t.SCOPE_EXECUTIONS) + 1 for scope in self.scopes]
        yield from self.most(m.REJECT_EXECUTIONS, "max_executions", executions)

    def range_ticks(self) -> Fraction:
        """The ATR, else the mean of the true ranges so far, else the range of the open bar."""
        market = self.market
        if market.bar_count >= self.world.period:
            return Fraction(market.atr) / 2
        if market.bar_count:
            return Fraction(market.seed_sum, market.bar_count) / 2
        return Fraction(market.open_bar[0] - market.open_bar[1], 2) if market.open_bar else Fraction(0)

    def pace(self) -> Iterator[Verdict]:
        """The same order again, and the token bucket."""
        holding, world = self.holding, self.world
        limit = self.limit if self.type == m.LIMIT else 0
        age_ns = world.now_ns - holding.last_order_ns
        for scope in self.scopes:
            window_ns = world.limits[scope]["duplicate_window_ms"]
            same = (holding.last_order_lots, holding.last_order_ticks) == (self.side * self.lots, limit)
            if same and window_ns != UNLIMITED and age_ns < window_ns:
                yield m.REJECT_SAME_ORDER, age_ns, window_ns, scope, "duplicate_window_ms"
        for scope in self.scopes:
            rate = world.limits[scope]["max_orders_per_second"]
            if rate == UNLIMITED:
                continue
            if rate == 0 or not self.has_token(self.word(scope, t.SCOPE_RATE_NS), rate):
                yield m.REJECT_ORDER_RATE, rate + 1, rate, scope, "max_orders_per_second"

    def has_token(self, full_ns: int, rate: int) -> bool:
        """One order takes T; what is taken must leave the reserve, except that a full bucket gives one in any case."""
        world = self.world
        each_ns = 10**9 // rate
        usable = max(Fraction(world.burst * each_ns * (MILLION - world.reserve_ppm), MILLION), Fraction(each_ns))
        return max(full_ns, world.now_ns) + each_ns - world.now_ns <= usable


def check_order(
    world: World,
    calendar_reason: int,
    strategy: int,
    instrument: int,
    request: np.ndarray,
    sums: tuple[Sums, Sums, Sums] | None = None,
) -> Verdict:
    """Return the first refusal of an order, element 0 of a REQUEST array, or FINE; `sums` where they are known."""
    return next(Order(world, strategy, instrument, request[0], sums).refusals(calendar_reason), FINE)
