"""Events: what changed state for good, told to the sidecar and to strategies."""

import numpy as np

from pipeline.order_ids import exit_order_id
from pipeline.risk.event_pen import new_event, pen_of
from pipeline.risk.levels import NEVER, NOTHING, level_at, target_of
from pipeline.risk.watching import atr_of, best_of
from shm.jit import njit_inner
from shm.rows import latest


@njit_inner
def level_now(book, slot):
    """Return the signed level, or target, of a stop as it is now."""
    terms = book.terms[slot]
    target = target_of(terms)
    return target if target != NEVER else level_at(terms, best_of(book, slot), book.floors[slot], atr_of(book, terms))


@njit_inner
def stop_event(state, kind, stop_slot):
    """Claim an event about a stop, filled from its row as this transaction leaves it."""
    slot = new_event(pen_of(state), kind)
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
