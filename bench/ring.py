"""How fast is a hop, and how many records pass?

    topology   process A on one core  ==ring there==>  process B on another core
                                      <=ring back====

    bounce     A stores a word, B sees it and stores another: no ring, the physical limit, and the yardstick
    hop        the same with a 64-byte record over two rings; all eight words are written and read
    stream     records one way, both sides whole loops in kernels, published 1, 16 or 64 at a time; the reader pauses when idle
    both       the stream read by a gating and a lossy reader in turns
    rivals     faster-fifo, multiprocessing.Queue and Pipe with 64-byte messages, in Python as they are used

Hops are half of a round trip, so that one clock is enough; `p50` comes of batches of 32 round trips between two readings of
the clock, the tails of single ones, which include one reading. Bounce and hop take turns; ratios are of one turn, their
median is stated. Rings are smaller than the number of messages, and every record is checked for being whole and in order.
"""

import statistics
import time
from collections.abc import Callable
from functools import partial

import numpy as np

from bench import rivals
from bench.harness import (
    Pinned,
    Ratio,
    Result,
    Row,
    Settings,
    choose_cores,
    in_turns,
    new_histogram,
    per_turn_ratio,
    quantile_values,
)
from bench.peer import Peer, PeerDied
from bench.ring_kernels import (
    FIELDS,
    answer_bounce,
    answer_ring,
    lead_bounce,
    lead_ring,
    stream_in,
    stream_in_both,
    stream_out,
)
from bench.steal import Disturbance
from shm.layout import Region
from shm.ring import GATING, LOSSY, RingView, open_producer, open_reader, open_ring, regions, set_reader
from shm.segment import Segment

RECORD = np.dtype([(name, "i8") for name in FIELDS], align=True)
assert RECORD.itemsize == 64, "one record is one cache line"

CAPACITY = 4096
REGIONS = [
    Region("bounce", np.dtype(np.int64), 64),
    *(region for name in ("there", "back", "stream", "both") for region in regions(name, RECORD, CAPACITY)),
]
ANSWER_BOUNCE, ANSWER_RING, STREAM_OUT, STREAM_OUT_BOTH = range(4)
BATCH = 32
PUBLISH_SIZES = (1, 16, 64)
TURN_NS_MAX = 20_000_000_000
HOP_OVER_BOUNCE_MAX, STREAM_OVER_FIFO_MIN = 1.5, 100.0


def deadline_ns() -> int:
    """Return the moment, CLOCK_MONOTONIC, after which no loop of this turn goes on."""
    return time.monotonic_ns() + TURN_NS_MAX


def _answer_bounce(segment: Segment, arguments: list[int], results: np.ndarray) -> None:
    count, until_ns = arguments[:2]
    results[0] = answer_bounce(segment.array("bounce"), count, until_ns)


def _answer_ring(segment: Segment, arguments: list[int], results: np.ndarray) -> None:
    count, until_ns = arguments[:2]
    producer = open_producer(segment, open_ring(segment, "back", RECORD))
    results[0] = answer_ring(producer, open_reader(open_ring(segment, "there", RECORD), 0), count, until_ns)


def _stream_out(name: str, segment: Segment, arguments: list[int], results: np.ndarray) -> None:
    count, batch, until_ns = arguments[:3]
    results[0] = stream_out(open_producer(segment, open_ring(segment, name, RECORD)), count, batch, until_ns)


#: What the other process does, by number.
ROLES = (_answer_bounce, _answer_ring, partial(_stream_out, "stream"), partial(_stream_out, "both"))


class Hops:
    """Measures bounce and hop in turns, and keeps the single round trips for the tails."""

    def __init__(self, peer: Peer, settings: Settings) -> None:
        self.peer = peer
        self.sample_count = settings.pick(2_000, 20)
        self.single_count = settings.pick(20_000, 100)
        self.bounce_singles = new_histogram()
        self.ring_singles = new_histogram()
        segment = peer.segment
        self.words = segment.array("bounce")
        self.producer = open_producer(segment, open_ring(segment, "there", RECORD))
        self.reader = open_reader(open_ring(segment, "back", RECORD), 0)

    def bounce(self) -> float:
        """Return the median time of a bare flag one way, in ns."""
        return self._both_kinds(ANSWER_BOUNCE, self.bounce_singles, partial(lead_bounce, self.words))

    def hop(self) -> float:
        """Return the median time of a record one way, in ns."""
        return self._both_kinds(ANSWER_RING, self.ring_singles, partial(lead_ring, self.producer, self.reader))

    def _both_kinds(self, role: int, singles: np.ndarray, lead: Callable[..., int]) -> float:
        self._lead(role, singles, lead, np.zeros(self.single_count, np.int64), 1)
        samples_ns = np.zeros(self.sample_count, np.int64)
        self._lead(role, new_histogram(), lead, samples_ns, BATCH)
        return float(np.median(samples_ns)) / (2 * BATCH)

    def _lead(self, role: int, singles: np.ndarray, lead: Callable[..., int], samples_ns: np.ndarray, batch: int) -> None:
        until_ns = deadline_ns()
        self.peer.begin(role, len(samples_ns) * batch, until_ns)
        taken = lead(samples_ns, batch, singles, until_ns)
        self.peer.end()
        if taken != len(samples_ns):
            raise PeerDied(f"only {taken} of {len(samples_ns)} samples before the deadline: is the other core taken?")


def bounce_ns(settings: Settings) -> float:
    """Return the median time of a bare flag one way between two cores, in ns: the yardstick of other benches' runs."""
    cores = choose_cores(2)
    with Pinned(cores[0]), Peer("bench.ring", REGIONS, cores[1]) as peer:
        peer.do(ANSWER_BOUNCE, 0, 0)
        hops = Hops(peer, settings)
        hops.bounce()
        return hops.bounce()


