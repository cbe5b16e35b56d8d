"""What each limit is: its form, its name for people, and how its value is written and read.

The file, a command, a refusal, a metric and the database all speak of limits through this one table, and the same rule decides
in each place. Inside, a limit is an int64 (tables.LIMITS): money units, quantity units, parts per million, nanoseconds or a
count.
"""

import re
from decimal import Decimal
from typing import NamedTuple

from pipeline.config_rules import Number
from pipeline.config_values import UNLIMITED as UNLIMITED_WORD
from pipeline.errors import ConfigurationError, nearest
from pipeline.instruments import EXACT, parse_decimal
from pipeline.money import Money, grouped
from pipeline.tables import LIMIT_NAMES, NOT_SET, UNLIMITED

MONEY, QUANTITY, PERCENT, COUNT, RATIO, MILLISECONDS = "money", "quantity", "percent", "count", "ratio", "milliseconds"
#: Forms that config.toml writes in quotes, so that they stay exact; the others are numbers there.
QUOTED_FORMS = (MONEY, QUANTITY, RATIO)
#: What one of the written unit is inside, of forms that need no account: ppm, a count, times 10**6, ns.
SCALE = {PERCENT: 10_000, COUNT: 1, RATIO: 1_000_000, MILLISECONDS: 1_000_000}
#: Decimal places that such a value may have, so that it is whole inside.
PLACES = {PERCENT: 4, COUNT: 0, RATIO: 6, MILLISECONDS: 6}
#: Longest text that is looked at as a number.
TEXT_CHARS_MAX = 64


class LimitForm(NamedTuple):
    """One limit."""

    form: str  #: MONEY, QUANTITY, PERCENT, COUNT, RATIO or MILLISECONDS
    title: str  #: for people: "order quantity"
    unit: str = ""  #: behind a value of it, where the form says none
    low: str = "0"  #: least that may be written; of money and quantities 0 = above 0
    high: str = "1000000000"
    is_floor: bool = False  #: a smallest amount: rounded up, and 0 means none
    of_instruments: bool = False  #: an instrument may have one of its own


LIMIT_FORMS: dict[str, LimitForm] = {
    "min_order_quantity": LimitForm(QUANTITY, "smallest order quantity", is_floor=True, of_instruments=True),
    "max_order_quantity": LimitForm(QUANTITY, "largest order quantity", of_instruments=True),
    "min_order_notional": LimitForm(MONEY, "smallest order notional", is_floor=True, of_instruments=True),
    "max_order_notional": LimitForm(MONEY, "largest order notional", of_instruments=True),
    "price_collar_percent": LimitForm(PERCENT, "price collar", low="0.0001", high="99", of_instruments=True),
    "max_position_quantity": LimitForm(QUANTITY, "position quantity", of_instruments=True),
    "max_position_notional": LimitForm(MONEY, "position notional", of_instruments=True),
    "max_open_positions": LimitForm(COUNT, "open positions", high="1000000"),
    "max_concentration_percent": LimitForm(PERCENT, "concentration", low="0.0001", high="100000"),
    "max_gross_exposure": LimitForm(MONEY, "gross exposure", of_instruments=True),
    "max_net_exposure": LimitForm(MONEY, "net exposure", of_instruments=True),
    "max_leverage": LimitForm(RATIO, "leverage", unit="x", low="0.000001", high="1000"),
    "max_daily_loss": LimitForm(MONEY, "daily loss"),
    "max_weekly_loss": LimitForm(MONEY, "weekly loss"),
    "max_drawdown": LimitForm(MONEY, "drawdown"),
    "max_consecutive_losses": LimitForm(COUNT, "losses in a row", low="1"),
    "max_trades_per_day": LimitForm(COUNT, "trades a day", low="1"),
    "max_reject_percent": LimitForm(PERCENT, "reject rate", low="0.0001", high="100"),
    # An order takes 10**9 / this nanoseconds of a bucket, which must be above 0.
    "max_orders_per_second": LimitForm(COUNT, "orders per second", unit="/s", low="1", high="1000000"),
    "duplicate_window_ms": LimitForm(MILLISECONDS, "window of the same order", high="86400000"),
    "max_executions": LimitForm(COUNT, "executions without a person", low="1"),
    "max_volatility_percent": LimitForm(PERCENT, "volatility", low="0.0001", high="1000", of_instruments=True),
}
assert tuple(LIMIT_FORMS) == LIMIT_NAMES, "one form for each limit, in the order of the records"

#: Limits that an instrument may have of its own; all others are the account's and each strategy's.
INSTRUMENT_LIMITS = tuple(name for name, form in LIMIT_FORMS.items() if form.of_instruments)


def limit_id(name: str, where: str) -> int:
    """Return the number of a limit (its place in tables.LIMITS).

    Args:
        name: as config.toml has it.
        where: what named it, for the message.
    Raises:
        ConfigurationError: there is no such limit; the remedy names the nearest.
    """
    if name in LIMIT_FORMS:
        return LIMIT_NAMES.index(name)
    near = nearest(name, LIMIT_NAMES, 1)
    raise ConfigurationError(
        f"unknown limit {name!r}", where, f"did you mean {near[0]}?" if near else f"choose from {', '.join(LIMIT_NAMES)}"
    )


