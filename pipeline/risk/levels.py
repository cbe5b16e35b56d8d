"""Stop levels: the formulas of DESIGN section 7, in integers. SHORT mirrors LONG."""

from pipeline.messages import LONG, STATIC, TRAILING
from shm.jit import njit

PPM = 1_000_000


@njit
def percent_level(side, price_ticks, percent_ppm):
    """Return the level that lies `percent_ppm` on the losing side of a price, rounded away from it.

    LONG: floor(price * (10**6 - ppm) / 10**6); SHORT: ceil(price * (10**6 + ppm) / 10**6).

    Bounds:
        price_ticks < 2**42, so the product stays below 2**63.
    """
    if side == LONG:
        return price_ticks * (PPM - percent_ppm) // PPM
    return -((-price_ticks * (PPM + percent_ppm)) // PPM)


@njit
def first_level(stop):
    """Return the level of a stop from its entry alone."""
    if stop["kind"] == STATIC and stop["level_ticks"] > 0:
        return stop["level_ticks"]
    return percent_level(stop["side"], stop["entry_ticks"], stop["percent_ppm"])


@njit
def level_at(stop, extreme_ticks):
    """Return the level of a stop whose best price since armed is `extreme_ticks`; 0 = not armed yet."""
    level = first_level(stop)
    if stop["kind"] != TRAILING or extreme_ticks == 0:
        return level
    trailed = percent_level(stop["side"], extreme_ticks, stop["percent_ppm"])
    return max(level, trailed) if stop["side"] == LONG else min(level, trailed)


@njit
def extreme_with(stop, extreme_ticks, price_ticks):
    """Return the best price since armed, with one more price; the first one is compared with the entry."""
    best = extreme_ticks if extreme_ticks != 0 else stop["entry_ticks"]
    return max(best, price_ticks) if stop["side"] == LONG else min(best, price_ticks)
