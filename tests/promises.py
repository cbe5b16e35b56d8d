"""What must hold of an instance that has settled, whatever died on the way: the promises of DESIGN section 1, as assertions."""

from __future__ import annotations

from collections import Counter

import numpy as np

from pipeline.messages import (
    ACCEPTED,
    ARMED,
    CANCEL,
    CANCELLED,
    EVENT,
    EXIT,
    FILLED,
    ORDER,
    QUOTE,
    REJECTED,
    REPORT,
    STOP_ARMED,
    STOP_ENDED,
    STOP_OWED,
    STOP_TRIGGERED,
    TICK,
    TICK_OK,
    TICK_REASONS,
    TIMER,
    TRIGGERED,
)
from tests.hygiene_twin import HygieneTwin
from tests.oracle import Crossing, crossings, fold
from tests.rig import Rig

#: An exit's order id ends with its attempt.
ATTEMPT_MASK = 0xFFFF


def assert_kept(rig: Rig) -> None:
    """Check every promise on a settled rig whose rings have not wrapped, or that records what wraps."""
    assert_ticks_accounted(rig)
    assert_nothing_twice(rig)
    assert_exits_in_turn(rig)
    assert_positions_fold(rig)
    assert_exits_only_reduce(rig)
    assert_stops_kept(rig)


def assert_ticks_accounted(rig: Rig) -> None:
    """Every tick of the feed is in the ring once, in order and as it was, or counted as rejected or conflated.

    A live feed must be numbered from 1 in `venue_seq`: that tells which of its ticks were kept.
    """
    seen = rig.records("ticks", TICK)
    seen = seen[seen["kind"] != TIMER]
    if not rig.live:
        assert len(seen) == len(rig.ticks), f"{len(rig.ticks)} ticks in the feed, {len(seen)} in the ring"
    numbers = seen["venue_seq"] if rig.live else np.arange(1, len(rig.ticks) + 1)
    assert (np.diff(numbers) > 0).all(), f"ticks twice or out of order: {numbers[:-1][np.diff(numbers) <= 0]}"
    for field in ("venue_seq", "instrument", "kind", "a", "b", "c", "d"):
        assert (rig.ticks[numbers - 1][field] == seen[field]).all(), f"ticks in the ring are not the feed's: {field}"
    reasons, gap_count = reasons_of(rig)
    assert [reasons[number - 1] for number in numbers] == list(seen["flags"]), "hygiene let the wrong ticks in"
    count = rig.count("ingest")
    assert count["received"] == len(rig.ticks)
    told = {name: count[name] for name in TICK_REASONS[1:]}
    counted = Counter(TICK_REASONS[reason] for reason in reasons)
    assert told == {name: counted[name] for name in told}, "rejected ticks are not counted once each, by reason"
    assert count["gaps"] == gap_count, "gaps are not counted once each"
    assert count["received"] == count["accepted"] + sum(told.values()) + count["conflated"]
    assert count["accepted"] == (seen["flags"] == TICK_OK).sum()


def reasons_of(rig: Rig) -> tuple[list[int], int]:
    """Return what hygiene must say of each tick of the feed, and how many gaps it must have seen."""
    twin = HygieneTwin(rig.sizes.instruments, rig.max_jump_ppm, rig.numbered)
    return twin.judge_all(rig.ticks), twin.gaps


def assert_nothing_twice(rig: Rig) -> None:
    """No order is in the ring or at the venue twice, each ends once, no event is told twice, each fill is reported once."""
    orders, reports = rig.records("orders", ORDER), rig.records("reports", REPORT)
    told = assert_orders_end_once(orders, reports)
    count = rig.count("execution")
    working = count["accepted"] - count["filled"] - count["cancelled"]
    assert working == 0, f"{working} orders work when all has settled"
    assert told[ACCEPTED] == sorted(rig.venue_order_ids()), "the venue's orders are not those that it accepted"
    assert count["venue_duplicates"] == count["duplicates"] == 0, "something was sent twice"
    fill_ids = sorted(int(fill_id) for fill_id in reports["fill_id"][reports["kind"] == FILLED])
    assert fill_ids == list(range(1, count["venue_fills"] + 1)), "fills are not reported once each"
    counted = [count[name] for name in ("orders", "cancels", "accepted", "filled", "cancelled", "rejected")]
    is_cancel = orders["kind"] == CANCEL
    ends = [len(told[kind]) for kind in (ACCEPTED, FILLED, CANCELLED, REJECTED)]
    assert counted == [(~is_cancel).sum(), is_cancel.sum(), *ends], "orders are not counted once each"
    assert count["cancelled"] == count["venue_cancelled"], "what the venue took back is not what was reported"
    events = rig.records("events", EVENT)
    assert list(events["event_id"]) == list(range(1, len(events) + 1)), "events are not numbered one by one"
    of_stops = Counter((int(event["stop_id"]), int(event["kind"])) for event in events if event["stop_id"])
    once = {key: times for key, times in of_stops.items() if times > 1 and key[1] in (STOP_ARMED, STOP_TRIGGERED, STOP_ENDED)}
    assert not once, f"events told twice: {once}"


