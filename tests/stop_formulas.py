"""What the twin of the stop engine reckons with: DESIGN section 7 for one price, in integers and fractions only."""

from __future__ import annotations

import math
from fractions import Fraction

from pipeline.messages import BID_ASK, LAST, LONG, MID, QUOTE, SHORT, TRADE

PPM = 10**6


def share(price: int, ppm: int) -> int:
    """Return so many parts per million of a price, rounded up."""
    return math.ceil(Fraction(price * ppm, PPM))


def loss_level(side: int, price: int, ppm: int) -> int:
    """Return what lies so far on the losing side of a price: 2% below 100.00 is 98.00."""
    return price - share(price, ppm) if side == LONG else price + share(price, ppm)


def profit_price(side: int, price: int, ppm: int) -> int:
    """Return what lies so far on the winning side of a price."""
    return price + share(price, ppm) if side == LONG else price - share(price, ppm)


def tighter(side: int, one: int, other: int) -> int:
    """Return the level that loses less."""
    return max(one, other) if side == LONG else min(one, other)


def has_fallen_to(side: int, price: int, level: int) -> bool:
    """Tell whether a price is at a level or on its losing side."""
    return price <= level if side == LONG else price >= level


def has_risen_to(side: int, price: int, target: int) -> bool:
    """Tell whether a price is at a target or on its winning side."""
    return price >= target if side == LONG else price <= target


def watched_prices(kind: int, a: int, b: int) -> dict[tuple[int, int], int]:
    """Return what an accepted tick shows, by watch and side, in units of the watch."""
    if kind == QUOTE:
        return {(BID_ASK, LONG): a, (BID_ASK, SHORT): b, (MID, LONG): a + b, (MID, SHORT): a + b}
    return {(LAST, LONG): a, (LAST, SHORT): a} if kind == TRADE else {}
