"""Guards: a stop of a live instance with all that it was set with, as its twin takes it, from what was configured or asked."""

from __future__ import annotations

import copy
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

from pipeline.messages import ATR, BID_ASK, CHANDELIER, MID, STATIC, TAKE_PROFIT, TIME, TRAILING
from pipeline.risk.limits import Limits
from tests.exit_twin import ExitTwin, PositionTwin
from tests.stop_formulas import has_fallen_to, has_risen_to, profit_price
from tests.stop_oracle import Stop, StopTerms

PPM = 10**6
MS, SECOND = 10**6, 10**9


@dataclass
class Guard:
    """A stop that was armed, until it has ended.

    Attributes:
        stop: its twin; it walks no more once the stop has fired.
        row: of the position.
        generation: of the position.
        fraction_ppm: share that its exit takes, 0 = all.
        collar: of its exit in ticks, 0 = market.
        escalate_ns: after which a limit exit is taken back.
        exit: what became of it once it has fired.
    """

    stop: Stop
    row: int
    generation: int
    fraction_ppm: int
    collar: int
    escalate_ns: int
    exit: ExitTwin | None = None

    @property
    def terms(self) -> StopTerms:
        """What the stop is."""
        return self.stop.terms

    @property
    def protects(self) -> bool:
        """Whether it keeps its position from loss: armed and no mere target, or fired and on its way."""
        return self.exit is not None or self.terms.kind != TAKE_PROFIT


def ticks_of(units: int, watch: int) -> Fraction | None:
    """Return units of a watch in ticks, None for 0."""
    return Fraction(units, 2 if watch == MID else 1) if units > 0 else None


def configured(limits: Limits, event: Any, position: PositionTwin) -> Guard:
    """Return the guard that a position gets by itself, of the kind that an event tells of."""
    row = next(row for row in limits.defaults if row["kind"] == event["stop_kind"])
    watch = int(row["watch"])
    terms = StopTerms(
        int(event["stop_id"]), int(event["instrument"]), int(row["kind"]), position.side, watch, position.entry,
        position.entry_ns, ticks_of(int(row["price_ticks"]), watch), int(row["percent_ppm"]), int(row["offset_ticks"]),
        int(row["activation_ppm"]), int(row["breakeven_ppm"]), int(row["atr_ppm"]), limits.atr_period, limits.bar_ns,
        int(row["deadline_ns"]),
    )  # fmt: skip
    return guard_of(terms, event, row)


def flattening(limits: Limits, event: Any, position: PositionTwin) -> Guard:
    """Return the guard that a position gets to be left by, where it has no other: its level is the entry price."""
    terms = StopTerms(
        int(event["stop_id"]), int(event["instrument"]), STATIC, position.side, BID_ASK, position.entry, position.entry_ns,
        Fraction(position.entry),
    )  # fmt: skip
    return Guard(Stop(terms, None), 0, int(event["generation"]), 0, 0, limits.escalate_ms * MS)


def asked(limits: Limits, event: Any, position: PositionTwin, request: Any, now_ns: int) -> Guard:
    """Return the guard that was asked for."""
    kind, watch = int(request["stop_kind"]), int(request["watch"])
    has_series = kind in (ATR, CHANDELIER)
    terms = StopTerms(
        int(event["stop_id"]), int(request["instrument"]), kind, position.side, watch, position.entry,
        max(now_ns, position.entry_ns), ticks_of(int(request["price_ticks"]), watch), int(request["percent_ppm"]),
        ticks_of(int(request["offset_ticks"]), watch) or 0, int(request["activation_ppm"]), int(request["breakeven_ppm"]),
        (int(request["atr_ppm"]) or limits.atr_ppm) if has_series else 0, int(request["atr_period"]) or limits.atr_period,
        int(request["bar_seconds"]) * SECOND or limits.bar_ns, int(request["holding_ns"]), position.entry_ns,
        limits.fallback_ppm,
    )  # fmt: skip
    return guard_of(terms, event, request, limits.escalate_ms)


def guard_of(terms: StopTerms, event: Any, source: Any, escalate_ms: int = 0) -> Guard:
    """Return a guard with what its terms do not say: how it exits."""
    terms.check()
    fraction_ppm = int(source["fraction_ppm"])
    return Guard(
        Stop(terms, None), 0, int(event["generation"]), fraction_ppm if fraction_ppm < PPM else 0, int(source["limit_ticks"]),
        (int(source["escalate_ms"]) or escalate_ms) * MS,
    )  # fmt: skip


def moved(terms: StopTerms, request: Any) -> StopTerms:
    """Return terms with the one of price, percent and offset that a request gives; the new way replaces the old one."""
    price, percent_ppm = ticks_of(int(request["price_ticks"]), terms.watch), int(request["percent_ppm"])
    offset = ticks_of(int(request["offset_ticks"]), terms.watch) or 0
    assert (price is not None) + (percent_ppm > 0) + (offset > 0) == 1, "a stop was moved in more ways than one, or in none"
    assert terms.kind != TIME, "a time stop was moved"
    if price is not None:
        assert terms.kind not in (ATR, CHANDELIER), "an ATR stop got a price"
        return replace(terms, price=price, percent_ppm=terms.percent_ppm if terms.kind == TRAILING else 0)
    assert offset == 0 or terms.kind == TRAILING, "a stop that does not trail got an offset"
    return replace(terms, price=None, percent_ppm=percent_ppm, offset_ticks=offset)


def is_beyond(stop: Stop, price: int, now_ns: int) -> bool:
    """Tell whether a stop that is being set would fire at once.

    Args:
        stop: As it is then, perhaps waiting for its position's entry time.
        price: The price that it watches, in its units; 0 = none known.
        now_ns: Stream time.
    """
    terms, probe = stop.terms, copy.copy(stop)
    if terms.kind == TIME:
        return now_ns >= terms.deadline_ns
    if not probe.armed:
        probe.arm()
    awake = probe.awake or has_risen_to(terms.side, price, profit_price(terms.side, terms.entry, terms.activation_ppm))
    if price == 0 or not awake:
        return False
    assert probe.level is not None
    crosses = has_risen_to if terms.kind == TAKE_PROFIT else has_fallen_to
    return crosses(terms.side, price, probe.level)
