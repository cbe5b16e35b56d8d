"""Both sides of the ring bench: the bare bounce, the ping-pong over two rings, the stream one way.

Bounce and hop do not pause in their spin loops, neither the yardstick nor the ring: each side has its core, and it is the
line's way from one to the other that is measured. The streams pause as workers do. Every loop ends at its deadline.
"""

from shm.atomics import load_acquire, monotonic_ns, pause, store_release
from shm.histogram import record
from shm.jit import njit, njit_inline
from shm.ring import AT, FULL, advance, available, claim, copy_lossy, publish

PING, PONG = 0, 32
#: Turns of a spin loop between two looks at the deadline.
CLOCK_MASK = (1 << 14) - 1
#: A record's fields.
FIELDS = ("sequence", "w1", "w2", "w3", "w4", "w5", "w6", "w7")
SEQUENCE, W1, W2, W3, W4, W5, W6, W7 = FIELDS


@njit_inline
def await_word(words, index, value, deadline_ns):
    """Spin until a word has this value; False when the deadline came first."""
    turns = 0
    while load_acquire(words, index) != value:
        turns += 1
        if turns & CLOCK_MASK == 0 and monotonic_ns() > deadline_ns:
            return False
    return True


@njit
def lead_bounce(words, samples_ns, batch, singles, deadline_ns):
    """Send a flag and wait for its answer.

    Args:
        words: Shared words; PING is ours, PONG the peer's.
        samples_ns: Filled with the time of `batch` round trips each.
        batch: Round trips between two readings of the clock.
        singles: Histogram that each sample divided by 2 * batch is recorded in.
        deadline_ns: When to give up.
    Returns:
        How many samples were taken.
    """
    value = load_acquire(words, PONG)
    start_ns = monotonic_ns()
    for k in range(samples_ns.shape[0]):
        for _ in range(batch):
            value += 1
            # Release: pairs with the acquire in await_word, there and below.
            store_release(words, PING, value)
            if not await_word(words, PONG, value, deadline_ns):
                return k
        end_ns = monotonic_ns()
        samples_ns[k] = end_ns - start_ns
        record(singles, (end_ns - start_ns) // (2 * batch))
        start_ns = end_ns
    return samples_ns.shape[0]


@njit
def answer_bounce(words, count, deadline_ns):
    """Answer `count` flags; returns how many."""
    value = load_acquire(words, PONG)
    for k in range(count):
        value += 1
        if not await_word(words, PING, value, deadline_ns):
            return k
        store_release(words, PONG, value)
    return count


@njit_inline
def await_record(reader, deadline_ns):
    """Spin until there is something to read; False when the deadline came first."""
    turns = 0
    while available(reader) == reader.local[AT]:
        turns += 1
        if turns & CLOCK_MASK == 0 and monotonic_ns() > deadline_ns:
            return False
    return True


@njit_inline
def await_stream(reader, deadline_ns):
    """Wait as a worker does, with a pause a turn: a reader that hammers on `published` slows who writes it."""
    turns = 0
    while available(reader) == reader.local[AT]:
        pause()
        turns += 1
        if turns & CLOCK_MASK == 0 and monotonic_ns() > deadline_ns:
            return False
    return True


@njit_inline
def fill(slot, sequence):
    """Write all eight words of a record."""
    slot[SEQUENCE] = sequence
    slot[W1] = sequence
    slot[W2] = sequence
    slot[W3] = sequence
    slot[W4] = sequence
    slot[W5] = sequence
    slot[W6] = sequence
    slot[W7] = sequence


@njit_inline
def read_all_fields(slot):
    """Read all eight words of a record; returns 8 * sequence for a whole one."""
    return slot[SEQUENCE] + slot[W1] + slot[W2] + slot[W3] + slot[W4] + slot[W5] + slot[W6] + slot[W7]


@njit_inline
def send_one(producer, sequence, deadline_ns):
    """Claim, fill and publish one record; False when the deadline came before there was room."""
    turns = 0
    first = claim(producer, 1)
    while first == FULL:
        turns += 1
        if turns & CLOCK_MASK == 0 and monotonic_ns() > deadline_ns:
            return False
        first = claim(producer, 1)
    slots = producer.ring.slots
    fill(slots[first & (slots.shape[0] - 1)], sequence)
    publish(producer)
    return True


@njit_inline
def take_one(reader):
    """Read the record that is there, and give its slot back; returns its sequence, -1 where it is not whole."""
    slots = reader.ring.slots
    at = reader.local[AT]
    slot = slots[at & (slots.shape[0] - 1)]
    sequence = slot[SEQUENCE]
    whole = read_all_fields(slot) == 8 * sequence
    advance(reader, at + 1)
    return sequence if whole else -1


@njit
def lead_ring(producer, reader, samples_ns, batch, singles, deadline_ns):
    """Send a record and wait for the one that answers it; arguments and result as in lead_bounce."""
    value = 0
    start_ns = monotonic_ns()
    for k in range(samples_ns.shape[0]):
        for _ in range(batch):
            value += 1
            if not send_one(producer, value, deadline_ns) or not await_record(reader, deadline_ns):
                return k
            if take_one(reader) != value:
                return -1
        end_ns = monotonic_ns()
        samples_ns[k] = end_ns - start_ns
        record(singles, (end_ns - start_ns) // (2 * batch))
        start_ns = end_ns
    return samples_ns.shape[0]


@njit
def answer_ring(producer, reader, count, deadline_ns):
    """Answer `count` records, each with its own sequence; returns how many."""
    for k in range(count):
        if not await_record(reader, deadline_ns):
            return k
        if not send_one(producer, take_one(reader), deadline_ns):
            return k
    return count


@njit
def stream_out(producer, count, batch, deadline_ns):
    """Send `count` records, published `batch` at a time; returns how many."""
    slots = producer.ring.slots
    mask = slots.shape[0] - 1
    sent = turns = 0
    while sent < count:
        size = min(batch, count - sent)
        first = claim(producer, size)
        if first == FULL:
            turns += 1
            if turns & CLOCK_MASK == 0 and monotonic_ns() > deadline_ns:
                return sent
            continue
        for k in range(size):
            fill(slots[(first + k) & mask], first + k)
        publish(producer)
        sent += size
    return sent


@njit
def stream_in(reader, count, outcome, deadline_ns):
    """Read `count` records as they come.

    Args:
        reader: Gating reader.
        count: How many.
        outcome: Set to the records read, those that were not whole or not in order, the time in ns, and how many of the
            records passed in that time: the first lap is left out, for it may have been there before us.
        deadline_ns: When to give up.
    """
    slots = reader.ring.slots
    mask = slots.shape[0] - 1
    taken = wrong = before = 0
    first_ns = monotonic_ns()
    while taken < count:
        if not await_stream(reader, deadline_ns):
            break
        if taken <= mask:
            first_ns = monotonic_ns()
            before = taken
        at, end = reader.local[AT], available(reader)
        for sequence in range(at, end):
            wrong += read_all_fields(slots[sequence & mask]) != 8 * sequence
        advance(reader, end)
        taken += end - at
    outcome[0], outcome[1], outcome[2], outcome[3] = taken, wrong, monotonic_ns() - first_ns, taken - before


@njit
def stream_in_both(gating, lossy, output, output_words, plan, outcome):
    """Read a stream by a gating and by a lossy reader in turns.

    Args:
        gating: Reader in mode GATING.
        lossy: Reader in mode LOSSY of the same ring.
        output: Records that the lossy reader copies into.
        output_words: The same as int64 rows.
        plan: int64: records to read, turns of the first reader for each of the second, deadline in ns.
        outcome: As in stream_in; wrong ones of either reader.
    """
    count, every, deadline_ns = plan[0], plan[1], plan[2]
    slots = gating.ring.slots
    mask = slots.shape[0] - 1
    taken = wrong = turns = before = 0
    first_ns = monotonic_ns()
    while taken < count:
        if not await_stream(gating, deadline_ns):
            break
        if taken <= mask:
            first_ns = monotonic_ns()
            before = taken
        at, end = gating.local[AT], available(gating)
        for sequence in range(at, end):
            wrong += read_all_fields(slots[sequence & mask]) != 8 * sequence
        advance(gating, end)
        taken += end - at
        turns += 1
        if turns % every == 0:
            copied = copy_lossy(lossy, output, output_words)
            for k in range(copied):
                wrong += read_all_fields(output[k]) != 8 * (lossy.local[AT] - copied + k)
    outcome[0], outcome[1], outcome[2], outcome[3] = taken, wrong, monotonic_ns() - first_ns, taken - before
