"""What must hold of an instance that has settled, whatever died on the way: the promises of DESIGN section 1, as assertions."""

from __future__ import annotations

from collections import Counter

import numpy as np

from pipeline.messages import (
    ARMED,
    EVENT,
    EXIT,
    FILLED,
    ORDER,
    QUOTE,
    REPORT,
    STOP_ARMED,
    STOP_ENDED,
    STOP_TRIGGERED,
    TICK,
    TICK_OK,
    TRIGGERED,
)
from pipeline.tables import VENUE_FILL, VENUE_ORDER
from pipeline.topology import VENUE_FILLS
from shm import rows
from tests.oracle import Crossing, first_crossing, fold
from tests.rig import Rig

STATIC_KIND, TRAILING_KIND = 1, 2


def assert_kept(rig: Rig) -> None:
    """Check every promise on a rig whose rings have not wrapped."""
    assert_ticks_accounted(rig)
    assert_nothing_twice(rig)
    assert_positions_fold(rig)
    assert_stops_kept(rig)


def assert_ticks_accounted(rig: Rig) -> None:
    """Every tick of the feed is in the ring once, in order, or counted as rejected or conflated."""
    seen = rig.records("ticks", TICK)
    numbers = seen["venue_seq"][seen["venue_seq"] > 0]
    assert (np.diff(numbers) > 0).all(), f"ticks twice or out of order: {numbers[:-1][np.diff(numbers) <= 0]}"
    count = rig.count("ingest")
    assert count["received"] == len(rig.ticks)
    rejected = sum(count[name] for name in ("non_finite", "not_positive", "out_of_bounds", "crossed", "bad_time"))
    rejected += count["unknown_instrument"] + count["unknown_kind"]
    assert count["received"] == count["accepted"] + rejected + count["conflated"]
    if not rig.live:
        assert list(numbers) == list(range(1, len(rig.ticks) + 1))


def assert_nothing_twice(rig: Rig) -> None:
    """No order id is in the ring or at the venue twice; no event is told twice; each fill is reported once."""
    orders = rig.records("orders", ORDER)
    ids = [int(order_id) for order_id in orders["order_id"]]
    assert len(ids) == len(set(ids)), "an order is in the ring twice"
    taken = rows.snapshot(rows.open_table(rig.segment, "venue.orders", VENUE_ORDER))
    venue_ids = [int(order_id) for order_id in taken["order_id"] if order_id]
    assert sorted(ids) == sorted(venue_ids), "the venue's orders are not those in the ring"
    count = rig.count("execution")
    assert count["venue_duplicates"] == count["duplicates"] == 0, "something was sent twice"
    reports = rig.records("reports", REPORT)
    fill_ids = sorted(int(fill_id) for fill_id in reports["fill_id"][reports["kind"] == FILLED])
    assert fill_ids == list(range(1, count["venue_fills"] + 1)), "fills are not reported once each"
    events = rig.records("events", EVENT)
    told = Counter((int(event["stop_id"]), int(event["kind"])) for event in events if event["stop_id"])
    once = {key: times for key, times in told.items() if times > 1 and key[1] in (STOP_ARMED, STOP_TRIGGERED, STOP_ENDED)}
    assert not once, f"events told twice: {once}"
    attempts = Counter(int(order["stop_id"]) for order in orders if order["flags"] & EXIT)
    rejected = Counter(int(r["stop_id"]) for r in reports if r["kind"] != FILLED and r["reason"] and r["stop_id"])
    for stop_id, sent in attempts.items():
        assert sent <= 1 + rejected[stop_id], f"stop {stop_id} sent {sent} exits"


def assert_positions_fold(rig: Rig) -> None:
    """Quantities and P&L are the fold of the venue's own fills, and nothing works any more."""
    fills = rig.segment.array("venue.fills", VENUE_FILL)[: int(rig.segment.array("venue.state")[VENUE_FILLS])]
    folded = fold(fills)
    for row, position in enumerate(rig.positions()):
        key = divmod(row, rig.sizes.instruments)
        expected = folded.get(key)
        quantity, spent = (expected.quantity, expected.spent) if expected else (0, 0)
        assert quantity == position["quantity_lots"], f"position {key}"
        # realised = what came in for what is closed; cost = what the rest has cost: together all that was spent.
        assert spent == position["cost_tick_lots"] - position["realised_tick_lots"], f"P&L of position {key}"
        assert position["working_buy_lots"] == position["working_sell_lots"] == position["exit_lots"] == 0, f"working of {key}"


