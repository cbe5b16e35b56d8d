"""Execution against its obvious twin: whatever comes in whatever order, and whoever dies in between, the same is told."""

from collections.abc import Iterable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.messages import BUY, EXIT, REJECT_NO_MARKET, REJECT_NO_ROOM, REJECT_ORDER_TYPE, REJECTED, REPORT_NAMES, SELL
from pipeline.tables import DONE, VENUE_OPEN
from shm import ring
from shm.jit import JIT_ENABLED
from tests.crash_points import run_until
from tests.desk import LATENCY_NS, Desk
from tests.venue_twin import Told, VenueTwin

pytestmark = pytest.mark.jitless

FILES = ("shm/", "pipeline/")
SEED_COUNT, TURN_COUNT = (30, 500) if JIT_ENABLED else (12, 200)
#: Points of a step at which a kill may come; a step that ends before lives.
POINTS_MAX = 400


class Pair:
    """A desk and its twin, which is fed with what the desk has taken.

    Args:
        latency_ns: Of the venue.
        sizes: Of the desk.
    """

    def __init__(self, latency_ns: int = LATENCY_NS, **sizes: int) -> None:
        self.desk = Desk(latency_ns, **sizes)
        self.twin = VenueTwin(latency_ns, self.desk.sizes.working_orders, self.desk.sizes.venue_orders)
        self.seen = {"orders": 0, "ticks": 0, "reports": 0, "fills": 0}
        self.told: list[Told] = []

    def reset(self) -> None:
        """Begin again."""
        self.desk.reset()
        self.twin = VenueTwin(self.twin.latency_ns, self.twin.rows, self.twin.venue_rows)
        self.seen = dict.fromkeys(self.seen, 0)
        self.told = []

    def taken(self, name: str) -> np.ndarray:
        """Return the records that the desk has taken from a ring since the last look."""
        reader = {"orders": self.desk.execution.orders, "ticks": self.desk.execution.ticks}[name]
        first, end = self.seen[name], int(reader.ring.words[ring.CURSOR + ring.STRIDE * reader.index])
        self.seen[name] = end
        return reader.ring.slots[np.arange(first, end) & (len(reader.ring.slots) - 1)]

    def compare(self) -> None:
        """Let the twin follow, and hold what was told since the last look against what it says."""
        expected = [told for order in self.taken("orders") for told in self.twin.take(order)]
        for tick in self.taken("ticks"):
            self.twin.see(tick)
        reported = int(self.desk.execution.words[0])
        expected += self.twin.report(reported - self.seen["fills"])
        told = self.desk.told(self.seen["reports"])
        self.seen["fills"], self.seen["reports"] = reported, self.desk.published("reports")
        assert expected == told
        self.told += told
        orders = self.desk.venue_orders()
        assert self.twin.works() == set(orders["order_id"][orders["state"] == VENUE_OPEN].tolist())
        states = self.desk.states()
        unreported = {order.order_id for order in self.twin.filled if not order.is_reported}
        assert self.twin.works() | unreported == {order_id for order_id, state in states.items() if state != DONE}


# ── One record at a time, each settled: a kill may come at any store. ───────────────────────────────────────────────────────

