"""What settings of [account] and [risk] must be to each other; part of pipeline.config_checks."""

from collections.abc import Callable, Hashable, Iterator, Sequence
from decimal import Decimal

from msgspec import UNSET, UnsetType

from pipeline.config_risk import InstrumentLimitsSection, LimitsSection, StrategyLimitsSection
from pipeline.config_schema import Config
from pipeline.config_values import UNLIMITED
from pipeline.errors import ConfigurationError
from pipeline.sessions import parse_blackout, parse_sessions

Fault = tuple[str, str]
#: Each pair: the smallest of something, and the largest.
BOUNDS = (("min_order_quantity", "max_order_quantity"), ("min_order_notional", "max_order_notional"))


def account_faults(config: Config) -> Iterator[Fault]:
    """Yield what is wrong between settings of [account]."""
    account = config.account
    yield from _twice("account.rates", "currency", [row.currency for row in account.rates])
    for index, row in enumerate(account.rates):
        if row.currency == account.currency and Decimal(row.rate) != 1:
            yield f"account.rates[{index}] converts {row.currency}, the account's own currency, at {row.rate}", "leave it out"


def risk_faults(config: Config) -> Iterator[Fault]:
    """Yield what is wrong between settings of [risk] but its stops."""
    risk, slots = config.risk, config.strategies.slots
    yield from _bounds("risk", risk)
    yield from _bounds("risk.strategy", risk.strategy)
    yield from _twice("risk.strategies", "slot", [row.slot for row in risk.strategies])
    for index, slot in enumerate(risk.strategies):
        if slot.slot >= slots:
            what = f"risk.strategies[{index}].slot = {slot.slot} is no slot: strategies.slots = {slots}"
            yield what, f"did you mean {slots - 1}, the last? Else set more slots"
        yield from _bounds(f"risk.strategies[{index}]", slot, risk.strategy)
    yield from _twice("risk.instruments", "symbol", [row.symbol for row in risk.instruments])
    for index, instrument in enumerate(risk.instruments):
        yield from _bounds(f"risk.instruments[{index}]", instrument)
    yield from _times(config)
    if risk.breaker.auto_resume and not risk.breaker.cooldown_ns:
        yield "risk.breaker.auto_resume = true has no cooldown_seconds to wait for", "set it above 0"


def _times(config: Config) -> Iterator[Fault]:
    """Yield what is wrong with session hours and blackouts."""
    risk = config.risk
    sessions = [("risk.session", risk.session)]
    sessions += [
        (f"risk.instruments[{index}].session", row.session)
        for index, row in enumerate(risk.instruments)
        if not isinstance(row.session, UnsetType)
    ]
    texts: list[tuple[Callable[[str, str], object], str, str]] = [(parse_sessions, path, text) for path, text in sessions]
    texts += [(parse_blackout, f"risk.blackouts[{index}]", text) for index, text in enumerate(risk.blackouts)]
    for parse, path, text in texts:
        try:
            parse(text, path)
        except ConfigurationError as error:
            yield f"{path}: {error.what}", error.remedy


def _bounds(
    path: str,
    section: LimitsSection | StrategyLimitsSection | InstrumentLimitsSection,
    otherwise: LimitsSection | None = None,
) -> Iterator[Fault]:
    """Yield each smallest value that is above its largest; a strategy's that is not set is `otherwise`'s."""
    for low_key, high_key in BOUNDS:
        low, high = (_value(section, key, otherwise) for key in (low_key, high_key))
        if low is not None and high is not None and low > high:
            yield f"{path}: {low_key} = {low} is above {high_key} = {high}", "no order can pass: lower it"


def _value(section: object, key: str, otherwise: object) -> Decimal | None:
    text = getattr(section, key)
    if text is UNSET:
        return _value(otherwise, key, None) if otherwise else None
    return None if text == UNLIMITED else Decimal(text)


def _twice(path: str, key: str, values: Sequence[Hashable]) -> Iterator[Fault]:
    for index, value in enumerate(values):
        if values.index(value) < index:
            yield f"{path}[{index}].{key} = {value} is {path}[{values.index(value)}] already", "keep one of them"
