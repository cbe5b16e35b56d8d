"""The real stages under a seeded scheduler: random markets, requests and turns, and kills in between or in the middle.

    python -m tests.simulation --seed 17        plays one seed again and says what it did
    python -m tests.simulation --seeds 500      plays that many

A seed decides everything: sizes of rings, limits, the feed, who steps when and how far, what the strategies ask, when the
sidecar lags, who is killed. With the JIT off a kill comes at a random store in the middle of a step, and may come
again while the next process opens what the last one left. After the last turn all settles, and the promises must be kept.
"""

from __future__ import annotations

import argparse
from collections import Counter
from typing import Any

import numpy as np

from pipeline import topology
from pipeline.messages import (
    BUY,
    EVENT,
    LIMIT,
    MARKET,
    NON_FINITE,
    ORDER,
    QUOTE,
    REPORT,
    SELL,
    STOP_ARMED,
    STOP_OWED,
    STOP_TRIGGERED,
    SUBMIT,
    TICK,
    TRADE,
)
from pipeline.risk.limits import NOT_SET, UNLIMITED
from pipeline.tables import VENUE_FILL, VENUE_NONE
from shm import ring
from shm.jit import JIT_ENABLED
from tests.conflated import assert_nothing_missed
from tests.crash_points import run_until
from tests.promises import assert_kept
from tests.rig import Rig, limits

FILES = ("shm/", "pipeline/", "tests/rig.py")
RECORDED = {"ticks": TICK, "orders": ORDER, "reports": REPORT, "events": EVENT}
ORDER_LOTS_MAX = 400
TICKS_MAX = 400 if JIT_ENABLED else 120
TURNS_MAX = 2_000 if JIT_ENABLED else 500
#: Points of a step at which a kill may come; a step that ends before lives.
POINTS_MAX = 600


class RecordingRig(Rig):
    """A rig whose rings and venue may wrap: what is published is copied after each step, before anything can overwrite it."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.kept: dict[str, list[np.ndarray]] = {name: [] for name in RECORDED}
        self.fills: list[np.ndarray] = []
        self.order_ids: list[int] = []
        #: What ingest took at once: (feed position before, and after).
        self.taken: list[tuple[int, int]] = []
        self.seen: Counter[str] = Counter()
        self.views: dict[str, Any] = {}
        super().__init__(*args, **kwargs)

    def open(self, stage: str) -> None:
        """Open a stage, which may itself publish what the last process owed."""
        super().open(stage)
        self.record()

    def step(self, stage: str, tick_budget: int = 8) -> int:
        """Take one step, and keep what it published."""
        done = super().step(stage, tick_budget)
        self.record()
        return done

    def record(self) -> None:
        """Copy what is new in every ring and in the venue's record."""
        if not self.views:
            self.views = {name: ring.RingView(ring.open_ring(self.segment, name, dtype)) for name, dtype in RECORDED.items()}
            self.venue_words = self.segment.array("venue.state")
            self.fill_slots = self.segment.array("venue.fills", VENUE_FILL)
            self.ingest_words = self.segment.array("ingest.state")
        for name, view in self.views.items():
            first, end = self.seen[name], view.published
            assert end - first <= view.capacity, f"{name}: one step published {end - first} records"
            if end > first:
                self.kept[name].append(view.ring.slots[np.arange(first, end) & (view.capacity - 1)])
                self.seen[name] = end
        state, slots = self.venue_words, self.fill_slots
        first, end = self.seen["fills"], int(state[topology.VENUE_FILLS])
        assert end - first <= len(slots), "the venue's fills have lapped its record"
        if end > first:
            self.fills.append(slots[np.arange(first, end) & (len(slots) - 1)])
            # At once: a kill may come in the snapshot below, and what is copied twice would be a fill twice.
            self.seen["fills"] = end
        taken_before, taken = self.seen["orders at the venue"], int(state[topology.VENUE_ORDERS])
        if taken > taken_before:
            orders = super().venue_order_table()
            new = orders[(orders["state"] != VENUE_NONE) & (orders["place"] >= taken_before)]
            assert len(new) == taken - taken_before, "the venue's record has lost orders"
            self.order_ids += [int(order_id) for order_id in new["order_id"]]
        self.seen["orders at the venue"] = taken
        position = int(self.ingest_words[topology.FEED_POSITION])
        if position > self.seen["feed"]:
            self.taken.append((self.seen["feed"], position))
            self.seen["feed"] = position

    def records(self, name: str, dtype: np.dtype) -> np.ndarray:
        """Return all records that a ring ever held."""
        return np.concatenate([np.zeros(0, dtype), *self.kept[name]])

    def venue_fills(self) -> np.ndarray:
        """Return all fills that the venue ever made."""
        return np.concatenate([np.zeros(0, VENUE_FILL), *self.fills])

    def venue_order_ids(self) -> list[int]:
        """Return the ids of all orders that the venue ever took."""
        return self.order_ids


