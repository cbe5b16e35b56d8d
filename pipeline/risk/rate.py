"""The token bucket of orders, as one word: the generic cell rate algorithm (ITU-T I.371, "virtual scheduling").

The word is the stream time at which the bucket is full again. An order pushes it by T, the time of one order at the allowed
rate; it conforms while the word is no further ahead than a full bucket is worth. A share of the bucket is kept for exits, which
push the word as every order does and are never refused.
"""

from pipeline.risk.amounts import PPM
from shm.jit import njit

NS_PER_SECOND = 1_000_000_000


@njit
def next_tat(full_ns, now_ns, orders_per_second):
    """Return the word after one more order: of an entry that conforms, and of each exit.

    Args:
        full_ns: The word, SCOPE_RATE_NS.
        now_ns: Stream time.
        orders_per_second: The limit, > 0.
    """
    return max(full_ns, now_ns) + NS_PER_SECOND // orders_per_second


@njit
def conforms(full_ns, now_ns, orders_per_second, burst, reserve_ppm):
    """Tell whether one more order that is no exit conforms to the rate.

    The reserve never takes the last order of a full bucket: a burst of 1 would let none through.

    Args:
        full_ns: The word, SCOPE_RATE_NS.
        now_ns: Stream time.
        orders_per_second: The limit, >= 0; 0 lets no order through.
        burst: Orders that a full bucket holds, >= 1, below 2**20.
        reserve_ppm: Share of the bucket for exits alone, 0 to 10**6.
    """
    if orders_per_second == 0:
        return False
    if full_ns <= now_ns:
        # Full, as nearly always: no need to divide.
        return True
    each_ns = NS_PER_SECOND // orders_per_second
    bucket_ns = burst * each_ns
    # bucket_ns × share passes int64, so the whole millions and the rest apart.
    share_ppm = PPM - reserve_ppm
    usable_ns = bucket_ns // PPM * share_ppm + bucket_ns % PPM * share_ppm // PPM
    return full_ns - now_ns + each_ns <= max(usable_ns, each_ns)