IDS = st.integers(1, 12)
PRICES = st.integers(95, 105)
INSTRUMENTS = st.integers(0, 2)
AFTER_NS = st.sampled_from([0, 1, LATENCY_NS // 2, LATENCY_NS, 5 * LATENCY_NS])
KILLS = st.none() | st.integers(0, POINTS_MAX)
ACTIONS = st.one_of(
    st.tuples(st.just("order"), IDS, st.sampled_from([BUY, SELL]), st.just(10), st.none() | st.integers(-1, 105), INSTRUMENTS),
    st.tuples(st.just("cancel"), IDS),
    st.tuples(st.just("quote"), PRICES, st.integers(105, 110), INSTRUMENTS, AFTER_NS),
    st.tuples(st.just("quote"), st.integers(90, 95), PRICES, INSTRUMENTS, AFTER_NS),
    st.tuples(st.just("trade"), PRICES, INSTRUMENTS, AFTER_NS),
    st.tuples(st.just("timer"), AFTER_NS),
    st.tuples(st.just("rejected"), PRICES, PRICES, INSTRUMENTS, AFTER_NS),
)

_pairs: list[Pair] = []


@given(st.lists(st.tuples(ACTIONS, KILLS), max_size=40))
def test_execution_of_any_records_killed_anywhere_tells_what_its_twin_tells(actions: list[tuple[tuple, int | None]]) -> None:
    """Each record is taken whole, whatever store a kill comes before or after, and its reports are those of the twin."""
    if not _pairs:
        _pairs.append(Pair(ticks=64, orders=64, reports=128, working_orders=16, venue_orders=16))
    pair = _pairs[0]
    pair.reset()
    desk = pair.desk
    for (name, *given_), kill in actions:
        getattr(desk, name)(*given_)
        if kill is not None:
            if not JIT_ENABLED:
                run_until(kill, desk.step, FILES)
                run_until(kill // 3, desk.open, FILES)
            desk.open()
        desk.settle()
        pair.compare()


# ── Many at a time, in seeded turns: full rings and tables, steps that end midway, kills in between. ────────────────────────


def random_pair(rng: np.random.Generator) -> Pair:
    """Return a pair of random sizes."""
    reports, rows, venue_rows = (int(2 ** rng.integers(low, high)) for low, high in ((3, 7), (3, 6), (3, 6)))
    latency_ns = int(rng.choice([0, LATENCY_NS, 20 * LATENCY_NS]))
    # No tick fills more than the reports ring and the venue's record hold.
    return Pair(latency_ns, reports=reports, working_orders=rows, venue_orders=venue_rows)


class Crowd:
    """Who writes orders and ticks at a pair's desk.

    Args:
        rng: Decides all.
    """

    def __init__(self, rng: np.random.Generator) -> None:
        self.rng, self.pair = rng, random_pair(rng)
        self.mids = np.array([100, 1_000, 10_000])
        self.next_id = 1
        self.limit_share, self.cancel_share = float(rng.choice([0.2, 0.8, 1.0])), float(rng.choice([0.0, 0.3, 0.6]))

    def write_orders(self) -> None:
        """Send some orders and cancels, sensible or not."""
        rng, desk = self.rng, self.pair.desk
        for _ in range(int(rng.integers(1, 6))):
            if ring.room(desk.pens["orders"]) < 1:
                return
            if rng.random() < self.cancel_share:
                works = sorted(self.pair.twin.works()) or [1]
                desk.cancel(int(rng.choice([*works, self.next_id, self.next_id - 1, int(rng.integers(self.next_id))])))
                continue
            instrument, side = int(rng.integers(3)), int(rng.choice([BUY, SELL]))
            near = int(self.mids[instrument] - side * rng.integers(-2, 12))
            limit = near if rng.random() < self.limit_share else None
            fields = {"flags": EXIT} if rng.random() < 0.3 else {}
            if rng.random() < 0.03:
                fields["order_type"] = 7
            desk.order(self.next_id, side, int(rng.integers(1, 100)), limit, instrument, **fields)
            self.next_id += 1

    def write_ticks(self) -> None:
        """Publish some ticks."""
        rng, desk = self.rng, self.pair.desk
        for _ in range(int(rng.integers(1, 6))):
            if ring.room(desk.pens["ticks"]) < 1:
                return
            instrument, kind = int(rng.integers(3)), rng.random()
            after_ns = int(rng.choice([0, 1, LATENCY_NS, 10 * LATENCY_NS]))
            self.mids[instrument] = max(20, self.mids[instrument] + rng.integers(-6, 7))
            bid, ask = int(self.mids[instrument]) - int(rng.integers(0, 3)), int(self.mids[instrument])
            if kind < 0.7:
                desk.quote(bid, ask, instrument, after_ns)
            elif kind < 0.85:
                desk.trade(bid, instrument, after_ns)
            elif kind < 0.95:
                desk.rejected(1, 2, instrument, after_ns)
            else:
                desk.timer(after_ns)

    def live(self) -> list[Told]:
        """Live some turns, comparing after each step.

        Returns:
            All that was told.
        """
        rng, pair = self.rng, self.pair
        for _ in range(TURN_COUNT):
            turn = rng.random()
            if turn < 0.25:
                self.write_orders()
            elif turn < 0.5:
                self.write_ticks()
            elif turn < 0.6:
                pair.desk.catch_up()
            elif turn < 0.65:
                pair.desk.open()
                pair.compare()
            else:
                pair.desk.step(int(rng.choice([1, 2, 64])))
                pair.compare()
        for _ in range(10):
            pair.desk.catch_up()
            pair.desk.step()
            pair.compare()
        return pair.told


def live_crowds(seeds: Iterable[int]) -> tuple[np.ndarray, int]:
    """Live these seeds.

    Returns:
        How many reports there were of each kind and reason, and how many cancels came too late or twice.

    Raises:
        AssertionError: The twin says otherwise.
    """
    counts, late = np.zeros((6, 32), np.int64), 0
    for seed in seeds:
        crowd = Crowd(np.random.default_rng(seed))
        try:
            told = crowd.live()
        except AssertionError as error:
            raise AssertionError(f"crowd {seed} says otherwise: {error}") from error
        for kind, _, reason, *_ in told:
            counts[kind, reason] += 1
        late += crowd.pair.desk.count("cancels") - crowd.pair.desk.count("cancelled")
    return counts, late


def test_execution_in_seeded_crowds_tells_what_its_twin_tells() -> None:
    """Full tables, full rings, thousands of orders that rest, fill and are cancelled: report by report the same."""
    counts, late = live_crowds(range(SEED_COUNT))
    total = {name: int(counts[kind].sum()) for kind, name in enumerate(REPORT_NAMES)}
    print(f"{SEED_COUNT} seeds: {total}, {late} cancels too late or twice")
    assert all(total[name] > 2 * SEED_COUNT for name in ("accepted", "filled", "rejected", "cancelled")), total
    reasons = [REJECT_NO_MARKET, REJECT_ORDER_TYPE, REJECT_NO_ROOM]
    assert (counts[REJECTED, reasons] > 0).all(), "not every reason to reject came up"
    assert late > SEED_COUNT
