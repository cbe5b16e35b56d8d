"""Money of the account as exact integers: in which unit it is counted, and how it reads.

One money unit is 10^-places of the account's currency: fine enough that one tick·lot of every instrument, converted at its
currency's rate, is a whole number of them. So P&L, fees and exposure of all instruments add up without a remainder. Quantities
of unlike instruments are made comparable in the same way: a quantity unit is fine enough that every lot is whole.
"""

from dataclasses import dataclass
from decimal import ROUND_CEILING, ROUND_FLOOR, Context, Decimal
from functools import cached_property
from typing import Any

from pipeline.config_account import AccountSection
from pipeline.errors import ConfigurationError
from pipeline.instruments import EXACT, Instruments

#: Every amount of money and quantity lies strictly within this, in units, so that the sum of two cannot overflow.
UNITS_LIMIT = 1 << 61
PLACES_MIN, PLACES_MAX = 6, 12
#: Places that an amount of money is shown with at least.
SHOWN_PLACES = 2


@dataclass(frozen=True)
class Money:
    """The units of one account.

    Args:
        currency: of the account.
        places: decimal places of a money unit: it is 10^-places of the currency.
        balance_units: what is in the account before the first trade, in money units.
        value_units: money units in one tick·lot, by instrument.
        quantity_places: decimal places of a quantity unit.
        lot_units: quantity units in one lot, by instrument.
    """

    currency: str
    places: int
    balance_units: int
    value_units: tuple[int, ...]
    quantity_places: int
    lot_units: tuple[int, ...]

    @cached_property
    def unit(self) -> Decimal:
        """What one money unit is worth in the account's currency."""
        return Decimal(1).scaleb(-self.places)

    @cached_property
    def quantity_unit(self) -> Decimal:
        """How much of an instrument one quantity unit is."""
        return Decimal(1).scaleb(-self.quantity_places)

    def units(self, amount: Decimal, up: bool = False) -> int:
        """Return an amount of money in whole units, rounded down, or up for a smallest amount: a limit may only get tighter.

        Raises:
            ConfigurationError: it is not within what money is counted in.
        """
        return _units(amount, self.unit, up, self.currency)

    def quantity_units(self, quantity: Decimal, up: bool = False) -> int:
        """Return a quantity in whole units, rounded as `units` does.

        Raises:
            ConfigurationError: it is not within what quantities are counted in.
        """
        return _units(quantity, self.quantity_unit, up, "units")

    def decimal(self, units: int) -> Decimal:
        """Return so many money units as an exact amount of the account's currency."""
        return EXACT.multiply(self.unit, Decimal(int(units)))

    def quantity(self, units: int) -> Decimal:
        """Return so many quantity units as an exact quantity."""
        return EXACT.multiply(self.quantity_unit, Decimal(int(units)))

    def text(self, units: int) -> str:
        """Write so many money units for people: "-1,250.00 USD"; places beyond the second only where they say something."""
        return f"{grouped(self.decimal(units), SHOWN_PLACES)} {self.currency}"

    def quantity_text(self, units: int) -> str:
        """Write so many quantity units for people: "10,000", "0.25"."""
        return grouped(self.quantity(units))

    def fee_micros(self, instruments: Instruments, fee_per_unit: Decimal) -> tuple[int, ...]:
        """Return a fee for each share, coin or contract as millionths of a money unit for each lot, rounded up, by instrument.

        Args:
            instruments: those that this was made for.
            fee_per_unit: in the account's currency, not below 0.
        Raises:
            ConfigurationError: it is not within what money is counted in.
        """
        micro = EXACT.divide(self.unit, Decimal(1_000_000))
        fees = [EXACT.multiply(fee_per_unit, item.lot_size) for item in instruments]
        return tuple(_units(fee, micro, True, self.currency) for fee in fees)

    def to_json(self) -> dict[str, Any]:
        """Return the units as plain JSON values."""
        return {
            "currency": self.currency,
            "places": self.places,
            "balance_units": self.balance_units,
            "value_units": list(self.value_units),
            "quantity_places": self.quantity_places,
            "lot_units": list(self.lot_units),
        }

    @staticmethod
    def from_json(table: dict[str, Any]) -> "Money":
        """Return what `to_json` was given."""
        return Money(**(table | {"value_units": tuple(table["value_units"]), "lot_units": tuple(table["lot_units"])}))