def assert_stops_kept(rig: Rig) -> None:
    """Each stop fired exactly where the oracle says, or ended before; an open position has its stops, a flat one none."""
    events = rig.records("events", EVENT)
    armed = {int(event["stop_id"]): event for event in events if event["kind"] == STOP_ARMED}
    fired = {int(event["stop_id"]): event for event in events if event["kind"] == STOP_TRIGGERED}
    ended = {int(event["stop_id"]): event for event in events if event["kind"] == STOP_ENDED}
    percents = {STATIC_KIND: rig.limits.default_stop_ppm, TRAILING_KIND: rig.limits.trailing_stop_ppm}
    ticks = list(enumerate(rig.records("ticks", TICK)))
    guarded: dict[tuple[int, int, int], list[tuple[Crossing, int]]] = {}
    for stop_id, event in armed.items():
        mine = [
            (seq, tick) for seq, tick in ticks
            if tick["kind"] == QUOTE and tick["flags"] == TICK_OK and tick["instrument"] == event["instrument"]
        ]  # fmt: skip
        crossing = first_crossing(
            int(event["stop_kind"]), int(event["side"]), int(event["price_ticks"]), entry_ns_of(rig, event),
            percents[int(event["stop_kind"])], mine, int(event["tick_seq"]),
        )  # fmt: skip
        end_seq = int(ended[stop_id]["tick_seq"]) if stop_id in ended else len(ticks)
        key = int(event["strategy"]), int(event["instrument"]), int(event["generation"])
        guarded.setdefault(key, [])
        if crossing and crossing.seq < end_seq:
            guarded[key].append((crossing, stop_id))
        if stop_id in fired:
            assert crossing is not None, f"stop {stop_id} fired without cause"
            told = Crossing(*(int(fired[stop_id][field]) for field in ("tick_seq", "price_ticks", "level_ticks")))
            assert crossing == told, f"stop {stop_id}"
    for key, crossings in guarded.items():
        if crossings:
            _, first_stop = min(crossings, key=lambda pair: (pair[0].seq, pair[1]))
            assert first_stop in fired, f"stop {first_stop} of position {key} was crossed and did not fire"
    assert_tables_match(rig)


def entry_ns_of(rig: Rig, armed: np.void) -> int:
    """Return the time of the fill that opened the position which a stop guards: its n-th opening, by the venue's record."""
    fills = rig.segment.array("venue.fills", VENUE_FILL)[: int(rig.segment.array("venue.state")[VENUE_FILLS])]
    quantity, generation = 0, 0
    for fill in fills:
        if fill["strategy"] != armed["strategy"] or fill["instrument"] != armed["instrument"]:
            continue
        after = quantity + int(fill["side"]) * int(fill["quantity_lots"])
        if after != 0 and (quantity == 0 or (after > 0) != (quantity > 0)):
            generation += 1
            if generation == armed["generation"]:
                return int(fill["event_ns"])
        quantity = after
    raise AssertionError(f"stop {armed['stop_id']} guards a position that never opened")


def assert_tables_match(rig: Rig) -> None:
    """Stops guard exactly the positions that are open, in their present generation."""
    positions, stops = rig.positions(), rig.stops()
    live = stops[(stops["state"] == ARMED) | (stops["state"] == TRIGGERED)]
    for row, position in enumerate(positions):
        mine = live[live["position"] == row]
        if position["quantity_lots"] == 0:
            assert len(mine) == 0, f"stops on flat position {row}"
        else:
            expected = (rig.limits.default_stop_ppm > 0) + (rig.limits.trailing_stop_ppm > 0)
            assert expected == len(mine), f"position {row} has {len(mine)} stops"
            assert (mine["generation"] == position["generation"]).all()
