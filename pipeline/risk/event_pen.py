"""Writing an event: the part of it that all kinds share."""

from typing import NamedTuple

import numpy as np

from pipeline.topology import RISK_NOW_NS
from shm.atomics import monotonic_ns
from shm.jit import njit_inner, njit_merged
from shm.ring import Producer, claim, stage_publish
from shm.transaction import Transaction


class EventPen(NamedTuple):
    """What writing an event touches. The fields have the names of RiskState's."""

    transaction: Transaction
    events: Producer
    words: np.ndarray  #: topology.RISK_* words


@njit_merged
def pen_of(state):
    """Return the part of RiskState, or of a part of it, that writes events: the kernel here then compiles for few arrays."""
    return EventPen(state.transaction, state.events, state.words)


@njit_inner
def new_event(pen, kind):
    """Claim an event and fill what all kinds share. It becomes readable when the transaction commits.

    Returns:
        Its slot in the events ring. The stage has made sure that there is room.
    """
    slots = pen.events.ring.slots
    seq = claim(pen.events, 1)
    slot = seq & (slots.shape[0] - 1)
    for w in range(pen.events.ring.slot_words.shape[1]):
        pen.events.ring.slot_words[slot, w] = 0
    event = slots[slot]
    event["event_id"] = seq + 1
    event["event_ns"] = pen.words[RISK_NOW_NS]
    event["sent_ns"] = monotonic_ns()
    event["kind"] = kind
    event["tick_seq"] = -1
    stage_publish(pen.transaction, pen.events)
    return slot
