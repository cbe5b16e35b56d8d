"""The account and its limits as a strategy sees them: exact decimals of one moment, never changed afterwards."""

from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from pipeline.account_view import AccountReader, AccountState, ScopeState
from pipeline.limit_values import LIMIT_FORMS, limit_decimal, limit_text, limit_word
from pipeline.messages import STATE_REASONS, TRADING_STATES
from pipeline.money import Money
from pipeline.scopes import Scopes
from pipeline.tables import LIMIT_NAMES, NOT_SET, UNLIMITED
from pipeline.topology import ACCOUNT
from shm.segment import Segment


@dataclass(frozen=True)
class Performance:
    """What the positions of the account, or of one strategy, come to, in the account's currency.

    Attributes:
        scope: "account", or "strategy 1".
        currency: Of every amount.
        realised: Profit of closed quantity since the instance was made, before fees.
        fees: Paid since then.
        unrealised: Profit of what is open, if each position were left at the touch.
        pnl: realised - fees + unrealised.
        daily_pnl, weekly_pnl: Its change since the day, and the week, began.
        peak_pnl, drawdown: The highest P&L seen, and how far below it the P&L is.
        gross_exposure: Sum over instruments, working orders counted at their worst.
        net_exposure: Of all of them together: the larger one of what is held if all that is bought, or all that is sold, fills.
        open_positions: Positions that are not flat.
        trading_state: "active", "reducing", "halted" or "killed"; of this scope alone.
        state_reason: Why: "none", "person", "strategy", "daily_loss", ...
        state_since_ns: Stream time of that change.
    """

    scope: str
    currency: str
    realised: Decimal
    fees: Decimal
    unrealised: Decimal
    pnl: Decimal
    daily_pnl: Decimal
    weekly_pnl: Decimal
    peak_pnl: Decimal
    drawdown: Decimal
    gross_exposure: Decimal
    net_exposure: Decimal
    open_positions: int
    trading_state: str
    state_reason: str
    state_since_ns: int


@dataclass(frozen=True)
class Account(Performance):
    """The account of one moment; it always adds up: equity is balance and P&L, and the P&L that of all strategies.

    Attributes:
        balance: What was in it before the first trade.
        equity: balance + pnl.
        peak_equity: The highest equity seen.
        buying_power: How much more exposure its leverage allows; None = unlimited.
    """

    balance: Decimal
    equity: Decimal
    peak_equity: Decimal
    buying_power: Decimal | None


@dataclass(frozen=True)
class LimitInForce:
    """One limit of one scope.

    Attributes:
        scope: "account", "strategy 1", or a symbol.
        name: As in config.toml.
        title: As people say it.
        value: As it would be written there; None = unlimited, or not set.
        word: The same as text: "250000", "unlimited"; "not set" where nothing was written.
        text: For people: "250,000.00 USD", "unlimited", "not set".
        is_set: False = nothing was written, and every order of the scope is refused.
        units: As risk holds it (tables.LIMITS).
    """

    scope: str
    name: str
    title: str
    value: Decimal | None
    word: str
    text: str
    is_set: bool
    units: int

    @property
    def is_unlimited(self) -> bool:
        """Whether "unlimited" was written out."""
        return self.units == UNLIMITED


class AccountView:
    """Reads account and limits of an instance.

    Args:
        segment: The instance.
        scopes: Of it.
        money: Units of the account.
    """

    def __init__(self, segment: Segment, scopes: Scopes, money: Money) -> None:
        self._scopes, self._money = scopes, money
        self._reader = AccountReader(segment, scopes.sizes, scopes.instruments, money)

    def account(self) -> Account:
        """Return the account of this moment."""
        state = self._reader.read()
        return account_of(state)

    def performance(self, strategy: int) -> Performance:
        """Return one strategy's share of it."""
        state = self._reader.read()
        return performance_of(state.strategies[strategy], self._money)

    def limits(self, strategy: int, symbol: str | None) -> list[LimitInForce]:
        """Return the limits of the account, of a strategy, and of an instrument unless that is None."""
        wanted = [ACCOUNT, self._scopes.of(strategy)] + ([] if symbol is None else [self._scopes.of(symbol=symbol)])
        state = self._reader.read()
        return [limit for scope in wanted for limit in limits_of(state.scopes[scope], self._money)]


def performance_of(scope: ScopeState, money: Money) -> Performance:
    """Return one scope's dataclass."""
    return Performance(**_performance(scope, money))


def account_of(state: AccountState) -> Account:
    """Return an account's dataclass."""
    money, power = state.money, state.buying_power
    return Account(
        **_performance(state.account, money),
        balance=money.decimal(money.balance_units),
        equity=money.decimal(state.equity),
        peak_equity=money.decimal(state.peak_equity),
        buying_power=None if power is None else money.decimal(power),
    )


def limits_of(scope: ScopeState, money: Money) -> Iterator[LimitInForce]:
    """Yield every limit of a scope, in the order of the configuration."""
    for name in LIMIT_NAMES:
        units = int(scope.limits[name])
        has_value = units not in (NOT_SET, UNLIMITED)
        yield LimitInForce(
            scope=scope.name,
            name=name,
            title=LIMIT_FORMS[name].title,
            value=limit_decimal(name, units, money) if has_value else None,
            word=limit_word(name, units, money),
            text=limit_text(name, units, money),
            is_set=units != NOT_SET,
            units=units,
        )


def _performance(scope: ScopeState, money: Money) -> dict[str, Any]:
    totals = scope.totals
    return {
        "scope": scope.name,
        "currency": money.currency,
        "realised": money.decimal(totals.realised),
        "fees": money.decimal(totals.fees),
        "unrealised": money.decimal(totals.unrealised),
        "pnl": money.decimal(totals.pnl),
        "daily_pnl": money.decimal(scope.day_pnl),
        "weekly_pnl": money.decimal(scope.week_pnl),
        "peak_pnl": money.decimal(scope.peak),
        "drawdown": money.decimal(scope.drawdown),
        "gross_exposure": money.decimal(totals.gross),
        "net_exposure": money.decimal(totals.net),
        "open_positions": totals.open_count,
        "trading_state": TRADING_STATES[scope.state],
        "state_reason": STATE_REASONS[scope.reason],
        "state_since_ns": scope.since_ns,
    }
