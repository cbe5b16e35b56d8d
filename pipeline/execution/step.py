"""The step of the execution stage: orders out, the venue's fills back as reports."""

from pipeline.execution.open_orders import OPEN_COUNT
from pipeline.execution.orders import report_fill, take_order
from pipeline.execution.paper import see
from pipeline.topology import EXECUTION_COUNTERS, FILLS_REPORTED, VENUE_FILLS
from shm.atomics import load_acquire, monotonic_ns
from shm.counters import add
from shm.jit import njit, njit_merged
from shm.pulse import LEAVE, PARK_NOW, turn
from shm.ring import AT, PUBLISHED, advance, available, room, wake
from shm.transaction import OVERFLOW
from shm.wait import cancel, park, prepare

STALLED = EXECUTION_COUNTERS.index("stalled")
#: Orders taken in one step, and ticks.
ORDER_BATCH, TICK_BATCH = 16, 64
#: Reports that one input may cause.
REPORTS_NEEDED = 4


@njit_merged
def step(state, tick_budget):
    """Take orders, let the venue see ticks, report its fills.

    Args:
        state: ExecutionState.
        tick_budget: Most ticks to take.
    Returns:
        How many inputs were taken.
    """
    done = take_orders(state)
    done += take_ticks(state, tick_budget)
    return done + report_fills(state)


@njit
def one_step(state, tick_budget):
    """Take one step, for those who call it from Python; see `step`."""
    return step(state, tick_budget)


@njit_merged
def take_orders(state):
    """Take the orders and cancels that are there, as long as reports find room."""
    first = state.orders.local[AT]
    end = min(available(state.orders), first + ORDER_BATCH)
    for seq in range(first, end):
        if room(state.reports) < REPORTS_NEEDED:
            add(state.counters, STALLED, 1)
            return seq - first
        take_order(state, seq)
    return max(end - first, 0)


@njit_merged
def take_ticks(state, tick_budget):
    """Let the paper venue see ticks; orders that are there go first, tick by tick."""
    slots = state.ticks.ring.slots
    mask = slots.shape[0] - 1
    first = state.ticks.local[AT]
    end = min(available(state.ticks), first + min(tick_budget, TICK_BATCH))
    for seq in range(first, end):
        unreported = state.venue.words[VENUE_FILLS] - state.words[FILLS_REPORTED]
        if unreported + state.venue.opened.local[OPEN_COUNT] > state.venue.fills.shape[0]:
            # The venue's record must not lap what is not reported yet. All of it working and nothing unreported just fits:
            # to wait then would be for ever, since only a tick fills an order.
            return seq - first
        see(state.venue, slots[seq & mask])
        advance(state.ticks, seq + 1)
    return max(end - first, 0)


@njit_merged
def report_fills(state):
    """Report the venue's fills that are not reported yet."""
    first = state.words[FILLS_REPORTED]
    number = first
    while number < state.venue.words[VENUE_FILLS] and room(state.reports) >= REPORTS_NEEDED:
        report_fill(state, number)
        number += 1
    if number > first:
        wake(state.reports)
    return number - first


@njit
def has_input(state):
    """Tell whether anything waits. For the last look before parking."""
    return load_acquire(state.ticks.ring.words, PUBLISHED) > state.ticks.local[AT] or has_orders(state)


@njit
def has_orders(state):
    """Tell whether an order waits: what must be done before the stage is drained, while time ticks on."""
    return load_acquire(state.orders.ring.words, PUBLISHED) > state.orders.local[AT]


@njit
def run(state, pulse):
    """Step until told otherwise, or until it is time to look at signals.

    Returns:
        0, or transaction.OVERFLOW where an input needed more than one transaction holds: the stage must stop.
    """
    while True:
        said = turn(pulse, step(state, TICK_BATCH))
        if said == LEAVE or state.transaction.local[1] > 0:
            return OVERFLOW if state.transaction.local[1] > 0 else 0
        if said == PARK_NOW:
            prepare(pulse.waiter)
            if has_input(state):
                cancel(pulse.waiter)
            else:
                park(pulse.waiter, pulse.until_ns - monotonic_ns())