def money_of(instruments: Instruments, account: AccountSection, where: str = "[account]") -> Money:
    """Return the units in which everything that these instruments earn and cost is whole.

    Args:
        instruments: all that may be traded.
        account: its currency, balance and rates.
        where: file of the settings, for messages.
    Raises:
        ConfigurationError: a currency has no rate, or a value needs more places, or a larger number, than money is counted in;
            every one of them is told.
    """
    _check_rates(instruments, account, where)
    rates = account.rate_of
    values = [EXACT.multiply(item.tick_lot_value, rates[item.currency]) for item in instruments]
    places = max([PLACES_MIN, *(_places(value) for value in values)])
    quantity_places = max([0, *(_places(item.lot_size) for item in instruments)])
    problems = []
    for item, value in zip(instruments, values, strict=True):
        if _places(value) > PLACES_MAX:
            what = (
                f"one tick of one lot of {item.symbol} is {value:f} {account.currency}: more than {PLACES_MAX} decimal places"
            )
            problems.append(ConfigurationError(what, where, _finer_remedy(item.currency, account)))
        elif _places(item.lot_size) > PLACES_MAX:
            what = f"the lot size {item.lot_size:f} of {item.symbol} has more than {PLACES_MAX} decimal places"
            problems.append(ConfigurationError(what, where, "leave the instrument out, or write a lot size that is rounder"))
        elif value.scaleb(places) >= UNITS_LIMIT or item.lot_size.scaleb(quantity_places) >= UNITS_LIMIT:
            what = f"{item.symbol} is too large beside the smallest instrument to be counted in the same unit"
            problems.append(ConfigurationError(what, where, "trade them in instances of their own"))
    if problems:
        raise ConfigurationError.gather(problems)
    unit = Decimal(1).scaleb(-places)
    try:
        balance_units = _units(Decimal(account.balance), unit, False, account.currency, "account.balance", where)
    except ConfigurationError as error:
        raise ConfigurationError(error.what, where, f"{error.remedy}, or rates with fewer decimal places") from None
    return Money(
        currency=account.currency,
        places=places,
        balance_units=balance_units,
        value_units=tuple(int(value.scaleb(places)) for value in values),
        quantity_places=quantity_places,
        lot_units=tuple(int(item.lot_size.scaleb(quantity_places)) for item in instruments),
    )


def grouped(value: Decimal, places_min: int = 0) -> str:
    """Write a decimal with its thousands grouped, and without zeros at the end beyond so many places."""
    whole, _, fraction = format(value, "f").lstrip("-").partition(".")
    fraction = fraction.rstrip("0").ljust(places_min, "0")
    sign = "-" if value < 0 else ""
    return f"{sign}{int(whole):,}" + (f".{fraction}" if fraction else "")


def _check_rates(instruments: Instruments, account: AccountSection, where: str) -> None:
    """Refuse instruments whose currency cannot be converted, each currency once."""
    rates = account.rate_of
    lacking: dict[str, list[str]] = {}
    for item in instruments:
        if item.currency not in rates:
            lacking.setdefault(item.currency, []).append(item.symbol)
    problems = []
    for currency, symbols in lacking.items():
        what = f"{_few(symbols)} {'is' if len(symbols) == 1 else 'are'} in {currency}, which has no rate to {account.currency}"
        remedy = (
            f'write [[account.rates]] with currency = "{currency}" and rate = "..." ({account.currency} for one {currency})'
        )
        problems.append(ConfigurationError(what, where, remedy))
    if problems:
        raise ConfigurationError.gather(problems)


def _few(symbols: list[str], count: int = 4) -> str:
    return ", ".join(symbols[:count]) + (f" and {len(symbols) - count} more" if len(symbols) > count else "")


def _finer_remedy(currency: str, account: AccountSection) -> str:
    if currency == account.currency:
        return "leave the instrument out, or write a tick size, lot size or multiplier that is rounder"
    return f"write the rate of {currency} with fewer decimal places"


def _places(value: Decimal) -> int:
    """Return how many decimal places a value needs."""
    exponent = value.normalize(EXACT).as_tuple().exponent
    assert isinstance(exponent, int), "steps and rates are finite"
    return max(0, -exponent)


def _units(amount: Decimal, unit: Decimal, up: bool, name: str, path: str = "the amount", where: str = "account") -> int:
    """Return an amount in whole units, or raise that it is beyond them."""
    bound = EXACT.multiply(unit, Decimal(UNITS_LIMIT))
    if abs(amount) >= bound:
        what = f"{path} {grouped(amount)} {name} is beyond what can be counted here"
        raise ConfigurationError(what, where, f"write one below {grouped(bound.quantize(Decimal(1), ROUND_FLOOR))} {name}")
    rounding = ROUND_CEILING if up else ROUND_FLOOR
    # Units are powers of ten: to divide by one moves the point, and the rounding is the only one.
    return int(Context(prec=EXACT.prec, rounding=rounding).divide(amount, unit).to_integral_value(rounding))
