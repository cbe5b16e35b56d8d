"""The step of the ingest stage: what is due is judged, stamped and published.

The ring's `published`, the position in the feed and the counters change in one transaction, so that a restart goes on with the
very next tick, and received = accepted + rejected + conflated holds whatever dies.
"""

import numpy as np

from pipeline.ingest.conflate import KEPT, choose
from pipeline.ingest.hygiene import GAPS, begin_batch, judge
from pipeline.ingest.state import CHUNK_AT, CHUNK_END, ENDED, LAST_SENT_NS, NEXT_DUE_NS, OFFERS
from pipeline.messages import TICK_BAD_TIME, TICK_OK, TIMER
from pipeline.tables import HYGIENE_UNDO_MAX
from pipeline.topology import ANCHOR_EVENT_NS, ANCHOR_NS, FEED_LAST_EVENT_NS, FEED_POSITION, INGEST_COUNTERS
from shm.atomics import monotonic_ns, pause, sleep_ns, yield_core
from shm.counters import add, stage_add
from shm.jit import njit, njit_inner, njit_merged
from shm.pulse import LEAVE, turn
from shm.ring import claim, room, stage_publish, wake
from shm.transaction import commit, stage
from shm.wait import SPIN

RECEIVED = INGEST_COUNTERS.index("received")
ACCEPTED = INGEST_COUNTERS.index("accepted")
CONFLATED = INGEST_COUNTERS.index("conflated")
TIMERS = INGEST_COUNTERS.index("timers")
RING_FULL = INGEST_COUNTERS.index("ring_full")
GAPS_SEEN = INGEST_COUNTERS.index("gaps")

#: step() wants the next chunk of the feed.
CHUNK_EMPTY = -1
#: Ticks judged and published at once.
BATCH_MAX = 256
#: A timer tick moves time where no tick did for this long.
TIMER_NS = 10_000_000
#: A gap in the data longer than this (a night, a weekend) is not waited for: the next tick comes after GAP_WAIT_NS.
GAP_NS_MAX, GAP_WAIT_NS = 10_000_000_000, 1_000_000_000
#: Sleep until this long before a tick is due, then hold the core: a sleep ends late, and who yields may come back late.
AWAKE_BEFORE_NS = 150_000
#: Before that the core is offered so often to those who have the last tick to work on.
OFFERS_AFTER_WORK = 8
SLEEP_NS_MAX = 5_000_000

assert BATCH_MAX <= HYGIENE_UNDO_MAX, "each tick of a batch may put a row into the undo log of hygiene"


@njit_merged
def step(state, now_ns):
    """Publish what is due.

    Args:
        state: IngestState.
        now_ns: Monotonic time.
    Returns:
        How many ticks were taken from the feed or made by the timer, or CHUNK_EMPTY.
    """
    local = state.local
    if local[ENDED] == 0 and local[CHUNK_AT] == local[CHUNK_END]:
        return CHUNK_EMPTY
    count = count_due(state, now_ns) if local[ENDED] == 0 else 0
    if count == 0:
        return send_timer(state, now_ns)
    space = max(room(state.ticks) - state.held_back, 0)
    if not state.live:
        count = min(count, space)
    if space < count or space == 0:
        add(state.counters, RING_FULL, 1)
    if space == 0:
        return 0
    first = local[CHUNK_AT]
    accepted = judge_all(state, first, first + count)
    if space >= count:
        publish_all(state, first, first + count, now_ns)
    else:
        count, accepted = publish_kept(state, first, first + count, space, now_ns)
    finish(state, first, first + count, accepted)
    local[LAST_SENT_NS] = now_ns
    local[OFFERS] = OFFERS_AFTER_WORK
    return count


@njit
def one_step(state, now_ns):
    """Take one step, for those who call it from Python; see `step`."""
    return step(state, now_ns)


@njit_merged
def due_ns_of(state, event_ns):
    """Return the monotonic time at which an event is due."""
    return state.words[ANCHOR_NS] + np.int64((event_ns - state.words[ANCHOR_EVENT_NS]) * state.slowness)


