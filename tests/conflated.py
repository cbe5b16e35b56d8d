"""What conflation may not lose: no stop that the whole feed crosses goes without a crossing among the ticks that were kept."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import accumulate
from typing import Any

import numpy as np

from pipeline.messages import QUOTE, STATIC, TAKE_PROFIT, TICK, TICK_OK, TRADE, TRAILING
from tests.promises import reasons_of
from tests.recorder import RecordingRig, Span
from tests.risk_twin import RiskTwin
from tests.stop_oracle import StopTerms, Walk

#: The prices that stops watch: name, kind of tick, price, and the turns that count: -1 falls, 1 rises.
SERIES: tuple[tuple[str, int, Callable[[np.void], int], tuple[int, ...]], ...] = (
    ("bid", QUOTE, lambda tick: int(tick["a"]), (-1,)),
    ("ask", QUOTE, lambda tick: int(tick["b"]), (1,)),
    ("mid", QUOTE, lambda tick: int(tick["a"]) + int(tick["b"]), (-1, 1)),
    ("last", TRADE, lambda tick: int(tick["a"]), (-1, 1)),
)


def assert_nothing_missed(rig: RecordingRig, taken: list[Span], twin: RiskTwin) -> None:
    """Check that what ingest kept of each range of the feed crosses what the whole range crosses.

    Args:
        rig: Settled.
        taken: Ranges of the feed that ingest took at once.
        twin: Of risk, which has seen it all.
    """
    if rig.count("ingest")["conflated"] == 0:
        return
    ring_ticks = rig.records("ticks", TICK)
    kept = {int(number) for number in ring_ticks["venue_seq"]}
    good = rig.ticks[np.array(reasons_of(rig)[0]) == TICK_OK]
    for first, end in taken:
        numbers = good["venue_seq"]
        whole = good[(numbers > first) & (numbers <= end)]
        if all(int(number) in kept for number in whole["venue_seq"]):
            continue
        for instrument in range(rig.sizes.instruments):
            mine = whole[whole["instrument"] == instrument]
            left = np.array([int(number) in kept for number in mine["venue_seq"]], bool)
            assert_enough_kept(mine, left, f"instrument {instrument}, ticks {first + 1} to {end}")
    assert_same_crossings(rig, ring_ticks, good, taken, twin)


def assert_enough_kept(ticks: np.ndarray, left: np.ndarray, place: str) -> None:
    """Check one instrument's backlog by what a stop may wait for.

    Args:
        ticks: TICK, accepted ones of one instrument in order.
        left: bool of each: whether it was kept.
        place: For messages.
    """
    for name, kind, price_of, directions in SERIES:
        rows = [k for k in range(len(ticks)) if ticks[k]["kind"] == kind]
        if not rows:
            continue
        whole = [price_of(ticks[k]) for k in rows]
        kept = [price_of(ticks[k]) for k in rows if left[k]]
        assert kept, f"{place}: no {name} was kept"
        assert min(whole) == min(kept), f"{place}: the lowest {name} was conflated away"
        assert max(whole) == max(kept), f"{place}: the highest {name} was conflated away"
        assert left[rows[-1]], f"{place}: the latest {name} was conflated away"
        for direction in directions:
            lost = lost_falls([-direction * price for price in whole], [-direction * price for price in kept])
            assert not lost, f"{place}: a {'fall' if direction < 0 else 'rise'} of the {name} was conflated away: {lost[0]}"


def lost_falls(whole: Sequence[int], kept: Sequence[int]) -> list[tuple[int, int]]:
    """Return the falls (high, later price) of all prices that no fall of the kept ones covers: as high and as low, or more."""
    covers = falls_of(kept)
    return [(high, low) for high, low in falls_of(whole) if not any(other >= high and price <= low for other, price in covers)]


def falls_of(prices: Sequence[int]) -> list[tuple[int, int]]:
    """Return each price that lies below a price before it, with the highest of those."""
    highs = accumulate(prices, max)
    return [(high, price) for high, price in zip(highs, prices, strict=True) if price < high]


def assert_same_crossings(
    rig: RecordingRig, ring_ticks: np.ndarray, good: np.ndarray, taken: list[Span], twin: RiskTwin
) -> None:
    """Each stop that was armed before a conflated range is crossed within it if the whole range crosses it.

    Not so the stops of an ATR: bars of what is left are not those of the whole.
    """
    # The place in the feed of each tick of the ring; a timer tick stands where the tick before it does.
    places = [*accumulate((int(number) for number in ring_ticks["venue_seq"]), max), len(rig.ticks) + 1]
    whole = [(int(tick["venue_seq"]), tick.copy()) for tick in good]
    for _, tick in whole:
        tick["flags"] = TICK_OK
    range_of = {number: k for k, (first, end) in enumerate(taken) for number in range(first + 1, end + 1)}
    for terms, first_seq, changes in twin.spans.values():
        if terms.kind not in (STATIC, TRAILING, TAKE_PROFIT):
            continue
        last = places[min([*changes, len(ring_ticks)])]
        mine = [(number, tick) for number, tick in whole if number >= places[first_seq]]
        first_seen = next((number for number, tick in mine if tick["instrument"] == terms.instrument), 0)
        crossing = next(crossings(terms, mine), None)
        # A stop that comes to life in the middle of a range sees of it what was kept.
        if crossing is None or crossing >= last or range_of[crossing] == range_of.get(first_seen):
            continue
        in_ring = crossings(terms, list(enumerate(ring_ticks))[first_seq:])
        in_ranges = {range_of[places[seq]] for seq in in_ring}
        assert range_of[crossing] in in_ranges, f"stop {terms.stop_id}: its crossing at tick {crossing} was lost"


def crossings(terms: StopTerms, ticks: Iterable[tuple[int, Any]]) -> Iterator[int]:
    """Yield the number of each tick that crosses a stop, if nothing ever leaves its position."""
    walk = Walk([terms])
    for number, tick in ticks:
        if walk.see(tick.tolist()):
            yield number
