"""Slow, obvious twins: what must happen, in plain Python with exact arithmetic, from DESIGN's words, not from the kernels."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

LONG, SHORT = 1, -1
STATIC, TRAILING = 1, 2
QUOTE_KIND, TRADE_KIND = 1, 2


@dataclass
class Crossing:
    """A stop fired: at which tick, on which watched price, at which level."""

    seq: int
    price: int
    level: int


def percent_level(side: int, price: int, percent_ppm: int) -> int:
    """2% below 100.00 is 98.00: exact, rounded away from the price."""
    share = Fraction(percent_ppm, 10**6)
    return math.floor(price * (1 - share)) if side == LONG else math.ceil(price * (1 + share))


def crossings(
    kind: int, side: int, entry_ticks: int, entry_ns: int, percent_ppm: int, ticks: Sequence[Any], first_seq: int
) -> Iterator[Crossing]:
    """Follow one static or trailing stop through the ticks, one by one, and yield each at which it is crossed.

    Args:
        kind: STATIC or TRAILING.
        side: LONG or SHORT.
        entry_ticks: E.
        entry_ns: It is armed from the first quote at or after this time.
        percent_ppm: Its distance.
        ticks: Its instrument's accepted quotes in order, each with its ring sequence as (seq, tick).
        first_seq: The first sequence that it can see.
    """
    armed, best = False, entry_ticks
    level = percent_level(side, entry_ticks, percent_ppm)
    for seq, tick in ticks:
        if seq < first_seq:
            continue
        armed = armed or int(tick["event_ns"]) >= entry_ns
        if not armed:
            continue
        price = int(tick["a"]) if side == LONG else int(tick["b"])
        if kind == TRAILING:
            best = max(best, price) if side == LONG else min(best, price)
            trailed = percent_level(side, best, percent_ppm)
            level = max(level, trailed) if side == LONG else min(level, trailed)
        if (price <= level) if side == LONG else (price >= level):
            yield Crossing(seq, price, level)


def is_price_of_market(tick: Any, instrument_count: int) -> bool:
    """Tell whether a tick may enter: a quote or trade of a known instrument whose time, prices and sizes make sense."""
    kind, event_ns = int(tick["kind"]), int(tick["event_ns"])
    if kind not in (QUOTE_KIND, TRADE_KIND) or not 0 < event_ns < 2**62 or int(tick["instrument"]) >= instrument_count:
        return False
    prices = [int(tick["a"]), int(tick["b"])] if kind == QUOTE_KIND else [int(tick["a"])]
    sizes = [int(tick["c"]), int(tick["d"])] if kind == QUOTE_KIND else [int(tick["b"])]
    ordered = kind == TRADE_KIND or prices[0] <= prices[1]
    return ordered and all(0 < price < 2**42 for price in prices) and all(0 <= size < 2**40 for size in sizes)


@dataclass
class FoldedPosition:
    """A position folded from fills: quantity, cash spent, nothing else."""

    quantity: int = 0
    spent: int = 0

    def add(self, side: int, quantity: int, price: int) -> None:
        """Add one fill."""
        self.quantity += side * quantity
        self.spent += side * quantity * price


def fold(fills: Iterable[Any]) -> dict[tuple[int, int], FoldedPosition]:
    """Fold fills (strategy, instrument, side, quantity_lots, price_ticks) into positions by (strategy, instrument)."""
    result: dict[tuple[int, int], FoldedPosition] = {}
    for fill in fills:
        key = int(fill["strategy"]), int(fill["instrument"])
        result.setdefault(key, FoldedPosition()).add(int(fill["side"]), int(fill["quantity_lots"]), int(fill["price_ticks"]))
    return result