def measure_hops(peer: Peer, settings: Settings, result: Result) -> None:
    """Fill in bounce and hop, and their ratio."""
    hops = Hops(peer, settings)
    hops.bounce()
    hops.hop()
    hops.bounce_singles[:] = 0
    hops.ring_singles[:] = 0
    bounces, hop_times = in_turns([hops.bounce, hops.hop], settings.pick(9, 1))
    for what, values, singles in (("bare bounce", bounces, hops.bounce_singles), ("ring hop", hop_times, hops.ring_singles)):
        result.rows.append(Row(what, {"batch_p50_ns": round(statistics.median(values), 1), **quantile_values(singles)}))
    ratio = round(per_turn_ratio(hop_times, bounces), 2)
    result.ratios.append(Ratio("ring hop / bare bounce, p50", ratio, at_most=HOP_OVER_BOUNCE_MAX))


def measure_stream(peer: Peer, settings: Settings, result: Result) -> dict[int, float]:
    """Fill in the throughput one way, and return records per second by publish size."""
    reader = open_reader(open_ring(peer.segment, "stream", RECORD), 0)
    outcome = np.zeros(4, np.int64)
    count = settings.pick(60_000, 3 * CAPACITY)

    def stream(batch: int, count: int) -> float:
        until_ns = deadline_ns()
        peer.begin(STREAM_OUT, count, batch, until_ns)
        stream_in(reader, count, outcome, until_ns)
        peer.end()
        if outcome[0] != count or outcome[1] != 0:
            raise PeerDied(f"{outcome[0]} of {count} records came, {outcome[1]} of them wrong")
        return int(outcome[3]) / (int(outcome[2]) / 1e9)

    stream(PUBLISH_SIZES[0], CAPACITY)
    rates = in_turns([partial(stream, size, count) for size in PUBLISH_SIZES], settings.pick(101, 1))
    found = {size: statistics.median(values) for size, values in zip(PUBLISH_SIZES, rates, strict=True)}
    for (size, rate), values in zip(found.items(), rates, strict=True):
        best: dict[str, float] = {"records_per_second": round(rate), "best_turn_records_per_second": round(max(values))}
        result.rows.append(Row(f"ring, published {size} at a time", best))
    return found


def measure_both_readers(peer: Peer, settings: Settings, result: Result) -> None:
    """Fill in the throughput with a gating and a lossy reader on one ring."""
    ring = open_ring(peer.segment, "both", RECORD)
    gating, lossy = open_reader(ring, 0), open_reader(ring, 1)
    output = np.zeros(CAPACITY, RECORD)
    output_words = output.view(np.int64).reshape(CAPACITY, len(FIELDS))
    count = settings.pick(2_000_000, 3 * CAPACITY)
    plan = np.zeros(3, np.int64)
    outcome = np.zeros(4, np.int64)
    for number in (CAPACITY, count):
        until_ns = deadline_ns()
        plan[:] = number, 4, until_ns
        peer.begin(STREAM_OUT_BOTH, number, PUBLISH_SIZES[1], until_ns)
        stream_in_both(gating, lossy, output, output_words, plan, outcome)
        peer.end()
    values: dict[str, float] = {
        "records_per_second": round(int(outcome[3]) / (int(outcome[2]) / 1e9)),
        "lossy_missed": RingView(ring).missed(1),
        "wrong": int(outcome[1]),
    }
    result.rows.append(Row("ring, gating and lossy reader in turns", values))


def measure_rivals(settings: Settings, cores: list[int], stream: float, result: Result) -> None:
    """Fill in the queues that Python users reach for, and the ratio to the ring with single puts."""
    if rivals.FASTER_FIFO_SINGLE not in rivals.RIVALS:
        result.rows.append(Row("faster-fifo is not installed", {}))
    for rival in rivals.RIVALS:
        rate = rivals.measure(rival, settings.pick(rival.count, 500), cores[1])
        result.rows.append(Row(rival.name, {"records_per_second": round(rate)}))
        goal = STREAM_OVER_FIFO_MIN if rival is rivals.FASTER_FIFO_SINGLE else None
        result.ratios.append(Ratio(f"ring, single puts / {rival.name}", round(stream / rate, 1), at_least=goal))


def run(settings: Settings) -> Result:
    """Measure the ring."""
    cores = choose_cores(2)
    result = Result("ring", "A ==ring==> B, one process and one core each; back over a second ring", "see bench/ring.py")
    result.cores = cores
    if len(cores) < 2:
        result.skipped = "needs two physical cores: on one, a spinning side keeps the other from running"
        return result
    with Disturbance(cores) as disturbance, Pinned(cores[0]):
        with Peer("bench.ring", REGIONS, cores[1]) as peer:
            for name in ("there", "back", "stream", "both"):
                set_reader(open_ring(peer.segment, name, RECORD), 0, GATING)
            set_reader(open_ring(peer.segment, "both", RECORD), 1, LOSSY)
            peer.do(ANSWER_BOUNCE, 0, 0)
            peer.do(ANSWER_RING, 0, 0)
            peer.do(STREAM_OUT, 0, 1, 0)
            measure_hops(peer, settings, result)
            rates = measure_stream(peer, settings, result)
            measure_both_readers(peer, settings, result)
        measure_rivals(settings, cores, rates[1], result)
    result.steal_percent, result.preemption_count = disturbance.steal_percent, disturbance.preemption_count
    return result
