"""Slow, obvious twins: what must happen, in plain Python and exact arithmetic, from DESIGN and not from the kernels."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

LONG, SHORT = 1, -1
STATIC, TRAILING = 1, 2


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


def first_crossing(
    kind: int, side: int, entry_ticks: int, entry_ns: int, percent_ppm: int, ticks: Sequence[Any], first_seq: int
) -> Crossing | None:
    """Follow one static or trailing stop through the ticks, one by one.

    Args:
        kind: STATIC or TRAILING.
        side: LONG or SHORT.
        entry_ticks: E.
        entry_ns: It is armed from the first quote at or after this time.
        percent_ppm: Its distance.
        ticks: The quotes of its instrument in order, as (sequence in the ring, record).
        first_seq: The first sequence that it can see.
    Returns:
        Where it fires, or None.
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
            return Crossing(seq, price, level)
    return None


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