def random_feed(rng: np.random.Generator, instruments: int, count: int) -> np.ndarray:
    """Return a market: walks, jumps that come back, long silences of all but one instrument, and ticks that are no prices."""
    ticks = np.zeros(count, TICK)
    mids = rng.integers(5_000, 20_000, instruments)
    away = np.zeros(instruments, np.int64)
    event_ns, only = 1_000_000, -1
    volatility, jumpy, dirty = rng.choice([3, 20, 60]), rng.choice([0.01, 0.05, 0.2]), rng.choice([0.0, 0.03, 0.2])
    for k in range(count):
        if rng.random() < 0.02:
            only = int(rng.integers(-1, instruments))
        instrument = int(rng.integers(instruments)) if only < 0 else only
        event_ns += int(rng.choice([0, 100, 1_000, 5_000, 50_000]))
        mids[instrument] = max(100, mids[instrument] + rng.integers(-volatility, volatility + 1))
        # A jump of up to 5% that the next jump takes back.
        if rng.random() < jumpy:
            away[instrument] = 0 if away[instrument] else rng.integers(-500, 501) * mids[instrument] // 10_000
        bid = max(1, int(mids[instrument] + away[instrument]))
        stamp = event_ns - int(rng.choice([0, 0, 0, 2_000]))
        if rng.random() < 0.2:
            ticks[k] = (stamp, 0, k + 1, instrument, TRADE, 0, 0, bid + 1, 10, k, 0)
        else:
            ticks[k] = (stamp, 0, k + 1, instrument, QUOTE, 0, 0, bid, bid + int(rng.integers(0, 4)), 100, 100)
        if rng.random() < dirty:
            spoil(rng, ticks[k], instruments)
    return ticks


def spoil(rng: np.random.Generator, tick: np.void, instruments: int) -> None:
    """Make a tick one that must move nothing, most of them with a price that would fire any stop."""
    tick["a"] = int(rng.choice([1, 1 << 41]))
    tick["b"] = tick["a"]
    field, value = [
        ("b", int(tick["a"]) - 1), ("a", 0), ("a", -7), ("b", NON_FINITE), ("instrument", instruments), ("kind", 9),
        ("event_ns", 0), ("event_ns", 1 << 62), ("a", 1 << 42), ("instrument", (1 << 32) - 1), ("event_ns", -1),
    ][rng.integers(11)]  # fmt: skip
    tick[field] = value
    if tick["kind"] == TRADE and field == "b":
        tick[field] = -1