def assert_orders_end_once(orders: np.ndarray, reports: np.ndarray) -> dict[int, list[int]]:
    """No order is in the ring twice, each is accepted or rejected once, and what is accepted ends once at most, as told.

    Returns:
        The ids of the orders that were accepted, filled, cancelled and rejected, by kind of report, sorted.
    """
    sent = orders[orders["kind"] != CANCEL]
    ids = sorted(int(order_id) for order_id in sent["order_id"])
    assert len(ids) == len(set(ids)), "an order is in the ring twice"
    kinds = (ACCEPTED, FILLED, CANCELLED, REJECTED)
    told = {kind: sorted(int(order_id) for order_id in reports["order_id"][reports["kind"] == kind]) for kind in kinds}
    assert ids == sorted(told[ACCEPTED] + told[REJECTED]), "not every order was accepted or rejected once"
    ended = told[FILLED] + told[CANCELLED]
    assert len(ended) == len(set(ended)), "an order ended twice"
    assert set(ended) <= set(told[ACCEPTED]), "an order ended that was not accepted"
    lots = {int(order["order_id"]): int(order["quantity_lots"]) for order in sent}
    for report in reports:
        left = 0 if report["kind"] == FILLED else lots[int(report["order_id"])]
        assert left == report["left_lots"], f"order {report['order_id']}: {report['left_lots']} lots said to be left"
        assert report["quantity_lots"] == lots[int(report["order_id"])], f"order {report['order_id']}: lots of a report"
    return told


def assert_exits_in_turn(rig: Rig) -> None:
    """A stop sends its next exit only when the one before has ended and its wait is over; waits double up to the longest."""
    orders = rig.records("orders", ORDER)
    owed_events = [event for event in rig.records("events", EVENT) if event["kind"] == STOP_OWED]
    owed = {int(event["order_id"]): int(event["event_ns"]) for event in owed_events}
    assert len(owed) == len(owed_events), "an exit was told to be owed twice"
    sent: dict[int, int] = {}
    for order in orders:
        if order["kind"] == CANCEL or not order["flags"] & EXIT:
            continue
        stop_id, order_id = int(order["stop_id"]), int(order["order_id"])
        attempt = order_id & ATTEMPT_MASK
        previous = sent.get(stop_id, order_id - 1)
        assert order_id == previous + 1, f"stop {stop_id} skipped an attempt"
        if attempt > 1:
            assert previous in owed, f"stop {stop_id} sent exit {attempt} before the one before it had ended"
            wait_ns = min(rig.limits.retry_ns << (attempt - 2), rig.limits.retry_ns_max)
            assert order["event_ns"] >= owed[previous] + wait_ns, f"stop {stop_id} did not wait before exit {attempt}"
        sent[stop_id] = order_id


def assert_positions_fold(rig: Rig) -> None:
    """Quantities and P&L are the fold of the venue's own fills, and nothing works any more."""
    folded = fold(rig.venue_fills())
    for row, position in enumerate(rig.positions()):
        key = divmod(row, rig.sizes.instruments)
        expected = folded.get(key)
        quantity, spent = (expected.quantity, expected.spent) if expected else (0, 0)
        assert quantity == position["quantity_lots"], f"position {key}"
        # realised = what came in for what is closed; cost = what the rest has cost: together all that was spent.
        assert spent == position["cost_tick_lots"] - position["realised_tick_lots"], f"P&L of position {key}"
        assert position["working_buy_lots"] == position["working_sell_lots"] == position["exit_lots"] == 0, f"working of {key}"


def assert_exits_only_reduce(rig: Rig) -> None:
    """No exit's fill opens, adds to or flips a position, by the venue's own record."""
    exits = {int(order["order_id"]) for order in rig.records("orders", ORDER) if order["flags"] & EXIT}
    quantities: Counter[tuple[int, int]] = Counter()
    for fill in rig.venue_fills():
        key = int(fill["strategy"]), int(fill["instrument"])
        before = quantities[key]
        quantities[key] += int(fill["side"]) * int(fill["quantity_lots"])
        if int(fill["order_id"]) in exits:
            after = quantities[key]
            assert abs(after) < abs(before) and before * after >= 0, f"an exit turned {before} lots into {after} of {key}"


