"""Events: what changed state for good, told to the sidecar and to strategies."""

import numpy as np

from pipeline.order_ids import exit_order_id
from pipeline.risk.levels import NEVER, NOTHING, level_at, target_of
from pipeline.risk.watching import atr_of, best_of
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
def level_now(book, slot):
    """Return the signed level, or target, of a stop as it is now."""
    terms = book.terms[slot]
    target = target_of(terms)
    return target if target != NEVER else level_at(terms, best_of(book, slot), book.floors[slot], atr_of(book, terms))


@njit_inner
def stop_event(state, kind, stop_slot):
    """Claim an event about a stop, filled from its row as this transaction leaves it."""
    slot = new_event(state, kind)
    event = state.events.ring.slots[slot]
    book = state.book
    terms = book.terms[stop_slot]
    stop = book.table.copies[latest(state.transaction, book.table, stop_slot)]
    event["stop_id"] = terms["stop_id"]
    event["stop_kind"] = terms["kind"]
    event["watch"] = terms["watch"]
    event["instrument"] = terms["instrument"]
    event["strategy"] = np.int64(terms["position"]) // state.marks.shape[0]
    event["side"] = np.int32(terms["side"])
    event["generation"] = terms["generation"]
    event["order_id"] = exit_order_id(terms["stop_id"], np.int64(stop["attempt"])) if stop["attempt"] > 0 else 0
    event["price_ticks"] = terms["entry_ticks"]
    level = level_now(book, stop_slot)
    event["level_ticks"] = 0 if level == NOTHING else np.int64(terms["side"]) * level
    return slot
