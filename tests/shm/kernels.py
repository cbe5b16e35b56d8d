"""Loops of the processes that the tests set against each other. Each yields while idle and gives up at a deadline."""

from shm import ring, rows, transaction, wait
from shm.atomics import futex_wait, load_acquire, monotonic_ns, store_relaxed, yield_core
from shm.jit import njit
from tests.shm.records import write_record, wrong_words

#: Longer than any test: a wait that ends by it was never rung.
WAIT_NS = 10_000_000_000


@njit
def produce(producer, end, batch, deadline_ns):
    """Publish self-checking records up to sequence `end`; returns the next sequence."""
    mask = producer.ring.slots.shape[0] - 1
    while producer.local[ring.NEXT] < end:
        count = min(batch, end - producer.local[ring.NEXT])
        first = ring.claim(producer, count)
        if first == ring.FULL:
            if monotonic_ns() > deadline_ns:
                break
            yield_core()
            continue
        for seq in range(first, first + count):
            write_record(producer.ring.slot_words, seq & mask, seq)
        ring.publish(producer)
    return producer.local[ring.NEXT]


@njit
def consume(reader, end, deadline_ns):
    """Check every record up to sequence `end`; returns the sum of their first words, and how many words were wrong."""
    mask = reader.ring.slots.shape[0] - 1
    total, wrong = 0, 0
    while reader.local[ring.AT] < end:
        first = reader.local[ring.AT]
        readable = min(ring.available(reader), end)
        if readable == first:
            if monotonic_ns() > deadline_ns:
                break
            yield_core()
            continue
        for seq in range(first, readable):
            wrong += wrong_words(reader.ring.slot_words[seq & mask], seq)
            total += reader.ring.slot_words[seq & mask, 0]
        ring.advance(reader, readable)
    return total, wrong


@njit
def consume_lossy(reader, output, output_words, end, deadline_ns):
    """Copy what a lossy reader gets up to sequence `end`; returns how many records, and how many words were wrong."""
    copied, wrong = 0, 0
    while reader.local[ring.AT] < end:
        count = ring.copy_lossy(reader, output, output_words)
        first = reader.local[ring.AT] - count
        for place in range(count):
            wrong += wrong_words(output_words[place], first + place)
        copied += count
        if count == 0:
            if monotonic_ns() > deadline_ns:
                break
            yield_core()
    return copied, wrong


@njit
def commit_rows(pending, table, counter_words, counter_index, end):
    """Set all words of all rows, and a counter, to n, in one transaction for each n up to `end`."""
    while counter_words[0] < end:
        value = counter_words[0] + 1
        for row in range(table.commits.shape[0]):
            copy = rows.edit(pending, table, row)
            for word in range(table.words.shape[1]):
                table.words[copy, word] = value
        transaction.stage(pending, counter_index, value)
        transaction.commit(pending)
    return counter_words[0]


@njit
def read_rows(table, output_words, counter_words, until, deadline_ns):
    """Read rows until the counter has reached `until`; returns reads, rows with words of two commits, rows gone back."""
    reads, torn, back, last = 0, 0, 0, 0
    while load_acquire(counter_words, 0) < until:
        for row in range(table.commits.shape[0]):
            rows.read(table, row, output_words)
            for word in range(1, output_words.shape[0]):
                if output_words[word] != output_words[0]:
                    torn += 1
                    break
            # Rows are read after each other, so that each shows at least what the one before it did, less one commit.
            if output_words[0] < last - 1:
                back += 1
            last = output_words[0]
            reads += 1
        if monotonic_ns() > deadline_ns:
            break
        yield_core()
    return reads, torn, back


@njit
def play(producer, reader, waiter, round_count, leads):
    """Send and await one record a round, parked on a futex that only a bell ends.

    Returns:
        Rounds played, waits that a bell ended, and waits that nothing ended.
    """
    mask = producer.ring.slots.shape[0] - 1
    woken, unrung = 0, 0
    for done in range(round_count):
        if leads:
            send(producer, mask)
        while ring.available(reader) == reader.local[ring.AT]:
            wait.prepare(waiter)
            if ring.available(reader) != reader.local[ring.AT]:
                wait.cancel(waiter)
                break
            if futex_wait(waiter.memory, waiter.bell, 1, WAIT_NS) == 0:
                woken += 1
            elif load_acquire(waiter.memory, waiter.bell) == 1:
                unrung += 1
                if unrung > 1:
                    return done, woken, unrung
            store_relaxed(waiter.memory, waiter.bell, 0)
        ring.advance(reader, reader.local[ring.AT] + 1)
        if not leads:
            send(producer, mask)
    return round_count, woken, unrung


@njit
def send(producer, mask):
    """Publish one record."""
    seq = ring.claim(producer, 1)
    write_record(producer.ring.slot_words, seq & mask, seq)
    ring.publish(producer)
