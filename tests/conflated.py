"""What conflation may not lose: no stop that the whole feed crosses goes without a crossing among the ticks that were kept."""

from __future__ import annotations

from itertools import accumulate

import numpy as np

from pipeline.messages import EVENT, QUOTE, STOP_ARMED, STOP_ENDED, TICK, TICK_OK, TRADE
from tests.oracle import is_price_of_market
from tests.promises import crossings_of, quotes_of
from tests.rig import Rig


def assert_nothing_missed(rig: Rig, taken: list[tuple[int, int]]) -> None:
    """Check that what ingest kept of each range of the feed crosses what the whole range crosses.

    Args:
        rig: Settled.
        taken: Ranges of the feed that ingest took at once.
    """
    ring_ticks = rig.records("ticks", TICK)
    kept = set(ring_ticks["venue_seq"])
    good = rig.ticks[[is_price_of_market(tick, rig.sizes.instruments) for tick in rig.ticks]]
    for first, end in taken:
        numbers = good["venue_seq"]
        whole = good[(numbers > first) & (numbers <= end)]
        if len(whole) == sum(number in kept for number in whole["venue_seq"]):
            continue
        for instrument in range(rig.sizes.instruments):
            for kind, fields in ((QUOTE, ("a", "b")), (TRADE, ("a",))):
                of_kind = whole[(whole["kind"] == kind) & (whole["instrument"] == instrument)]
                left = of_kind[[number in kept for number in of_kind["venue_seq"]]]
                for field in fields if len(of_kind) else ():
                    place = f"instrument {instrument}, ticks {first + 1} to {end}"
                    assert len(left), f"{place}: nothing was kept"
                    assert of_kind[field].min() == left[field].min(), f"{place}: the lowest {field} was conflated away"
                    assert of_kind[field].max() == left[field].max(), f"{place}: the highest {field} was conflated away"
                    assert of_kind["venue_seq"][-1] == left["venue_seq"][-1], f"{place}: the latest was conflated away"
    assert_same_crossings(rig, ring_ticks, taken)


def assert_same_crossings(rig: Rig, ring_ticks: np.ndarray, taken: list[tuple[int, int]]) -> None:
    """Each stop that was armed before a conflated range is crossed within it if the whole range crosses it."""
    events = rig.records("events", EVENT)
    ended = {int(event["stop_id"]): int(event["tick_seq"]) for event in events if event["kind"] == STOP_ENDED}
    # The place in the feed of each tick of the ring; a timer tick stands where the tick before it does.
    places = [*accumulate((int(number) for number in ring_ticks["venue_seq"]), max), len(rig.ticks) + 1]
    whole = [(int(tick["venue_seq"]), tick.copy()) for tick in rig.ticks if is_price_of_market(tick, rig.sizes.instruments)]
    for _, tick in whole:
        tick["flags"] = TICK_OK
    full = {instrument: quotes_of(whole, instrument) for instrument in range(rig.sizes.instruments)}
    ring = {instrument: quotes_of(list(enumerate(ring_ticks)), instrument) for instrument in full}
    range_of = {number: k for k, (first, end) in enumerate(taken) for number in range(first + 1, end + 1)}
    for event in events[events["kind"] == STOP_ARMED]:
        seen = event.copy()
        seen["tick_seq"] = places[int(event["tick_seq"])] if event["tick_seq"] < len(ring_ticks) else len(rig.ticks) + 1
        in_full, in_ring = crossings_of(rig, seen, full), crossings_of(rig, event, ring)
        last = places[min(ended.get(int(event["stop_id"]), len(ring_ticks)), len(ring_ticks))]
        first_seen = next((int(number) for number, tick in full[int(event["instrument"])] if number >= seen["tick_seq"]), 0)
        for crossing in in_full[:1]:
            # A stop that comes to life in the middle of a range sees of it what was kept.
            if crossing.seq >= last or range_of[crossing.seq] == range_of.get(first_seen):
                continue
            in_ranges = {range_of[places[found.seq]] for found in in_ring}
            assert range_of[crossing.seq] in in_ranges, f"stop {event['stop_id']}: its crossing at tick {crossing.seq} was lost"
