"""The step of the risk stage: reports first, then requests, then ticks.

Per tick: time moves, the mark moves, the bounds decide in a few nanoseconds whether any stop of the instrument can care, and
only then the stops are looked at. The cursor moves after each tick, so that a restart repeats at most the one in flight.
"""

import numpy as np

from pipeline.messages import QUOTE, TICK_OK, TRADE
from pipeline.risk.alarms import DEADLINES, ENTRIES, NEXT_ALARM
from pipeline.risk.atr import bar_price, enter_bars
from pipeline.risk.cancels import CANCELLED_COUNT, FLAGGED_COUNT, count_flags, take_back_flagged, works_of
from pipeline.risk.entries import EVENTS_NEEDED, take_request
from pipeline.risk.exits import RECV_NS, look_after_pending
from pipeline.risk.fills import take_report
from pipeline.risk.firing import NEXT_STALE_LOOK, fire_crossed, fire_deadlines, fire_stale, groups_of_tick, has_room
from pipeline.risk.flatten import flatten_flagged
from pipeline.risk.inbox import has_requests, requests_end
from pipeline.risk.review import is_due, review, review_of
from pipeline.risk.stops import DUE, PENDING_COUNT
from pipeline.risk.watching import catch_up, wake_due
from pipeline.topology import RISK_COUNTERS, RISK_NOW_NS
from shm.atomics import fence_release, load_acquire, monotonic_ns, store_relaxed
from shm.counters import put
from shm.histogram import record
from shm.jit import njit, njit_inner, njit_merged
from shm.pulse import LEAVE, PARK_NOW, turn
from shm.ring import AT, PUBLISHED, advance, available, room
from shm.transaction import OVERFLOW
from shm.wait import cancel, park, prepare

TICKS = RISK_COUNTERS.index("ticks")

#: Ticks taken between two looks at reports and requests.
TICK_BATCH = 64
#: Reports or requests taken in one step.
REPORT_BATCH = 32


@njit_merged
def step(state, tick_budget, scratch):
    """Take what has come in.

    Args:
        state: RiskState.
        tick_budget: Most ticks to take.
        scratch: int64, at least STOPS_PER_POSITION_MAX + 2 words.
    Returns:
        How many inputs were taken.
    """
    done = take_reports(state, scratch)
    if state.local[FLAGGED_COUNT] > 0 and has_room(state):
        done += take_back_flagged(works_of(state)) + flatten_flagged(state)
    if has_requests(state.transaction.memory, state.inbox):
        done += take_requests(state)
    if state.book.counts[PENDING_COUNT] > 0 and has_room(state):
        done += look_after_pending(state)
    return done + take_ticks(state, tick_budget)


@njit
def one_step(state, tick_budget, scratch):
    """Take one step, for those who call it from Python; see `step`."""
    return step(state, tick_budget, scratch)


@njit_merged
def take_reports(state, scratch):
    """Take the reports that are there, as long as what they cause finds room.

    They cause events and no orders. Were they to wait for room in the orders ring, which execution empties only while its
    reports find room, the two could wait for each other for ever.
    """
    reader = state.reports
    first = reader.local[AT]
    end = min(available(reader), first + REPORT_BATCH)
    if end == first:
        return 0
    now_ns = monotonic_ns()
    slots = reader.ring.slots
    for seq in range(first, end):
        if room(state.events) < EVENTS_NEEDED:
            return seq - first
        record(state.execution_to_risk, now_ns - slots[seq & (slots.shape[0] - 1)]["sent_ns"])
        take_report(state, seq, scratch)
    return end - first


@njit_inner
def take_requests(state):
    """Take the strategies' requests that are there, each strategy in turn.

    While orders of a scope are being taken back they wait: what is ordered after that was asked for is not taken back with it.
    """
    done = 0
    for requester in range(state.inbox.at.shape[0]):
        first = state.inbox.at[requester]
        end = min(requests_end(state.transaction.memory, state.inbox, requester), first + REPORT_BATCH)
        for seq in range(first, end):
            if state.local[CANCELLED_COUNT] > 0 or not has_room(state) or (is_due(state) and not review_now(state)):
                return done
            take_request(state, requester, seq)
            done += 1
    return done