def limit_fault(name: str, text: str) -> str:
    """Say what keeps a text from being a value of a limit; empty when nothing does."""
    form = LIMIT_FORMS[name]
    if text == UNLIMITED_WORD:
        return ""
    if len(text) > TEXT_CHARS_MAX:
        return "is too long"
    value = parse_decimal(text)
    if form.form in (MONEY, QUANTITY):
        return "" if value is not None and (value > 0 or (form.is_floor and value == 0)) else "is not allowed"
    if value is None:
        return "is no number"
    if form.form == COUNT and not re.fullmatch("[0-9]+", text):
        return "is no whole number"
    return _number(form).fault(value)


def limit_expected(name: str, in_file: bool = False) -> str:
    """Describe what a limit may be.

    Args:
        name: the limit.
        in_file: whether for config.toml, where decimals stand in quotes.
    """
    form = LIMIT_FORMS[name]
    quotes = " in quotes" if in_file else ""
    word = f'"{UNLIMITED_WORD}"' if in_file else UNLIMITED_WORD
    if form.form in (MONEY, QUANTITY):
        example = '"1000000"' if in_file else "1000000"
        return f"a decimal {'not below' if form.is_floor else 'above'} 0{quotes}, such as {example}, or {word}"
    numbers = _number(form).expects(int if form.form == COUNT else Decimal)
    return f"{numbers.replace('a number', f'a number{quotes}') if form.form in QUOTED_FORMS else numbers}, or {word}"


def parse_limit(name: str, text: str, money: Money, where: str = "command line") -> int:
    """Return the value of a limit from its text, in the units of tables.LIMITS.

    Args:
        name: the limit, a key of LIMIT_FORMS.
        text: what a person wrote: "250000", "5", "unlimited".
        money: units of the account.
        where: what the text came from, for the message.
    Returns:
        the value, or UNLIMITED. Largest amounts round down and smallest ones up: a limit may only get tighter.
    Raises:
        ConfigurationError: it is no such value.
    """
    limit_id(name, where)
    fault = limit_fault(name, text)
    if fault:
        shown = text if len(text) <= TEXT_CHARS_MAX else text[:TEXT_CHARS_MAX] + "..."
        raise ConfigurationError(f'{name} = "{shown}" {fault}', where, f"write {limit_expected(name)}")
    if text == UNLIMITED_WORD:
        return UNLIMITED
    form, value = LIMIT_FORMS[name], Decimal(text)
    if form.form not in (MONEY, QUANTITY):
        return int(EXACT.multiply(value, Decimal(SCALE[form.form])))
    try:
        return money.units(value, form.is_floor) if form.form == MONEY else money.quantity_units(value, form.is_floor)
    except ConfigurationError as error:
        remedy = f'{error.remedy}, or "{UNLIMITED_WORD}"'
        raise ConfigurationError(f'{name} = "{text}" is beyond what can be counted here', where, remedy) from None


def limit_decimal(name: str, value: int, money: Money) -> Decimal:
    """Return a value of a limit, or one that was found beside it, as the exact decimal that a person would write.

    Args:
        name: the limit.
        value: in the units of tables.LIMITS; not NOT_SET or UNLIMITED.
        money: units of the account.
    """
    form = LIMIT_FORMS[name].form
    if form == MONEY:
        return money.decimal(value)
    if form == QUANTITY:
        return money.quantity(value)
    return EXACT.divide(Decimal(int(value)), Decimal(SCALE[form]))


def limit_word(name: str, value: int, money: Money) -> str:
    """Write a limit so that `parse_limit` reads it back: "250000", "5", "unlimited"; or "not set", which nobody may write."""
    special = _special(value)
    return special or _bare(limit_decimal(name, value, money))


def limit_text(name: str, value: int, money: Money) -> str:
    """Write a limit for people: "unlimited", "not set", "250,000.00 USD", "5 %", "100/s"."""
    return _special(value) or amount_text(name, value, money)


def amount_text(name: str, value: int, money: Money) -> str:
    """Write for people what was found where a limit was checked, in the limit's own unit; it may be negative."""
    form = LIMIT_FORMS[name]
    if form.form == MONEY:
        return money.text(value)
    if form.form == QUANTITY:
        return money.quantity_text(value)
    number = grouped(limit_decimal(name, value, money))
    unit = {PERCENT: " %", MILLISECONDS: " ms"}.get(form.form, form.unit)
    return f"{number}{unit}"


def _special(value: int) -> str:
    return {NOT_SET: "not set", UNLIMITED: UNLIMITED_WORD}.get(int(value), "")


def _bare(value: Decimal) -> str:
    text = format(value, "f")
    return text.rstrip("0").rstrip(".") if "." in text else text


def _number(form: LimitForm) -> Number:
    unit = {PERCENT: "percent", MILLISECONDS: "milliseconds"}.get(form.form, "")
    return Number(form.low, form.high, unit, None if form.form == COUNT else PLACES[form.form])