def random_rig(rng: np.random.Generator) -> RecordingRig:
    """Return an instance of random sizes and limits, with its feed."""
    instruments = int(rng.integers(2, 5))
    small = [int(2 ** rng.integers(low, high)) for low, high in ((2, 7), (2, 5), (4, 7), (3, 7))]
    # Rows for more orders than the venue lets work: it is the venue that refuses.
    sizes = topology.Sizes(
        instruments=instruments, strategies=2, ticks=small[0], requests=small[1], orders=small[2], reports=small[3],
        events=int(rng.choice([512, 1024])), stops=64, working_orders=128,
        venue_orders=int(2 ** rng.integers(1, 7)),
    )  # fmt: skip
    chosen = limits(instruments, int(rng.choice([20_000, 5_000, 1_000])), int(rng.choice([0, 5_000, 1_000])))
    chosen = chosen._replace(order_lots=np.full(instruments, ORDER_LOTS_MAX, np.int64))
    if rng.random() < 0.3:
        chosen.order_tick_lots[0] = NOT_SET
    if rng.random() < 0.5:
        chosen.position_tick_lots[1] = rng.choice([UNLIMITED, 4_000_000])
    retry_ns = int(rng.choice([500, 1_000, 30_000]))
    chosen = chosen._replace(retry_ns=retry_ns, retry_ns_max=8 * retry_ns)
    count = int(rng.integers(TICKS_MAX // 4, TICKS_MAX))
    latency_ns = int(rng.choice([0, 1_000, 20_000, 200_000]))
    feed, live = random_feed(rng, instruments, count), bool(rng.random() < 0.5)
    # A generator of their own: what these draw moves none of the others'. Numbers that skip make gaps of nearly all trades.
    own = rng.spawn(1)[0]
    max_jump_ppm, numbered = int(own.choice([0, 10_000, 30_000])), bool(own.random() < 0.25)
    return RecordingRig(feed, sizes, chosen, live, latency_ns, max_jump_ppm=max_jump_ppm, numbered=numbered)


class Simulation:
    """One seed's life.

    Args:
        seed: Decides everything.
    """

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.rig = random_rig(self.rng)
        self.done: Counter[str] = Counter()
        rng = self.rng
        weights = {
            "ingest": rng.choice([1.0, 3.0, 10.0]),
            "risk": rng.choice([1.0, 4.0, 12.0]),
            "execution": rng.choice([1.0, 4.0, 12.0]),
            "strategy": rng.choice([1.0, 4.0]),
            "sidecar": rng.choice([0.02, 1.0]),
            "kill": rng.choice([0.0, 0.5]),
            "gate": 0.1,
        }
        self.actors = list(weights)
        self.weights = np.array(list(weights.values())) / sum(weights.values())
        self.strategies = int(rng.integers(1, 3))
        self.kill_share = float(rng.choice([0.0, 0.05, 0.2])) if not JIT_ENABLED else 0.0

    def run(self) -> Counter[str]:
        """Live it to the end and check the promises.

        Returns:
            What happened, by name.
        """
        rig = self.rig
        for _ in range(TURNS_MAX):
            self.turn(str(self.rng.choice(self.actors, p=self.weights)))
            if rig.ingest_words[topology.FEED_POSITION] == len(rig.ticks):
                break
        rig.settle()
        assert_kept(rig)
        assert_nothing_missed(rig, rig.taken)
        events = rig.records("events", EVENT)["kind"]
        for name, kind in (("armed", STOP_ARMED), ("fired", STOP_TRIGGERED), ("owed", STOP_OWED)):
            self.done[name] += int((events == kind).sum())
        self.done["orders"] += rig.count("risk")["entries_submitted"]
        self.done["refused"] += rig.count("risk")["refused"]
        for name in ("conflated", "quarantined", "stale", "gaps"):
            self.done[name] += rig.count("ingest")[name]
        self.done["stalled"] += rig.count("risk")["stalled"] + rig.count("execution")["stalled"]
        return self.done

    def turn(self, actor: str) -> None:
        """Let one actor act."""
        if actor == "strategy":
            self.ask()
        elif actor == "sidecar":
            self.rig.drain_sidecar()
        elif actor == "gate":
            self.rig.segment.array("supervisor.state")[topology.ENTRIES_ALLOWED] = int(self.rng.random() < 0.8)
        elif actor == "kill":
            self.done["kills between steps"] += 1
            self.rig.open(str(self.rng.choice(["ingest", "risk", "execution", "strategy"])))
        else:
            budget = int(self.rng.choice([1, 2, 8, 64], p=[0.5, 0.3, 0.15, 0.05] if actor == "ingest" else [0.25] * 4))
            if self.rng.random() < self.kill_share:
                self.kill_within(actor, budget)
            else:
                self.rig.step(actor, budget)

    def kill_within(self, stage: str, budget: int) -> None:
        """Let a stage die at a random store of its step, and perhaps its successor while it opens."""
        point = int(np.exp(self.rng.uniform(0, np.log(POINTS_MAX))))
        if not run_until(point, lambda: self.rig.step(stage, budget), FILES):
            return
        self.done["kills within steps"] += 1
        for _ in range(int(self.rng.choice([0, 1, 2], p=[0.5, 0.4, 0.1]))):
            point = int(np.exp(self.rng.uniform(0, np.log(POINTS_MAX))))
            self.done["kills while opening"] += bool(run_until(point, lambda: self.rig.open(stage), FILES))
        self.rig.open(stage)

    def ask(self) -> None:
        """Let a strategy ask for something, sensible or not."""
        rng, rig = self.rng, self.rig
        strategy = int(rng.integers(self.strategies))
        if ring.room(rig.pens[strategy]) < 1:
            self.done["requests full"] += 1
            return
        instrument, side = int(rng.integers(rig.sizes.instruments)), int(rng.choice([BUY, SELL]))
        lots, kind, order_type = int(rng.integers(1, ORDER_LOTS_MAX)), SUBMIT, MARKET
        oddity = rng.random()
        if oddity < 0.02:
            instrument = int(rng.choice([rig.sizes.instruments, (1 << 32) - 1]))
        elif oddity < 0.06:
            lots = int(rng.choice([0, -5, ORDER_LOTS_MAX + 1, 1 << 40, 1 << 62]))
        elif oddity < 0.08:
            side = int(rng.choice([0, 7, -(1 << 62)]))
        elif oddity < 0.1:
            kind, order_type = int(rng.choice([SUBMIT, 0, 9])), LIMIT
        rig.submit(instrument, side, lots, strategy, kind, order_type)
        self.done["requests"] += 1


def play(seed: int) -> Counter[str]:
    """Live one seed; what fails says which seed it was.

    Raises:
        AssertionError: A promise was broken.
    """
    try:
        return Simulation(seed).run()
    except AssertionError as error:
        raise AssertionError(f"seed {seed} (python -m tests.simulation --seed {seed}): {error}") from error


def main() -> None:
    """Play the seeds that the command line names."""
    parser = argparse.ArgumentParser(description="Play seeds of the simulation.")
    parser.add_argument("--seed", type=int, help="play this one")
    parser.add_argument("--seeds", type=int, default=100, help="play as many")
    parser.add_argument("--first", type=int, default=0, help="from this one on")
    given = parser.parse_args()
    seeds = [given.seed] if given.seed is not None else range(given.first, given.first + given.seeds)
    total: Counter[str] = Counter()
    for seed in seeds:
        total.update(play(seed))
    print(f"{len(seeds)} seeds kept every promise: " + ", ".join(f"{count} {name}" for name, count in sorted(total.items())))


if __name__ == "__main__":
    main()
