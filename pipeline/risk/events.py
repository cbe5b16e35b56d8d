"""Events: what changed state for good, told to the sidecar and to strategies."""

import numpy as np

from pipeline.topology import RISK_NOW_NS
from shm.atomics import monotonic_ns
from shm.jit import njit_inner
from shm.ring import claim, stage_publish
from shm.rows import latest


@njit_inner
def new_event(state, kind):
    """Claim an event and fill what all kinds share. It becomes readable when the transaction commits.

    Returns:
        Its slot in the events ring. The stage has made sure that there is room.
    """
    slots = state.events.ring.slots
    seq = claim(state.events, 1)
    slot = seq & (slots.shape[0] - 1)
    for w in range(state.events.ring.slot_words.shape[1]):
        state.events.ring.slot_words[slot, w] = 0
    event = slots[slot]
    event["event_id"] = seq + 1
    event["event_ns"] = state.words[RISK_NOW_NS]
    event["sent_ns"] = monotonic_ns()
    event["kind"] = kind
    event["tick_seq"] = -1
    stage_publish(state.transaction, state.events)
    return slot


@njit_inner
def stop_event(state, kind, stop_slot):
    """Claim an event about a stop, filled from its row as this transaction leaves it."""
    slot = new_event(state, kind)
    event = state.events.ring.slots[slot]
    stop = state.book.table.copies[latest(state.transaction, state.book.table, stop_slot)]
    event["stop_id"] = stop["stop_id"]
    event["stop_kind"] = stop["kind"]
    event["instrument"] = stop["instrument"]
    event["strategy"] = stop["strategy"]
    event["side"] = np.int32(stop["side"])
    event["generation"] = stop["generation"]
    event["order_id"] = stop["order_id"]
    event["price_ticks"] = stop["entry_ticks"]
    event["level_ticks"] = stop["level_ticks"]
    return slot
