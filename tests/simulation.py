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

import numpy as np

from pipeline import topology
from pipeline.messages import (
    ACTIVE,
    CANCEL_ALL,
    CANCEL_ORDER,
    CANCEL_STOP,
    END_CANCELLED,
    EVENT,
    MOVE_STOP,
    REJECT_REASONS,
    REQUEST_REFUSED,
    SET_LIMIT,
    SET_STATE,
    SET_STOP,
    STATE_CHANGED,
    STATE_REASONS,
    STOP_ARMED,
    STOP_ENDED,
    STOP_KIND_NAMES,
    STOP_OWED,
    STOP_TRIGGERED,
    SUBMIT,
    TRIGGER_REASONS,
)
from shm import ring
from shm.jit import JIT_ENABLED
from tests.conflated import assert_nothing_missed
from tests.crash_points import run_until
from tests.promises import assert_kept
from tests.sim_account import random_cancel, random_emptying, random_limit_change, random_state
from tests.sim_draws import current_positions, random_change, random_new_stop, random_order, random_rig

FILES = ("shm/", "pipeline/", "tests/rig.py")
TURNS_MAX = 2_000 if JIT_ENABLED else 500
#: Points of a step at which a kill may come; a step that ends before lives.
POINTS_MAX = 600


class Simulation:
    """One seed's life.

    Args:
        seed: Decides everything.
    """

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.rig, self.unit_ns = random_rig(self.rng)
        self.done: Counter[str] = Counter()
        rng = self.rng
        weights = {
            "ingest": rng.choice([1.0, 2.0, 6.0]),
            "risk": rng.choice([1.0, 4.0, 12.0]),
            "execution": rng.choice([1.0, 4.0, 12.0]),
            "strategy": rng.choice([2.0, 6.0]),
            "sidecar": rng.choice([0.02, 1.0]),
            "kill": rng.choice([0.0, 0.5]),
            "gate": 0.1,
        }
        self.actors = list(weights)
        self.weights = np.array(list(weights.values())) / sum(weights.values())
        self.strategies = int(rng.integers(1, 3))
        stops_share = float(rng.choice([0.2, 0.5, 0.8]))
        self.wishes = [1 - stops_share, 0.6 * stops_share, 0.2 * stops_share, 0.2 * stops_share]
        #: How often something is asked of orders that work, or of a scope, instead.
        self.scope_share = float(rng.choice([0.05, 0.15, 0.3]))
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
        self.wind_up()
        assert_nothing_missed(rig, rig.taken, assert_kept(rig))
        self.count_stops()
        self.count_account()
        self.done["orders"] += rig.count("risk")["entries_submitted"]
        self.done["refused"] += rig.count("risk")["refused"]
        for name in ("conflated", "quarantined", "stale", "gaps"):
            self.done[name] += rig.count("ingest")[name]
        self.done["stalled"] += rig.count("risk")["stalled"] + rig.count("execution")["stalled"]
        return self.done

    def wind_up(self) -> None:
        """Let what was asked for be done; then a person resumes all that is not active and takes back all that works."""
        rig = self.rig
        control = rig.sizes.strategies
        self.take_requests()
        for scope in range(rig.sizes.scope_count):
            self.take_requests(1)
            rig.send_request(control, kind=SET_STATE, scope=scope, value=ACTIVE, strategy=0)
        self.take_requests()
        rig.send_request(control, kind=CANCEL_ALL, scope=topology.ACCOUNT, strategy=0)
        rig.settle()

    def take_requests(self, room: int = 0) -> None:
        """Go on until all requests are taken, or until the control socket has room for so many."""
        rig = self.rig
        for _ in range(1_000):
            left = sum(len(rig.inbox_left(requester)) for requester in range(rig.sizes.strategies + 1))
            if left == 0 or 0 < room <= ring.room(rig.pens[rig.sizes.strategies]):
                return
            for stage in ("ingest", "risk", "execution"):
                rig.step(stage, 8)
            rig.drain_sidecar()
        raise AssertionError("requests are not taken")

    def count_account(self) -> None:
        """Count what became of limits, states and orders."""
        events, counts = self.rig.records("events", EVENT), self.rig.count("risk")
        refused = events[events["kind"] == REQUEST_REFUSED]
        self.done.update(f"{REJECT_REASONS[event['reason']]} refused" for event in refused)
        changes = events[events["kind"] == STATE_CHANGED]
        self.done.update(f"{STATE_REASONS[event['reason']]} changed a state" for event in changes)
        for name in ("limits_changed", "states_changed", "breaker_trips", "duplicate_fills", "cancels", "reviews"):
            self.done[name] += counts[name]

    def count_stops(self) -> None:
        """Count what became of stops."""
        events, risk = self.rig.records("events", EVENT), self.rig.count("risk")
        for name, kind in (("armed", STOP_ARMED), ("owed", STOP_OWED)):
            self.done[name] += int((events["kind"] == kind).sum())
        fired = events[events["kind"] == STOP_TRIGGERED]
        self.done["fired"] += len(fired)
        self.done.update(f"{STOP_KIND_NAMES[event['stop_kind']]} fired" for event in fired)
        self.done.update(f"fired by {TRIGGER_REASONS[event['reason']]}" for event in fired)
        self.done["set by hand"] += int(((events["kind"] == STOP_ARMED) & (events["request_id"] > 0)).sum())
        self.done["cancelled"] += int(((events["kind"] == STOP_ENDED) & (events["reason"] == END_CANCELLED)).sum())
        self.done["moved"] += risk["stops_moved"]
        self.done["escalated"] += risk["escalated"]

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
        if not run_until(point, lambda: self.rig.step_unseen(stage, budget), FILES):
            self.rig.look(stage)
            return
        self.done["kills within steps"] += 1
        for _ in range(int(self.rng.choice([0, 1, 2], p=[0.5, 0.4, 0.1]))):
            point = int(np.exp(self.rng.uniform(0, np.log(POINTS_MAX))))
            self.done["kills while opening"] += bool(run_until(point, lambda: self.rig.open(stage), FILES))
        self.rig.open(stage)

    def ask(self) -> None:
        """Let a strategy, or the control socket, ask for something, sensible or not."""
        rng, rig = self.rng, self.rig
        if not rig.risk.marks["tick_count"].any() and rng.random() < 0.95:
            # Nothing has a price yet.
            return
        strategy = int(rng.integers(self.strategies))
        kind = int(rng.choice([SUBMIT, SET_STOP, MOVE_STOP, CANCEL_STOP], p=self.wishes))
        if not current_positions(rig).any() and rng.random() < 0.9:
            # Nothing is there to be guarded yet.
            kind = SUBMIT
        # Orders are a strategy's own; the control socket asks for stops in its name.
        by_control = rng.random() < (0.02 if kind == SUBMIT else 0.2)
        requester = rig.sizes.strategies if by_control else strategy
        if rng.random() < self.scope_share:
            requester = rig.sizes.strategies if rng.random() < 0.7 else requester
            fields = self.ask_of_scope(requester, strategy)
        elif kind == SUBMIT:
            fields = random_order(rng, rig)
        elif kind == SET_STOP:
            fields = random_new_stop(rng, rig, strategy)
        else:
            fields = random_change(rng, rig, kind)
        if ring.room(rig.pens[requester]) < 1:
            self.done["requests full"] += 1
            return
        rig.send_request(requester, **fields)
        self.done["requests"] += 1

    def ask_of_scope(self, requester: int, strategy: int) -> dict[str, int]:
        """Return what is asked of orders that work, or of a scope."""
        rng, rig = self.rng, self.rig
        kind = rng.choice([CANCEL_ORDER, CANCEL_ALL, SET_STATE, SET_LIMIT], p=[0.35, 0.25, 0.2, 0.2])
        if kind == CANCEL_ORDER:
            return random_cancel(rng, rig, strategy)
        if kind == CANCEL_ALL:
            return random_emptying(rng, rig, requester)
        if kind == SET_STATE:
            return random_state(rng, rig, requester)
        return random_limit_change(rng, rig, requester, self.unit_ns)


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
