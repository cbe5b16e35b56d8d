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
    LIMIT,
    LIMIT_CHANGED,
    MARKET,
    ORDER,
    REJECTED,
    REQUEST_REFUSED,
    STATE_CHANGED,
    STOP_ARMED,
    STOP_ENDED,
    STOP_OWED,
    STOP_TRIGGERED,
    TICK,
    TICK_OK,
    TICK_REASONS,
    TIMER,
)
from pipeline.tables import SCOPE_CANCELS, SCOPE_FEES, SCOPE_FLATTENS, SCOPE_REALISED, SCOPE_WORDS
from pipeline.topology import ACCOUNT, scope_of_instrument, scope_of_strategy
from tests.hygiene_twin import HygieneTwin
from tests.oracle import fold
from tests.recorder import RecordingRig
from tests.rig import Rig
from tests.risk_twin import RiskTwin

#: An exit's order id ends with its attempt.
ATTEMPT_MASK = 0xFFFF


def assert_kept(rig: RecordingRig) -> RiskTwin:
    """Check every promise on a settled rig.

    Returns:
        The twin of what risk did.
    """
    assert_ticks_accounted(rig)
    assert_nothing_twice(rig)
    assert_exits_in_turn(rig)
    assert_positions_fold(rig)
    assert_account_adds_up(rig)
    assert_exits_only_reduce(rig)
    assert_scopes_done(rig)
    return assert_stops_kept(rig)


def assert_account_adds_up(rig: Rig) -> None:
    """Realised P&L and fees of the account, of each strategy and of each instrument are the sums over their positions."""
    words, sizes = rig.segment.array("scopes").reshape(-1, SCOPE_WORDS), rig.sizes
    sums = np.zeros((2, sizes.scope_count), np.int64)
    for row, position in enumerate(rig.positions()):
        strategy, instrument = divmod(row, sizes.instruments)
        realised = position["realised_tick_lots"] * rig.limits.value_units[instrument]
        for scope in (ACCOUNT, scope_of_strategy(strategy), scope_of_instrument(sizes, instrument)):
            sums[:, scope] += realised, position["fee_units"]
    assert sums.T.tolist() == words[:, [SCOPE_REALISED, SCOPE_FEES]].tolist(), "realised and fees by scope"


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


def assert_nothing_twice(rig: RecordingRig) -> None:
    """No order is in the ring or at the venue twice, each ends once, no event is told twice, each fill is reported once."""
    orders, reports = rig.records("orders", ORDER), rig.told()
    told = assert_orders_end_once(orders, reports)
    count = rig.count("execution")
    working = count["accepted"] - count["filled"] - count["cancelled"]
    assert working == 0, f"{working} orders work when all has settled"
    seen_there = rig.venue_order_ids()
    assert len(seen_there) == len(set(seen_there)) <= count["venue_orders"] == len(told[ACCEPTED]), "orders at the venue"
    assert set(seen_there) <= set(told[ACCEPTED]), "the venue's orders are not those that it accepted"
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
    assert set(reports["order_id"].tolist()) <= set(lots), "a report of an order that nobody sent"
    for report in reports:
        left = 0 if report["kind"] == FILLED else lots[int(report["order_id"])]
        assert left == report["left_lots"], f"order {report['order_id']}: {report['left_lots']} lots said to be left"
        assert report["quantity_lots"] == lots[int(report["order_id"])], f"order {report['order_id']}: lots of a report"
    return told


