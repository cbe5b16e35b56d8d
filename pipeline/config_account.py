"""[account]: the currency that everything adds up in, what is in it, and what one unit of each other currency is worth."""

import re
from decimal import Decimal
from typing import Annotated

from pipeline.config_rules import Check, Section
from pipeline.config_values import Currency
from pipeline.instruments import parse_decimal, step_fault

#: A balance has no more places than money is counted in anyway (pipeline.money.PLACES_MIN).
BALANCE_PLACES = 6
DAY_PATTERN = r"([01][0-9]|2[0-3]):([0-5][0-9])"
MINUTE_NS = 60_000_000_000


def _is_balance(text: str) -> bool:
    value = parse_decimal(text)
    return value is not None and 0 < value < Decimal(10) ** 15 and not value % Decimal(10) ** -BALANCE_PLACES


Balance = Annotated[str, Check('a decimal above 0 in quotes with at most 6 places, such as "1000000"', _is_balance)]
Rate = Annotated[
    str, Check('a decimal above 0 in quotes, such as "1.0865"', lambda text: step_fault(parse_decimal(text)) == "")
]
TimeOfDay = Annotated[str, Check('hours and minutes in quotes, such as "00:00"', lambda t: re.fullmatch(DAY_PATTERN, t))]


class RateSection(Section, frozen=True, kw_only=True):
    """One [[account.rates]]: what one unit of a currency is worth in the account's."""

    currency: Currency
    rate: Rate


class AccountSection(Section, frozen=True, kw_only=True):
    """[account]"""

    currency: Currency = "USD"
    balance: Balance = "50000000"
    day_start_utc: TimeOfDay = "00:00"
    rates: tuple[RateSection, ...] = ()

    @property
    def rate_of(self) -> dict[str, Decimal]:
        """What one unit of each known currency is worth in the account's own, itself included."""
        return {row.currency: Decimal(row.rate) for row in self.rates} | {self.currency: Decimal(1)}

    @property
    def day_start_ns(self) -> int:
        """Nanoseconds from midnight UTC to the start of a trading day."""
        hours, minutes = self.day_start_utc.split(":")
        return (int(hours) * 60 + int(minutes)) * MINUTE_NS
