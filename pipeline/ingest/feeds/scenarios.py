"""What each scenario does to a simulated market, as a pure function of the time since it began.

An overlay is three numbers. `level` multiplies the price: it is what a scenario promises (a crash of ten per cent is ten
per cent whatever the random path does). `volatility_factor` multiplies the volatility. `reversion_per_s` pulls the path
back to where it stood when the scenario began. Before its start every scenario is (1, 1, 0), the plain market.
"""

from shm.jit import njit

NORMAL, FLASH_CRASH, RALLY, CONSOLIDATION, GAP = 0, 1, 2, 3, 4
SCENARIO_NAMES = ("normal", "flash-crash", "rally", "consolidation", "gap")

SECOND_NS = 1_000_000_000

# Down ten per cent in one second, then half of the loss comes back over six.
CRASH_NS, CRASH_LEVEL = SECOND_NS, 0.90
RECOVERY_NS, RECOVERY_LEVEL = 6 * SECOND_NS, 0.95
CRASH_VOLATILITY_FACTOR, RECOVERY_VOLATILITY_FACTOR = 4.0, 2.0

# Up eight per cent in a straight line over a minute; the new level holds.
RALLY_NS, RALLY_LEVEL, RALLY_VOLATILITY_FACTOR = 60 * SECOND_NS, 1.08, 1.5

# A quarter of the volatility, and a deviation that halves about every 1.4 seconds, to the end of the stream.
CONSOLIDATION_VOLATILITY_FACTOR, CONSOLIDATION_REVERSION_PER_S = 0.25, 0.5

# From a close at 16:00 to an open at 09:30.
GAP_NS = 63_000 * SECOND_NS
GAP_PPM_MIN, GAP_PPM_MAX = 30_000, 60_000
GAP_VOLATILITY_FACTOR, GAP_UNREST_NS = 2.0, 30 * SECOND_NS


@njit
def overlay_flash_crash(elapsed_ns):
    """Return the overlay of a flash crash: (level, volatility_factor, reversion_per_s)."""
    if elapsed_ns < CRASH_NS:
        return 1.0 - (1.0 - CRASH_LEVEL) * (elapsed_ns / CRASH_NS), CRASH_VOLATILITY_FACTOR, 0.0
    recovering_ns = elapsed_ns - CRASH_NS
    if recovering_ns < RECOVERY_NS:
        level = CRASH_LEVEL + (RECOVERY_LEVEL - CRASH_LEVEL) * (recovering_ns / RECOVERY_NS)
        return level, RECOVERY_VOLATILITY_FACTOR, 0.0
    return RECOVERY_LEVEL, 1.0, 0.0


@njit
def overlay_rally(elapsed_ns):
    """Return the overlay of a rally: (level, volatility_factor, reversion_per_s)."""
    if elapsed_ns < RALLY_NS:
        return 1.0 + (RALLY_LEVEL - 1.0) * (elapsed_ns / RALLY_NS), RALLY_VOLATILITY_FACTOR, 0.0
    return RALLY_LEVEL, 1.0, 0.0


@njit
def overlay_consolidation():
    """Return the overlay of a consolidation, the same at all times: (level, volatility_factor, reversion_per_s)."""
    return 1.0, CONSOLIDATION_VOLATILITY_FACTOR, CONSOLIDATION_REVERSION_PER_S


@njit
def overlay_gap(elapsed_ns, gap_level):
    """Return the overlay of an overnight gap to `gap_level`, unrest included: (level, volatility_factor, reversion_per_s)."""
    return gap_level, GAP_VOLATILITY_FACTOR if elapsed_ns < GAP_UNREST_NS else 1.0, 0.0


@njit
def overlay(scenario, elapsed_ns, gap_level):
    """Return what a scenario does to the price of an instrument that it selects.

    Args:
        scenario: NORMAL, FLASH_CRASH, ...
        elapsed_ns: trading time since the scenario began, int64; negative before.
        gap_level: the factor of the opening price after a gap, from `gap_level_of`.
    Returns:
        (level, volatility_factor, reversion_per_s), three floats.
    """
    if elapsed_ns < 0 or scenario == NORMAL:
        return 1.0, 1.0, 0.0
    if scenario == FLASH_CRASH:
        return overlay_flash_crash(elapsed_ns)
    if scenario == RALLY:
        return overlay_rally(elapsed_ns)
    if scenario == CONSOLIDATION:
        return overlay_consolidation()
    return overlay_gap(elapsed_ns, gap_level)


@njit
def closed_ns(scenario, elapsed_ns):
    """Return how long the market has been closed (ns) by then: the night of a gap, which all instruments share."""
    return GAP_NS if scenario == GAP and elapsed_ns >= 0 else 0


def gap_level_of(seed: int, word: int) -> float:
    """Return the factor of the opening price after the gap.

    Odd seeds, the default seed 1 among them, open lower, because that is the night which tests the stops of long
    positions; even seeds open higher. The size is drawn between 3% and 6%.

    Args:
        seed: the simulator's seed.
        word: 64 random bits for the size.
    """
    ppm = GAP_PPM_MIN + word % (GAP_PPM_MAX - GAP_PPM_MIN + 1)
    return 1.0 + (-ppm if seed % 2 else ppm) / 1_000_000