def assert_exits_in_turn(rig: Rig) -> None:
    """A stop sends its next exit only when the one before has ended and its wait is over; waits double up to the longest.

    A limit exit may be taken back, once; when it comes back a market exit follows without a wait, and none but market exits.
    """
    orders = rig.records("orders", ORDER)
    owed_events = [event for event in rig.records("events", EVENT) if event["kind"] == STOP_OWED]
    owed = {int(event["order_id"]): int(event["event_ns"]) for event in owed_events}
    assert len(owed) == len(owed_events), "an exit was told to be owed twice"
    sent: dict[int, np.void] = {}
    taken_back: dict[int, int] = {}
    for order in orders:
        stop_id, order_id = int(order["stop_id"]), int(order["order_id"])
        last = sent.get(stop_id)
        if order["kind"] == CANCEL and order["quantity_lots"] > 0:
            # With all that works in its scope, or an entry: what works is in the twin's ledger.
            continue
        if order["kind"] == CANCEL:
            assert stop_id not in taken_back, f"stop {stop_id} took its exit back twice"
            assert last is not None and last["order_id"] == order_id, f"stop {stop_id} took back what it had not sent last"
            assert last["order_type"] == LIMIT, f"stop {stop_id} took back a market order"
            taken_back[stop_id] = order_id
            continue
        if not order["flags"] & EXIT:
            continue
        attempt, previous = order_id & ATTEMPT_MASK, order_id - 1
        assert (attempt == 1) == (last is None), f"stop {stop_id} skipped an attempt"
        if last is not None:
            assert last["order_id"] == previous, f"stop {stop_id} skipped an attempt"
            assert previous in owed, f"stop {stop_id} sent exit {attempt} before the one before it had ended"
            was_taken_back = taken_back.get(stop_id) == previous
            wait_ns = 0 if was_taken_back else min(rig.limits.retry_ns << (attempt - 2), rig.limits.retry_ns_max)
            assert order["event_ns"] >= owed[previous] + wait_ns, f"stop {stop_id} did not wait before exit {attempt}"
        assert stop_id not in taken_back or order["order_type"] == MARKET, f"stop {stop_id} went on with a limit"
        sent[stop_id] = order


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


def assert_scopes_done(rig: Rig) -> None:
    """No scope is being emptied any more, and what has changed is told as often as it is counted."""
    words = rig.risk.scopes.words.reshape(-1, SCOPE_WORDS)
    up = [scope for scope, row in enumerate(words) if row[SCOPE_CANCELS] or row[SCOPE_FLATTENS]]
    assert not up, f"scopes {up} are still being emptied"
    events, count = rig.records("events", EVENT), rig.count("risk")
    for name, kind in (("states_changed", STATE_CHANGED), ("limits_changed", LIMIT_CHANGED), ("refused", REQUEST_REFUSED)):
        assert count[name] == (events["kind"] == kind).sum(), f"{name} is not told once each"


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


def assert_stops_kept(rig: RecordingRig) -> RiskTwin:
    """Each stop fired exactly where its twin does, or ended before; an open position has its stops, a flat one none.

    Returns:
        The twin, which has seen it all.
    """
    twin = RiskTwin(rig)
    twin.live()
    assert_tables_match(rig, twin)
    return twin


def assert_tables_match(rig: RecordingRig, twin: RiskTwin) -> None:
    """What the tables say of positions and stops is what the twin has, once more from shared memory alone."""
    rig.open("risk")
    for row, position in enumerate(rig.positions()):
        told = tuple(int(position[name]) for name in ("quantity_lots", "generation"))
        expected = twin.positions[row]
        assert told == (expected.quantity, expected.generation), f"position {row}"
        if expected.quantity != 0:
            assert (position["entry_ticks"], position["entry_ns"]) == (expected.entry, expected.entry_ns), f"position {row}"
    stops = {int(stop["stop_id"]): stop for stop in rig.stops()}
    assert sorted(stops) == sorted(twin.guards), "stops in the table are not those that were armed and have not ended"
    for stop_id, guard in twin.guards.items():
        # All has settled: what fired was left.
        assert stops[stop_id]["state"] == ARMED, f"stop {stop_id} fired, and its position was not left"
        assert stops[stop_id]["position"] == guard.row, f"stop {stop_id} guards position {stops[stop_id]['position']}"
        if guard.stop.armed:
            assert stops[stop_id]["level_ticks"] == (guard.stop.level or 0), f"level of stop {stop_id}: {guard.stop.level}"
