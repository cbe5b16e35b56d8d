"""The kinds of value that settings have: a type each, with the rule that decides it and the words that explain it."""

import ipaddress
import re
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Annotated, Literal

from pipeline.config_rules import Check, Number
from pipeline.instruments import SYMBOL_PATTERN, parse_decimal, step_fault
from pipeline.messages import QUANTITY_LOTS_LIMIT

UNLIMITED = "unlimited"
CORE_AUTO = -1
SPEED_PATTERN = r"([0-9]+(?:\.[0-9]+)?)x"
SPEED_MIN, SPEED_MAX = 0.001, 1_000_000.0
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
FEE_MAX, FEE_PLACES = 1000, 9
YEAR_MAX = 2200  #: int64 nanoseconds reach into 2262; recordings need room behind their start

ScenarioName = Literal["normal", "flash-crash", "rally", "consolidation", "gap"]
WaitName = Literal["auto", "spin", "yield", "park"]


def _is_speed(text: str) -> bool:
    match = re.fullmatch(SPEED_PATTERN, text)
    return text == "max" or (match is not None and SPEED_MIN <= float(match[1]) <= SPEED_MAX)


def utc_ns(text: str) -> int | None:
    """Return an ISO time with its zone as UTC nanoseconds, or None where the text is none."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    if moment.tzinfo is None or not EPOCH.year < moment.year < YEAR_MAX:
        return None
    return (moment - EPOCH) // timedelta(microseconds=1) * 1000


def _is_host(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return text == "localhost"
    return True


def _is_price(text: str) -> bool:
    value = parse_decimal(text)
    return value is not None and value > 0


def _is_fee(text: str) -> bool:
    value = parse_decimal(text)
    return value is not None and 0 <= value <= FEE_MAX and not value % Decimal(10) ** -FEE_PLACES


def _is_step(text: str) -> bool:
    return step_fault(parse_decimal(text)) == ""


def _is_lot_count(text: str) -> bool:
    return re.fullmatch(r"[0-9]{1,13}", text) is not None and 0 < int(text) < QUANTITY_LOTS_LIMIT


def _are_symbols(symbols: tuple[str, ...]) -> bool:
    return len(symbols) == len(set(symbols)) and all(re.fullmatch(SYMBOL_PATTERN, symbol) for symbol in symbols)


def _is_core_pool(cores: str | tuple[int, ...]) -> bool:
    return cores == "auto" or (0 < len(cores) == len(set(cores)) and all(0 <= int(core) < 4096 for core in cores))


InstanceName = Annotated[str, Check('1 to 32 of a-z, 0-9 and "-"', lambda text: re.fullmatch(r"[a-z0-9-]{1,32}", text))]
Symbol = Annotated[
    str, Check('1 to 32 letters, digits or . _ / : -, such as "AAPL"', lambda s: re.fullmatch(SYMBOL_PATTERN, s))
]
Symbols = Annotated[tuple[str, ...], Check('a list of different symbols, such as ["AAPL", "MSFT"]', _are_symbols)]
Speed = Annotated[str, Check('"1x", "10x" or another factor from 0.001x to 1000000x, or "max"', _is_speed)]
StartTime = Annotated[
    str, Check('an ISO time with its zone in quotes, such as "2026-01-05T14:30:00Z"', lambda t: utc_ns(t) is not None)
]
Host = Annotated[str, Check('an IP address or "localhost"', _is_host)]
FilePath = Annotated[str, Check("a file path in quotes", lambda text: text.strip() != "" and "\0" not in text)]
FolderOrNone = Annotated[str, Check('a folder in quotes, or "" for none', lambda text: "\0" not in text)]
Step = Annotated[str, Check('a decimal above 0 in quotes, such as "0.01"', _is_step)]
Price = Annotated[str, Check('a decimal above 0 in quotes, such as "254.50"', _is_price)]
Fee = Annotated[
    str, Check(f'a decimal from 0 to {FEE_MAX} in quotes with at most {FEE_PLACES} places, such as "0.0035"', _is_fee)
]
Currency = Annotated[str, Check('3 to 8 capital letters, such as "USD"', lambda text: re.fullmatch("[A-Z]{3,8}", text))]
Lots = Annotated[str, Check('a whole number of lots in quotes, such as "100"', _is_lot_count)]
Percent = Annotated[Decimal, Number("0.0001", "99", "percent", places=4)]
PercentOrNone = Annotated[Decimal, Number("0", "99", "percent", places=4)]
Milliseconds = Annotated[int, Number("1", "600000", "milliseconds")]
RingSlots = Annotated[int, Number("64", "16777216", "slots", power_of_two=True)]
#: One tick may fire many stops: risk takes it only where the events of all of them find room.
EventSlots = Annotated[int, Number("1024", "16777216", "slots", power_of_two=True)]
Rows = Annotated[int, Number("16", "1048576", "rows", power_of_two=True)]
CorePool = Annotated[
    Literal["auto"] | tuple[int, ...], Check('"auto" or a list of different cores, such as [0, 2, 3]', _is_core_pool)
]


def parts_per_million(percent: Decimal) -> int:
    """Return a percentage of at most four decimal places as parts per million."""
    return int(percent * 10_000)


def nanoseconds(seconds: Decimal) -> int:
    """Return seconds of at most nine decimal places as nanoseconds."""
    return int(seconds * 1_000_000_000)
