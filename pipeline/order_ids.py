"""Order ids that anyone can compute: the same order has the same id, whoever sends it, and whenever.

an entry   (strategy's slot + 1) << 48 | sequence of its request
an exit    bit 62 | stop's id << 16 | attempt
"""

from shm.jit import njit

REQUEST_SEQ_BITS = 48
EXIT_ID_BIT = 1 << 62
ATTEMPT_BITS = 16


@njit
def exit_order_id(stop_id, attempt):
    """Return the id of a stop's n-th exit."""
    return EXIT_ID_BIT | (stop_id << ATTEMPT_BITS) | attempt


@njit
def entry_order_id(strategy, seq):
    """Return the id of the order that the request with this sequence asks for."""
    return ((strategy + 1) << REQUEST_SEQ_BITS) | seq
