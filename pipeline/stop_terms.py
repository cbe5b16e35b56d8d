"""What a stop may be given: its terms, which kind takes which, and how each value becomes an integer, exactly or not at all.

kind                 exactly one of                  and, if wanted
static               price, percent                  activation_percent, breakeven_percent
trailing             percent, offset                 price (a first level), activation_percent, breakeven_percent
atr, chandelier                                      atr_multiplier, atr_period, atr_bar_seconds, percent (until the ATR
                                                     is known), activation_percent, breakeven_percent
time                 max_holding_seconds
take_profit          price, percent
all of them                                          watch, fraction_percent, limit_offset, escalate_after_ms
"""

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any, NamedTuple, TypedDict

from pipeline.errors import nearest
from pipeline.instruments import EXACT, Instruments, parse_decimal, whole_steps
from pipeline.messages import ATR, CHANDELIER, MID, REJECT_STOP_PERCENT, REJECT_STOP_TERMS, STATIC, TAKE_PROFIT, TIME, TRAILING
from pipeline.stop_refusals import InvalidStop, Subject

Value = Decimal | str | int


class StopTerms(TypedDict, total=False):
    """What a stop may be given; decimals as Decimal or text, prices in the instrument's currency."""

    price: Value  #: level or target; trailing: a first level, which then only tightens
    percent: Value  #: distance, percent of the reference price
    offset: Value  #: trailing distance, as a difference of prices
    watch: str  #: "bid_ask", "last" or "mid"
    activation_percent: Value  #: profit from which it may fire
    breakeven_percent: Value  #: profit from which its level is at least the entry price
    atr_multiplier: Value
    atr_period: Value  #: bars
    atr_bar_seconds: Value
    max_holding_seconds: Value
    fraction_percent: Value  #: share of the position that it exits
    limit_offset: Value  #: its exit is a limit order so far beyond the price that fired it, instead of a market order
    escalate_after_ms: Value  #: stream time after which that limit order becomes a market order


class StopRules(NamedTuple):
    """What the instance says about stops."""

    instruments: Instruments
    percent_min: Decimal
    percent_max: Decimal


class Term(NamedTuple):
    """How a number becomes an integer of REQUEST: value * scale, whole."""

    field: str
    low: Decimal
    high: Decimal
    scale: int
    unit: str


PERCENT_MIN, PERCENT_MAX = Decimal("0.0001"), Decimal(99)
PERCENT_SCALE = 10_000
#: The whole position, as a fraction.
ALL_PPM = 1_000_000
NUMBERS = {
    "percent": Term("percent_ppm", PERCENT_MIN, PERCENT_MAX, PERCENT_SCALE, "percent"),
    "activation_percent": Term("activation_ppm", Decimal(0), PERCENT_MAX, PERCENT_SCALE, "percent"),
    "breakeven_percent": Term("breakeven_ppm", Decimal(0), PERCENT_MAX, PERCENT_SCALE, "percent"),
    "atr_multiplier": Term("atr_ppm", Decimal("0.0001"), Decimal(1000), 1_000_000, "times the ATR"),
    "atr_period": Term("atr_period", Decimal(1), Decimal(1000), 1, "bars"),
    "atr_bar_seconds": Term("bar_seconds", Decimal(1), Decimal(86_400), 1, "seconds"),
    "max_holding_seconds": Term("holding_ns", Decimal("0.001"), Decimal(315_360_000), 1_000_000_000, "seconds"),
    "fraction_percent": Term("fraction_ppm", PERCENT_MIN, Decimal(100), PERCENT_SCALE, "percent"),
    "escalate_after_ms": Term("escalate_ms", Decimal(1), Decimal(600_000), 1, "milliseconds"),
}
#: A collar of more ticks than this is no collar.
COLLAR_TICKS_MAX = 1_000_000
#: Characters of a wrong value that a message repeats.
SHOWN_MAX = 40

_PROFIT = ("activation_percent", "breakeven_percent")
_ATR = ("atr_multiplier", "atr_period", "atr_bar_seconds", "percent")
ALWAYS = ("watch", "fraction_percent", "limit_offset", "escalate_after_ms")
#: By kind: of which terms exactly one must be given, and which others may be.
KIND_TERMS: dict[int, tuple[tuple[str, ...], tuple[str, ...]]] = {
    STATIC: (("price", "percent"), _PROFIT),
    TRAILING: (("percent", "offset"), ("price", *_PROFIT)),
    ATR: ((), (*_ATR, *_PROFIT)),
    CHANDELIER: ((), (*_ATR, *_PROFIT)),
    TIME: (("max_holding_seconds",), ()),
    TAKE_PROFIT: (("price", "percent"), ()),
}
#: What a stop that is there can be given anew.
MOVABLE = ("price", "percent", "offset")