def in_stream_time(ticks: np.ndarray) -> np.ndarray:
    """Return a copy of ticks with stream time instead of their own: the latest time of any tick so far."""
    result = ticks.copy()
    result["event_ns"] = np.maximum.accumulate(ticks["event_ns"])
    return result


def quotes_of(ticks: list[tuple[int, np.void]], instrument: int) -> list[tuple[int, np.void]]:
    """Return an instrument's accepted quotes."""
    return [
        (seq, tick)
        for seq, tick in ticks
        if tick["kind"] == QUOTE and tick["flags"] == TICK_OK and tick["instrument"] == instrument
    ]


def assert_stops_kept(rig: Rig) -> None:
    """Each stop fired exactly where the oracle says, or ended before; an open position has its stops, a flat one none."""
    events = rig.records("events", EVENT)
    armed = {int(event["stop_id"]): event for event in events if event["kind"] == STOP_ARMED}
    fired = {int(event["stop_id"]): event for event in events if event["kind"] == STOP_TRIGGERED}
    ended = {int(event["stop_id"]): event for event in events if event["kind"] == STOP_ENDED}
    ticks = list(enumerate(in_stream_time(rig.records("ticks", TICK))))
    quotes = {instrument: quotes_of(ticks, instrument) for instrument in range(rig.sizes.instruments)}
    guarded: dict[tuple[int, int, int], list[tuple[Crossing, int]]] = {}
    for stop_id, event in armed.items():
        end_seq = int(ended[stop_id]["tick_seq"]) if stop_id in ended else len(ticks)
        crossed = {crossing.seq: crossing for crossing in crossings_of(rig, event, quotes) if crossing.seq < end_seq}
        key = int(event["strategy"]), int(event["instrument"]), int(event["generation"])
        guarded.setdefault(key, [])
        if crossed:
            guarded[key].append((min(crossed.values(), key=lambda crossing: crossing.seq), stop_id))
        if stop_id in fired:
            told = Crossing(*(int(fired[stop_id][field]) for field in ("tick_seq", "price_ticks", "level_ticks")))
            assert crossed.get(told.seq) == told, f"stop {stop_id} fired without cause: {told}"
            assert stop_id in ended, f"stop {stop_id} fired, and its position was not left"
    for key, first_crossings in guarded.items():
        if first_crossings:
            crossing, first_stop = min(first_crossings, key=lambda pair: (pair[0].seq, pair[1]))
            assert first_stop in fired, f"stop {first_stop} of position {key} was crossed and did not fire"
            # Later stops of the position wait while exits of the first take all of it; the first has nothing to wait for.
            assert crossing.seq == fired[first_stop]["tick_seq"], f"stop {first_stop} of position {key} fired late"
    assert set(fired) <= set(armed), "a stop fired that nobody armed"
    assert_tables_match(rig)


def crossings_of(rig: Rig, armed: np.void, quotes: dict[int, list[tuple[int, np.void]]]) -> list[Crossing]:
    """Return where the oracle has a stop crossed."""
    kind = int(armed["stop_kind"])
    percents = dict(zip(rig.limits.defaults["kind"].tolist(), rig.limits.defaults["percent_ppm"].tolist(), strict=True))
    found = crossings(
        kind, int(armed["side"]), int(armed["price_ticks"]), entry_ns_of(rig, armed), percents[kind],
        quotes[int(armed["instrument"])], int(armed["tick_seq"]),
    )  # fmt: skip
    return list(found)


def entry_ns_of(rig: Rig, armed: np.void) -> int:
    """Return the time of the fill that opened the position which a stop guards: its n-th opening, by the venue's record."""
    quantity, generation = 0, 0
    for fill in rig.venue_fills():
        if fill["strategy"] != armed["strategy"] or fill["instrument"] != armed["instrument"]:
            continue
        after = quantity + int(fill["side"]) * int(fill["quantity_lots"])
        if after != 0 and (quantity == 0 or (after > 0) != (quantity > 0)):
            generation += 1
            if generation == armed["generation"]:
                assert fill["price_ticks"] == armed["price_ticks"], f"stop {armed['stop_id']} guards from another price"
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
            expected = len(rig.limits.defaults)
            assert expected == len(mine), f"position {row} has {len(mine)} stops"
            assert (mine["generation"] == position["generation"]).all()