@njit_inner
def review_now(state):
    """Let the breaker look; False where that needs more room for events than there is."""
    is_done = review(review_of(state))
    # A trip takes back what works.
    count_flags(state.scopes, state.local)
    return is_done


@njit_merged
def take_ticks(state, tick_budget):
    """Take ticks one by one, each with all that follows from it, then move the cursor.

    Order within one (DESIGN section 7): time, bars that ended and ATR levels, the tick's own bar and mark, stops that watch its
    price, deadlines.
    """
    reader, book = state.ticks, state.book
    first = reader.local[AT]
    end = min(available(reader), first + min(tick_budget, TICK_BATCH))
    if end == first:
        return 0
    now_ns = monotonic_ns()
    slots = reader.ring.slots
    mask = slots.shape[0] - 1
    for seq in range(first, end):
        tick = slots[seq & mask]
        event_ns = tick["event_ns"]
        if event_ns > state.words[RISK_NOW_NS]:
            store_relaxed(state.words, RISK_NOW_NS, event_ns)
        state.local[RECV_NS] = tick["recv_ns"]
        if is_due(state) and not review_now(state):
            return seq - first
        if state.words[RISK_NOW_NS] >= book.counts[NEXT_ALARM + ENTRIES]:
            wake_due(state)
        if tick["flags"] == TICK_OK and (tick["kind"] == QUOTE or tick["kind"] == TRADE):
            instrument = np.int64(tick["instrument"])
            if state.words[RISK_NOW_NS] >= book.bounds[instrument][DUE]:
                catch_up(state, instrument)
            set_mark(state, seq, instrument, tick)
            groups = groups_of_tick(book, instrument, tick)
            if groups != 0 and not fire_crossed(state, seq, instrument, groups):
                return seq - first
        if state.words[RISK_NOW_NS] >= book.counts[NEXT_ALARM + DEADLINES] and not fire_deadlines(state, seq):
            return seq - first
        if state.limits.flattens and state.words[RISK_NOW_NS] >= state.local[NEXT_STALE_LOOK]:
            fire_stale(state, seq)
        record(state.ingest_to_risk, now_ns - tick["recv_ns"])
        advance(reader, seq + 1)
        # The next tick's stores stay behind this cursor: a restart must not find effects of a tick it will repeat.
        fence_release()
    put(state.counters, TICKS, end)
    return end - first


@njit_merged
def set_mark(state, seq, instrument, tick):
    """Let a tick enter its instrument's bars and mark."""
    mark, now_ns = state.marks[instrument], state.words[RISK_NOW_NS]
    is_trade = tick["kind"] == TRADE
    price = bar_price(state.limits.atr_source, is_trade, tick["a"], tick["b"])
    if price > 0:
        end_ns = enter_bars(state.book.atr, instrument, price, now_ns)
        state.book.bounds[instrument][DUE] = min(state.book.bounds[instrument][DUE], end_ns)
    mark["tick_seq"] = seq
    mark["tick_recv_ns"] = tick["recv_ns"]
    mark["tick_count"] += 1
    if is_trade:
        mark["last_ticks"], mark["trade_ns"] = tick["a"], now_ns
    else:
        mark["bid_ticks"], mark["ask_ticks"], mark["quote_ns"] = tick["a"], tick["b"], now_ns


@njit
def has_input(state):
    """Tell whether anything waits. For the last look before parking."""
    return load_acquire(state.ticks.ring.words, PUBLISHED) > state.ticks.local[AT] or has_orders(state)


@njit
def has_orders(state):
    """Tell whether a report or a request waits: what must be done before the stage is drained, while time ticks on."""
    return load_acquire(state.reports.ring.words, PUBLISHED) > state.reports.local[AT] or has_requests(
        state.transaction.memory, state.inbox
    )


@njit
def run(state, pulse, scratch):
    """Step until told otherwise, or until it is time to look at signals.

    Returns:
        0, or transaction.OVERFLOW where an input needed more than one transaction holds: the stage must stop.
    """
    while True:
        said = turn(pulse, step(state, TICK_BATCH, scratch))
        if said == LEAVE or state.transaction.local[1] > 0:
            return OVERFLOW if state.transaction.local[1] > 0 else 0
        if said == PARK_NOW:
            prepare(pulse.waiter)
            if has_input(state):
                cancel(pulse.waiter)
            else:
                park(pulse.waiter, pulse.until_ns - monotonic_ns())
