"""The cells of one line of a table as exact integers; every fault is kept, with its column, value and what would do."""

import re
from collections.abc import Mapping
from decimal import ROUND_CEILING, ROUND_FLOOR, Context, Decimal

from pipeline.config_values import utc_ns
from pipeline.errors import UserError, nearest
from pipeline.instruments import EXACT, parse_decimal, whole_steps
from pipeline.messages import PRICE_TICKS_LIMIT

#: How `steps` takes a value between two steps; without one it is a fault.
DOWN, UP = ROUND_FLOOR, ROUND_CEILING
PPM_PER_PERCENT, MILLION, NS_PER_S = 10_000, 1_000_000, 1_000_000_000
#: Event times lie below this.
TIME_NS_LIMIT = 1 << 62


class Cells:
    """One line's cells by column. A cell that is missing or empty is not given.

    Args:
        given: Text by column.
        where: File and line, for messages.
        problems: Learns of every fault.
    """

    def __init__(self, given: Mapping[str, str], where: str, problems: list[UserError]) -> None:
        self._given, self._where, self._problems = given, where, problems
        self.fault_count = 0

    def has(self, column: str) -> bool:
        """Tell whether the cell is given."""
        return bool(self._given.get(column))

    def text(self, column: str) -> str:
        """Return the cell as it is; empty where it is not given."""
        return self._given.get(column, "")

    def fault(self, column: str, what: str, remedy: str) -> None:
        """Keep one fault of a cell."""
        self.fault_count += 1
        value = f" = {self.text(column)!r}" if self.has(column) else ""
        self._problems.append(UserError(f"{column}{value} {what}", self._where, remedy))

    def choice(self, column: str, codes: Mapping[str, int], otherwise: int) -> int:
        """Return the code of one of several names, in either case."""
        text = self.text(column).lower()
        if not text or text in codes:
            return codes[text] if text else otherwise
        near = nearest(text, codes, 1)
        known = ", ".join(codes)
        self.fault(column, "is none of them", f"did you mean {near[0]}? known are {known}" if near else f"known are {known}")
        return otherwise

    def decimal(self, column: str) -> Decimal | None:
        """Return a decimal above 0, or None where the cell is not given or a fault."""
        if not self.has(column):
            return None
        value = parse_decimal(self.text(column))
        if value is None:
            self.fault(column, "is no decimal", 'write it as in "48.25"')
        elif value <= 0:
            self.fault(column, "is not above 0", "give one above 0, or leave it empty")
            return None
        return value

    def steps(
        self, column: str, step: Decimal, step_text: str, rounding: str = "", otherwise: int = 0, limit: int = PRICE_TICKS_LIMIT
    ) -> int:
        """Return a price or quantity above 0 in whole steps.

        Args:
            column: Which cell.
            step: The size of a step.
            step_text: What steps are called, in the plural.
            rounding: DOWN or UP where a value between two steps is not refused.
            otherwise: Returned where the cell is not given.
            limit: The count of steps lies below this.
        """
        value = self.decimal(column)
        if value is None:
            return otherwise
        if value >= EXACT.multiply(step, Decimal(limit)):
            self.fault(column, "is out of bounds", f"give one below {EXACT.multiply(step, Decimal(limit)):f}")
            return otherwise
        count = whole_steps(value, step)
        if count is None and rounding:
            count = int(Context(prec=EXACT.prec, rounding=rounding).divide(value, step).to_integral_value(rounding=rounding))
            if count == 0:
                self.fault(column, f"is less than one step of {step:f}", "give a real price")
        elif count is None:
            self.fault(column, f"is no whole number of {step_text}", f"use steps of {step:f}")
        return count or otherwise

    def ppm(self, column: str, percent_max: int, zero_is_none: bool = False) -> int:
        """Return a percentage of at most four decimal places in parts per million; 0 where it is not given."""
        if zero_is_none and parse_decimal(self.text(column)) == 0:
            return 0
        return self._scaled(column, PPM_PER_PERCENT, percent_max, "percent", 0)

    def millionths(self, column: str, most: int, otherwise: int) -> int:
        """Return a decimal of at most six places times 10**6."""
        return self._scaled(column, MILLION, most, "", otherwise)

    def nanoseconds(self, column: str, seconds_max: int) -> int:
        """Return seconds of at most nine decimal places in nanoseconds; 0 where they are not given."""
        return self._scaled(column, NS_PER_S, seconds_max, "seconds", 0)

    def _scaled(self, column: str, scale: int, most: int, unit: str, otherwise: int) -> int:
        value = self.decimal(column)
        if value is None:
            return otherwise
        if value > most:
            self.fault(column, "is too large", f"give at most {most} {unit}".rstrip())
            return otherwise
        count = whole_steps(value, 1 / Decimal(scale))
        if count is None:
            places = len(str(scale)) - 1
            self.fault(column, f"has more than {places} decimal places", f"round it to {places}")
        return count or otherwise

    def whole(self, column: str, least: int, most: int, otherwise: int) -> int:
        """Return a whole number between two bounds."""
        if not self.has(column):
            return otherwise
        text = self.text(column)
        if not re.fullmatch("[0-9]{1,9}", text) or not least <= int(text) <= most:
            self.fault(column, f"is no whole number from {least} to {most}", "give one")
            return otherwise
        return int(text)

    def time_ns(self, column: str) -> int:
        """Return a time in UTC nanoseconds: such a number, or ISO 8601 with a zone; 0 where it is not given."""
        if not self.has(column):
            return 0
        text = self.text(column)
        time_ns = int(text) if re.fullmatch("[0-9]{1,19}", text) else iso_ns(text)
        if time_ns is None:
            remedy = "write nanoseconds UTC, or as in 2013-10-09T09:30:00-04:00"
            self.fault(column, "is no time with its zone", remedy)
            return 0
        if not 0 < time_ns < TIME_NS_LIMIT:
            self.fault(column, "is out of bounds", "give nanoseconds since 1970, or a date after it")
            return 0
        return time_ns


def iso_ns(text: str) -> int | None:
    """Return an ISO time with its zone, of at most nine decimals of a second, as UTC nanoseconds; None where it is none."""
    match = re.fullmatch(r"(.+:[0-9]{2}:[0-9]{2})[.,]([0-9]{1,9})(Z|z|[+-][0-9:]{2,6})", text)
    if match is None:
        # Python would cut digits beyond its microseconds.
        return None if re.search("[.,]", text) else utc_ns(text)
    whole_ns = utc_ns(match[1] + match[3].upper())
    return None if whole_ns is None else whole_ns + int(match[2].ljust(9, "0"))