@njit_inner
def set_anchor(state, now_ns, event_ns):
    """Pair an event time with a monotonic time: events after it are due as much later."""
    stage(state.transaction, state.words_base + ANCHOR_NS, now_ns)
    stage(state.transaction, state.words_base + ANCHOR_EVENT_NS, event_ns)
    commit(state.transaction)


@njit_merged
def count_due(state, now_ns):
    """Return how many ticks of the chunk are due, at most BATCH_MAX, and note when the next one is."""
    local, chunk = state.local, state.chunk
    first, end = local[CHUNK_AT], min(local[CHUNK_END], local[CHUNK_AT] + BATCH_MAX)
    if state.slowness == 0.0:
        return end - first
    if state.words[ANCHOR_NS] == 0:
        set_anchor(state, now_ns, chunk[first]["event_ns"])
    k = first
    while k < end:
        due_ns = due_ns_of(state, chunk[k]["event_ns"])
        if due_ns - now_ns > GAP_NS_MAX:
            set_anchor(state, now_ns + GAP_WAIT_NS, chunk[k]["event_ns"])
            due_ns = now_ns + GAP_WAIT_NS
        if due_ns > now_ns:
            local[NEXT_DUE_NS] = due_ns
            break
        k += 1
    return k - first


@njit_merged
def judge_all(state, first, end):
    """Judge a range of the chunk, as if none of it had been judged before, and set each tick's flags.

    Returns:
        How many are accepted.
    """
    accepted = 0
    begin_batch(state.hygiene, state.words[FEED_POSITION])
    for k in range(first, end):
        reason = judge(state.hygiene, state.chunk[k])
        state.chunk[k]["flags"] = reason
        accepted += reason == TICK_OK
    return accepted


@njit_merged
def copy_tick(state, k, seq, now_ns):
    """Copy one tick into its slot, stamped with when it was due."""
    slots = state.ticks.ring.slots
    slot = slots[seq & (slots.shape[0] - 1)]
    tick = state.chunk[k]
    event_ns = tick["event_ns"]
    if tick["flags"] == TICK_BAD_TIME:
        event_ns = state.words[FEED_LAST_EVENT_NS]
    slot["event_ns"] = event_ns
    # The intended time, not the one at which we got round to it: latencies must not hide a late ingest.
    slot["recv_ns"] = now_ns if state.slowness == 0.0 else min(due_ns_of(state, event_ns), now_ns)
    slot["venue_seq"] = tick["venue_seq"]
    slot["instrument"] = tick["instrument"]
    slot["kind"] = tick["kind"]
    slot["flags"] = tick["flags"]
    slot["venue"] = tick["venue"]
    slot["a"] = tick["a"]
    slot["b"] = tick["b"]
    slot["c"] = tick["c"]
    slot["d"] = tick["d"]


@njit_merged
def publish_all(state, first, end, now_ns):
    """Claim slots for a range of the chunk and fill them."""
    seq = claim(state.ticks, end - first)
    for k in range(first, end):
        copy_tick(state, k, seq + k - first, now_ns)


@njit_inner
def publish_kept(state, first, end, space, now_ns):
    """Conflate a range of the chunk until what is kept finds room, and fill slots with it.

    Returns:
        How many ticks of the chunk are done with, and how many of them are accepted.
    """
    kept = choose(state.chunk, first, end, state.keep, state.tracks, state.links)
    while kept > space:
        end = first + (end - first) // 2
        kept = choose(state.chunk, first, end, state.keep, state.tracks, state.links)
    # What hygiene remembers must be of these ticks alone: the others will be judged again.
    accepted = judge_all(state, first, end)
    if kept > 0:
        seq = claim(state.ticks, kept)
        for k in range(first, end):
            if state.keep[k] == KEPT:
                copy_tick(state, k, seq, now_ns)
                seq += 1
    stage_add(state.transaction, state.counters, CONFLATED, accepted - kept)
    return end - first, kept


