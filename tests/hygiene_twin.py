"""The slow, obvious twin of hygiene: what must be rejected and why, in plain Python, from DESIGN's words."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

from pipeline.messages import NON_FINITE, TICK_REASONS

QUOTE_KIND, TRADE_KIND, TIMER_KIND, STATUS_KIND = 1, 2, 3, 4


@dataclass
class Series:
    """One side's prices: the last valid one, and the one in quarantine."""

    valid: int | None = None
    suspect: int | None = None

    def verdict(self, price: int, share: Fraction) -> str:
        """Say what a price is to this series."""
        if self.valid is None or is_near(price, self.valid, share):
            return "good"
        return "confirmed" if self.suspect is not None and is_near(price, self.suspect, share) else "jumped"

    def accept(self, price: int) -> None:
        """Make a price the valid one: the quarantine is decided."""
        self.valid, self.suspect = price, None

    def see(self, price: int, verdict: str) -> None:
        """Let a price that is not used decide about the quarantine."""
        self.suspect = None if verdict == "good" else price


def is_near(price: int, other: int, share: Fraction) -> bool:
    """Tell whether a price is not farther from another than a share of that one; a share of 0 means any is near."""
    return share == 0 or Fraction(abs(price - other), other) <= share


@dataclass
class Market:
    """What is remembered of one instrument."""

    bid: Series = field(default_factory=Series)
    ask: Series = field(default_factory=Series)
    trade: Series = field(default_factory=Series)
    seen: dict[int, int] = field(default_factory=dict)  #: by kind of tick, the last venue sequence
    stale: bool = False


class HygieneTwin:
    """Judges ticks one after the other.

    Args:
        instrument_count: How many instruments there are.
        max_jump_ppm: Farthest that a price may be from the last valid one; 0 = any.
        numbered: Whether each instrument's trades are numbered one by one.
    """

    def __init__(self, instrument_count: int, max_jump_ppm: int = 0, numbered: bool = False) -> None:
        self.markets = [Market() for _ in range(instrument_count)]
        self.share = Fraction(max_jump_ppm, 10**6)
        self.numbered = numbered
        self.gaps = 0

    def judge(self, tick: Any) -> str:
        """Return the name of the reason for which a tick is rejected, or "accepted"."""
        kind, instrument = int(tick["kind"]), int(tick["instrument"])
        if not 0 < int(tick["event_ns"]) < 2**62:
            return "bad_time"
        if kind in (TIMER_KIND, STATUS_KIND):
            return "accepted"
        if kind not in (QUOTE_KIND, TRADE_KIND):
            return "unknown_kind"
        if instrument >= len(self.markets):
            return "unknown_instrument"
        market = self.markets[instrument]
        if not self._is_new(market, kind, int(tick["venue_seq"])):
            return "old_sequence"
        a, b, c, d = (int(tick[name]) for name in "abcd")
        return self._judge_quote(market, a, b, (c, d)) if kind == QUOTE_KIND else self._judge_trade(market, a, b)

    def judge_all(self, ticks: Iterable[Any]) -> list[int]:
        """Return the reason of each tick by its number."""
        return [TICK_REASONS.index(self.judge(tick)) for tick in ticks]

    def _is_new(self, market: Market, kind: int, sequence: int) -> bool:
        if sequence <= 0:
            return True
        before = market.seen.get(kind, 0)
        if sequence <= before:
            return False
        market.seen[kind] = sequence
        if kind == TRADE_KIND and self.numbered and before > 0 and sequence > before + 1:
            self.gaps += 1
            # Only the next quote ends it, so what never had a quote goes on.
            market.stale = market.stale or market.bid.valid is not None
        return True

    def _judge_quote(self, market: Market, bid: int, ask: int, sizes: tuple[int, int]) -> str:
        faults = [fault_of_price(bid), fault_of_price(ask), "crossed" if bid > ask else "", *map(fault_of_size, sizes)]
        if any(faults):
            return next(fault for fault in faults if fault)
        sides = [(market.bid, bid), (market.ask, ask)]
        verdicts = [series.verdict(price, self.share) for series, price in sides]
        for (series, price), verdict in zip(sides, verdicts, strict=True):
            if "jumped" in verdicts:
                series.see(price, verdict)
            else:
                series.accept(price)
        if "jumped" in verdicts:
            return "quarantined"
        market.stale = False
        return "accepted"

    def _judge_trade(self, market: Market, price: int, size: int) -> str:
        fault = fault_of_price(price) or fault_of_size(size) or ("stale" if market.stale else "")
        if fault:
            return fault
        verdict = market.trade.verdict(price, self.share)
        if verdict == "jumped":
            market.trade.see(price, verdict)
            return "quarantined"
        market.trade.accept(price)
        return "accepted"


def fault_of_price(price: int) -> str:
    """Say why this is no price; empty where it is one."""
    if price == NON_FINITE:
        return "non_finite"
    if price <= 0:
        return "not_positive"
    return "" if price < 2**42 else "out_of_bounds"


def fault_of_size(lots: int) -> str:
    """Say why this is no size; empty where it is one."""
    return "" if 0 <= lots < 2**40 else "out_of_bounds"