def rules_of(about: Mapping[str, Any], instruments: Instruments) -> StopRules:
    """Return what an instance says about stops; where it says nothing, what every configuration must keep to."""
    stops = about.get("config", {}).get("risk", {}).get("stops", {})
    return StopRules(
        instruments=instruments,
        percent_min=Decimal(stops.get("min_stop_percent", PERCENT_MIN)),
        percent_max=Decimal(stops.get("max_stop_percent", PERCENT_MAX)),
    )


def code_of(subject: Subject, field: str, name: Any, names: Sequence[str]) -> int:
    """Return the place of a name among those that there are."""
    if isinstance(name, str) and name in names:
        return names.index(name)
    near = nearest(name, names, 1) if isinstance(name, str) else []
    remedy = f"did you mean {near[0]}?" if near else f"use {listed(names, 'or')}"
    raise fault(subject, field, name, "is not known", remedy)


def check_distance(rules: StopRules, subject: Subject, percent: Any) -> None:
    """Hold a percentage to what the configuration allows, as risk will."""
    value = exact_decimal(subject, "percent", percent)
    if not rules.percent_min <= value <= rules.percent_max:
        limit = f"{rules.percent_min} to {rules.percent_max}"
        told = subject._replace(field="percent", value=shown(percent), limit=limit)
        remedy = f"give {limit}: min_stop_percent to max_stop_percent of the configuration"
        raise InvalidStop(f"{told.asked} is out of bounds", remedy, REJECT_STOP_PERCENT, told)


def exact_decimal(subject: Subject, name: str, value: Any) -> Decimal:
    """Return a value as an exact decimal; a float is none, for it is not what was written."""
    exact = Decimal(value) if isinstance(value, int) and not isinstance(value, bool) else value
    found = parse_decimal(exact)
    if found is None:
        raise fault(subject, name, value, "is no decimal", 'write it as in "1.5"')
    return found


def number_of(subject: Subject, name: str, value: Any) -> int:
    """Return a number as the integer of its term."""
    term = NUMBERS[name]
    exact = exact_decimal(subject, name, value)
    if not term.low <= exact <= term.high:
        limit = f"{term.low} to {term.high} {term.unit}"
        raise fault(subject._replace(limit=limit), name, value, "is out of bounds", f"give {limit}")
    scaled = whole_steps(exact, EXACT.divide(Decimal(1), Decimal(term.scale)))
    if scaled is None:
        places = len(str(term.scale)) - 1
        remedy = f"give at most {places} decimal places" if places else "give a whole number"
        raise fault(subject, name, value, "is too fine", remedy)
    return scaled


def steps_of(subject: Subject, name: str, value: Any, step: Decimal, limit: int) -> int:
    """Return a price, or a difference of prices, as a whole count of steps, above 0 and below `limit`."""
    exact = exact_decimal(subject, name, value)
    bound = EXACT.multiply(step, Decimal(limit))
    if not 0 < exact < bound:
        told = subject._replace(limit=f"above 0 and below {bound:f}")
        raise fault(told, name, value, "is out of bounds", f"give one above 0 and below {bound:f}")
    steps = whole_steps(exact, step)
    if steps is None:
        raise fault(
            subject._replace(limit=f"{step:f}"), name, value, f"is no whole multiple of {step:f}", f"use steps of {step:f}"
        )
    return steps


def watch_step(instruments: Instruments, instrument: int, watch: int) -> Decimal:
    """Return what one unit of a stop's prices is worth: a tick, or half of one where it watches the mid."""
    tick = instruments[instrument].tick_size
    return EXACT.divide(tick, Decimal(2)) if watch == MID else tick


def watch_text(instruments: Instruments, instrument: int, watch: int, units: int) -> str:
    """Write a price that is counted in units of a stop's watch as a decimal; empty where it is 0, which is none."""
    return instruments.watched_text(instrument, units, watch) if units else ""


def fault(subject: Subject, field: str, value: Any, what: str, remedy: str) -> InvalidStop:
    """Return the error of one term, or of the stop as a whole where `field` is empty."""
    if not field:
        return InvalidStop(what, remedy, REJECT_STOP_TERMS, subject)
    told = subject._replace(field=field, value=shown(value))
    return InvalidStop(f"{told.asked} {what}", remedy, REJECT_STOP_TERMS, told)


def shown(value: Any) -> str:
    """Return a value for a message, cut where it is longer than any that makes sense."""
    is_number = isinstance(value, int | Decimal) and not isinstance(value, bool)
    text = value if isinstance(value, str) else str(Decimal(value)) if is_number else repr(value)
    return text if len(text) <= SHOWN_MAX else f"{text[:SHOWN_MAX]}…"


def listed(names: Sequence[str], last: str) -> str:
    """Write names as in a sentence, `last` ("and", "or") before the last one."""
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} {last} {names[-1]}"