@njit_merged
def finish(state, first, end, accepted):
    """Count, and make everything visible in one transaction."""
    transaction, counters = state.transaction, state.counters
    last_event_ns = state.words[FEED_LAST_EVENT_NS]
    for k in range(first, end):
        reason = np.int64(state.chunk[k]["flags"])
        if reason != TICK_OK:
            # The counters of the reasons stand behind `received`, in order of their codes.
            stage_add(transaction, counters, ACCEPTED + reason, 1)
        if reason != TICK_BAD_TIME:
            last_event_ns = max(last_event_ns, state.chunk[k]["event_ns"])
    stage_add(transaction, counters, RECEIVED, end - first)
    if state.hygiene.words[GAPS] > 0:
        stage_add(transaction, counters, GAPS_SEEN, state.hygiene.words[GAPS])
    stage_add(transaction, counters, ACCEPTED, accepted)
    position = state.words[FEED_POSITION] + end - first
    stage(transaction, state.words_base + FEED_POSITION, position)
    stage(transaction, state.words_base + FEED_LAST_EVENT_NS, last_event_ns)
    stage_publish(transaction, state.ticks)
    commit(transaction)
    state.local[CHUNK_AT] = end
    wake(state.ticks)


@njit_merged
def send_timer(state, now_ns):
    """Publish a timer tick where time has stood still for TIMER_NS: paced, or after the end of the data.

    Returns:
        How many ticks were published.
    """
    local, words = state.local, state.words
    ended = local[ENDED] != 0
    if now_ns - local[LAST_SENT_NS] < TIMER_NS or (state.slowness == 0.0 and not ended) or words[FEED_LAST_EVENT_NS] == 0:
        return 0
    if ended:
        event_ns = words[FEED_LAST_EVENT_NS] + TIMER_NS
    else:
        event_ns = words[ANCHOR_EVENT_NS] + np.int64((now_ns - words[ANCHOR_NS]) / state.slowness)
        event_ns = max(min(event_ns, state.chunk[local[CHUNK_AT]]["event_ns"]), words[FEED_LAST_EVENT_NS])
    if room(state.ticks) < 1:
        return 0
    slots = state.ticks.ring.slots
    slot = slots[claim(state.ticks, 1) & (slots.shape[0] - 1)]
    slot["event_ns"] = event_ns
    slot["recv_ns"] = now_ns
    slot["venue_seq"] = 0
    slot["instrument"] = 0
    slot["kind"] = TIMER
    slot["flags"] = TICK_OK
    slot["venue"] = 0
    slot["a"], slot["b"], slot["c"], slot["d"] = 0, 0, 0, 0
    stage(state.transaction, state.words_base + FEED_LAST_EVENT_NS, event_ns)
    stage_add(state.transaction, state.counters, TIMERS, 1)
    stage_publish(state.transaction, state.ticks)
    commit(state.transaction)
    wake(state.ticks)
    local[LAST_SENT_NS] = now_ns
    return 1


@njit_merged
def rest(state, pulse, now_ns):
    """Wait until the next tick is nearly due, or a little where the ring was full."""
    if pulse.waiter.strategy == SPIN:
        pause()
        return
    if state.local[ENDED] != 0:
        sleep_ns(SLEEP_NS_MAX)
        return
    local = state.local
    early_ns = local[NEXT_DUE_NS] - now_ns - AWAKE_BEFORE_NS
    if state.slowness > 0.0 and early_ns > 0:
        sleep_ns(min(early_ns, SLEEP_NS_MAX))
    elif state.slowness == 0.0 or local[OFFERS] > 0:
        local[OFFERS] -= 1
        yield_core()
    else:
        pause()


@njit
def run(state, pulse):
    """Step until told otherwise, until it is time to look at signals, or until the chunk is used up.

    Returns:
        CHUNK_EMPTY, or 0.
    """
    while True:
        now_ns = monotonic_ns()
        done = step(state, now_ns)
        if done == CHUNK_EMPTY:
            return CHUNK_EMPTY
        # Ingest knows when the next tick is due, so it waits by the clock and never parks: the pulse is told of work.
        if turn(pulse, 1) == LEAVE or now_ns >= pulse.until_ns:
            return 0
        if done == 0:
            rest(state, pulse, now_ns)
