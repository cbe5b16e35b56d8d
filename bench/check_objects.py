"""The same pre-trade check in plain Python: dataclasses and dicts, one walk over what is held, every limit of three scopes."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

PPM = 1_000_000
NS_PER_SECOND = 1_000_000_000


@dataclass(slots=True)
class Holding:
    """A position with its working orders, in lots; cost in tick-lots."""

    instrument: int
    quantity: int
    cost: int
    working_buy: int = 0
    working_sell: int = 0


@dataclass(slots=True)
class Market:
    """Prices of an instrument in ticks, and its ATR in ticks."""

    bid: int
    ask: int
    last: int
    seen_ns: int
    value_units: int
    lot_units: int
    atr: float


@dataclass(slots=True)
class Scope:
    """Limits and state of the account, a strategy or an instrument."""

    limits: Mapping[str, int]
    state: int = 0
    realised: int = 0
    day_start: int = 0
    week_start: int = 0
    peak: int = 0
    executions: int = 0
    full_ns: int = 0
    flattens: bool = False


@dataclass(slots=True)
class Sums:
    """Exposure and open P&L of one scope."""

    gross: int = 0
    bought: int = 0
    sold: int = 0
    unrealised: int = 0
    count: int = 0
    lots: int = 0


class PlainChecker:
    """Checks orders of strategies against an account."""

    def __init__(self, markets: list[Market], balance: int, stale_ns: int, burst_ns_share: float) -> None:
        self.markets, self.balance, self.stale_ns = markets, balance, stale_ns
        self.burst_share = burst_ns_share
        self.holdings: dict[tuple[int, int], Holding] = {}
        self.account: Scope
        self.strategies: list[Scope] = []
        self.instruments: list[Scope] = []
        self.last_orders: dict[tuple[int, int], tuple[int, int, int]] = {}

    def sum_up(self, strategy: int, instrument: int) -> tuple[Sums, Sums, Sums]:
        """Walk over what is held."""
        account, own, of_instrument = Sums(), Sums(), Sums()
        for (holder, held), holding in self.holdings.items():
            market = self.markets[held]
            bought, sold = holding.quantity + holding.working_buy, holding.quantity - holding.working_sell
            value = (market.ask or market.last or market.bid) * market.value_units
            lots = max(abs(bought), abs(sold))
            price = (market.bid if holding.quantity > 0 else market.ask) or market.last
            unrealised = (holding.quantity * price - holding.cost) * market.value_units
            for sums in (account, own if holder == strategy else None, of_instrument if held == instrument else None):
                if sums is not None:
                    sums.gross += lots * value
                    sums.bought += bought * value
                    sums.sold += sold * value
                    sums.unrealised += unrealised
                    sums.count += 1
                    sums.lots += lots
        return account, own, of_instrument

    def check(self, strategy: int, instrument: int, side: int, lots: int, limit: int, now_ns: int) -> str:
        """Return why an order is refused, "" where it is not."""
        if side not in (1, -1) or lots <= 0:
            return "quantity"
        market = self.markets[instrument]
        price = limit or (market.ask if side == 1 else market.bid) or market.last
        if not price:
            return "no_market"
        scopes = (self.account, self.strategies[strategy], self.instruments[instrument])
        holding = self.holdings.get((strategy, instrument)) or Holding(instrument, 0, 0)
        working = holding.working_sell if holding.quantity > 0 else holding.working_buy
        reduces = holding.quantity * side < 0 and lots <= abs(holding.quantity) - working
        state = max(scope.state for scope in scopes)
        if state >= 2 or (not reduces and (state == 1 or any(scope.flattens for scope in scopes))):
            return "state"
        if not reduces and now_ns - market.seen_ns > self.stale_ns:
            return "stale"
        for reason in self.sizes(scopes, market, side, lots, price):
            return reason
        if not reduces:
            for reason in self.exposures(scopes, strategy, market, holding, (instrument, side, lots, price)):
                return reason
        for scope in scopes:
            lots_before, limit_before, sent_ns = self.last_orders.get((strategy, instrument), (0, 0, 0))
            if (lots_before, limit_before) == (side * lots, limit) and now_ns - sent_ns < scope.limits["duplicate_window_ms"]:
                return "same_order"
            each_ns = NS_PER_SECOND // scope.limits["max_orders_per_second"]
            if max(scope.full_ns, now_ns) + each_ns - now_ns > self.burst_share * each_ns:
                return "order_rate"
        return ""

    def sizes(self, scopes: tuple[Scope, ...], market: Market, side: int, lots: int, price: int) -> Iterator[str]:
        """Yield what is against the order by itself."""
        quantity, notional = lots * market.lot_units, lots * price * market.value_units
        for scope in scopes:
            limits = scope.limits
            if -2 in limits.values():
                yield "no_limit"
            if not limits["min_order_quantity"] <= quantity <= limits["max_order_quantity"]:
                yield "quantity"
            if not limits["min_order_notional"] <= notional <= limits["max_order_notional"]:
                yield "notional"
            if side * (price - market.last) * PPM > market.last * limits["price_collar_percent"]:
                yield "price_collar"

    def exposures(
        self, scopes: tuple[Scope, ...], strategy: int, market: Market, holding: Holding, order: tuple[int, int, int, int]
    ) -> Iterator[str]:
        """Yield what is against holding what the order brings, and against new risk."""
        instrument, side, lots, price = order
        account, own, of_instrument = self.sum_up(strategy, instrument)
        bought = holding.quantity + holding.working_buy + (lots if side == 1 else 0)
        sold = holding.quantity - holding.working_sell - (lots if side == -1 else 0)
        before = max(abs(holding.quantity + holding.working_buy), abs(holding.quantity - holding.working_sell))
        after = max(abs(bought), abs(sold))
        dearest = max(market.ask, price)
        added, change = (after - before) * dearest * market.value_units, lots * dearest * market.value_units
        equity = self.balance + self.account.realised + account.unrealised
        is_new = (strategy, instrument) not in self.holdings
        value = before * market.ask * market.value_units + added
        volatility = market.atr * PPM / market.ask
        positions = (of_instrument.gross + added, value, of_instrument.gross + added)
        quantities = (of_instrument.lots + after - before, after, of_instrument.lots + after - before)
        for scope, sums, position, quantity in zip(scopes, (account, own, of_instrument), positions, quantities, strict=True):
            limits = scope.limits
            if quantity * market.lot_units > limits["max_position_quantity"] or position > limits["max_position_notional"]:
                yield "position_limit"
            if sums.count + is_new > limits["max_open_positions"]:
                yield "open_positions"
            if position * PPM > limits["max_concentration_percent"] * equity:
                yield "concentration"
            gross = sums.gross + added
            if gross > limits["max_gross_exposure"]:
                yield "gross_exposure"
            net = max(abs(sums.bought + max(side * change, 0)), abs(sums.sold + min(side * change, 0)))
            if net > limits["max_net_exposure"]:
                yield "net_exposure"
            if gross * PPM > limits["max_leverage"] * equity:
                yield "buying_power"
            profit = scope.realised + sums.unrealised
            if scope.day_start - profit > limits["max_daily_loss"] or scope.week_start - profit > limits["max_weekly_loss"]:
                yield "loss"
            if max(scope.peak, profit) - profit > limits["max_drawdown"]:
                yield "drawdown"
            if volatility > limits["max_volatility_percent"] or scope.executions >= limits["max_executions"]:
                yield "volatility"
