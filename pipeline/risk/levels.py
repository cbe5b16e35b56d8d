"""Stop levels: the formulas of DESIGN section 7, in integers and for both sides at once.

Prices here are signed: a LONG stop's as they are, a SHORT stop's negated. Then better is always larger, a level lies below,
and a stop fires when the price is at or below it; floor for LONG and ceil for SHORT become one rounding, away from the price.
All of a stop is in units of its watch: ticks, or half ticks where it follows the mid.
"""

import numpy as np

from pipeline.messages import ATR, CHANDELIER, MID, STATIC, TAKE_PROFIT, TIME, TRAILING
from shm.jit import njit

PPM = 1_000_000
#: Below every signed price: a level that nothing fires. Above every signed price: a threshold that nothing reaches.
NOTHING, NEVER = -(1 << 62), 1 << 62
#: No ATR yet, no trailing distance: distances are not negative.
NONE = -1
#: m * ATR this near to a whole number of ticks is that number: the ATR is a float, the rule is exact. Of an ATR so large that a
#: float is farther off than that, what a float is off by counts.
WHOLE, FLOAT_ERROR = 1e-9, 1e-14


@njit
def share_of(price_ticks, ppm):
    """Return ppm of a price, rounded up: ceil(|price| * ppm / 10**6).

    Bounds:
        abs(price) < 2**43 (half ticks) and ppm < 10**6 < 2**20, so the product stays below 2**63.
    """
    return -((-abs(price_ticks) * ppm) // PPM)


@njit
def percent_level(side, price_ticks, percent_ppm):
    """Return the level that lies `percent_ppm` on the losing side of a price, rounded away from it; unsigned.

    LONG: floor(price * (10**6 - ppm) / 10**6); SHORT: ceil(price * (10**6 + ppm) / 10**6).
    """
    return price_ticks - side * share_of(price_ticks, percent_ppm)


@njit
def atr_distance(multiplier_ppm, atr_half_ticks, watch):
    """Return ceil(multiplier * ATR) in units of the watch.

    Args:
        multiplier_ppm: m times 10**6.
        atr_half_ticks: ATR in half ticks, float, >= 0.
        watch: MID counts in half ticks, the others in ticks.
    """
    exact = multiplier_ppm * atr_half_ticks / PPM
    if watch != MID:
        exact /= 2.0
    nearest = np.int64(exact + 0.5)
    if abs(exact - nearest) <= max(WHOLE, FLOAT_ERROR * exact):
        return nearest
    return np.int64(exact) + 1


@njit
def entry_of(terms):
    """Return a stop's entry price, signed."""
    return np.int64(terms["side"]) * terms["entry_ticks"]


@njit
def threshold_of(terms, ppm):
    """Return the signed price that is `ppm` of profit away from the entry: LONG ceil(E * (10**6 + ppm) / 10**6)."""
    entry = entry_of(terms)
    return entry + share_of(entry, np.int64(ppm))


@njit
def target_of(terms):
    """Return the signed target of a TAKE_PROFIT, NEVER for other kinds."""
    if terms["kind"] != TAKE_PROFIT:
        return NEVER
    if terms["price_ticks"] > 0:
        return np.int64(terms["side"]) * terms["price_ticks"]
    return threshold_of(terms, terms["percent_ppm"])


@njit
def follows(terms):
    """Tell whether a stop has to know the best price since it was armed."""
    kind = np.int64(terms["kind"])
    return kind == TRAILING or kind == CHANDELIER or terms["activation_ppm"] > 0 or terms["breakeven_ppm"] > 0


@njit
def is_awake(terms, extreme):
    """Tell whether a stop may fire: its profit has reached the activation once."""
    return terms["activation_ppm"] == 0 or extreme >= threshold_of(terms, terms["activation_ppm"])


@njit
def is_even(terms, extreme):
    """Tell whether a stop's profit has reached its break-even once: from then on its level is the entry at least.

    A stop that no level fires has none to be moved.
    """
    kind = np.int64(terms["kind"])
    return (
        terms["breakeven_ppm"] > 0
        and kind != TIME
        and kind != TAKE_PROFIT
        and extreme >= threshold_of(terms, terms["breakeven_ppm"])
    )


@njit
def trailing_distance(terms, extreme, atr_ticks):
    """Return how far below its best price a stop trails, NONE where it does not.

    Args:
        terms: STOP_TERMS.
        extreme: Its best price, signed.
        atr_ticks: Its ATR distance, NONE where there is no ATR yet.
    """
    kind = np.int64(terms["kind"])
    if kind == TRAILING:
        return terms["offset_ticks"] if terms["offset_ticks"] > 0 else share_of(extreme, np.int64(terms["percent_ppm"]))
    return atr_ticks if kind == CHANDELIER else NONE


@njit
def level_at(terms, extreme, floor, atr_ticks):
    """Return the signed level of a stop, NOTHING where it has none.

    Args:
        terms: STOP_TERMS.
        extreme: Best price since armed, signed; its entry where it has not seen any.
        floor: Ratchet of its ATR levels, NOTHING before the first.
        atr_ticks: m * ATR now, NONE where there is no ATR yet.
    """
    kind, side, entry = np.int64(terms["kind"]), np.int64(terms["side"]), entry_of(terms)
    level = NOTHING
    if (kind == STATIC or kind == TRAILING) and terms["price_ticks"] > 0:
        level = side * terms["price_ticks"]
    elif kind == STATIC or ((kind == ATR or kind == CHANDELIER) and floor == NOTHING and atr_ticks == NONE):
        level = entry - share_of(entry, np.int64(terms["percent_ppm"]))
    elif kind == ATR and floor == NOTHING:
        level = entry - atr_ticks
    level = max(level, floor)
    distance = trailing_distance(terms, extreme, atr_ticks)
    if distance != NONE:
        level = max(level, extreme - distance)
    return max(level, entry) if is_even(terms, extreme) else level
