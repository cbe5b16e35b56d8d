"""Hundreds of seeded lives of the pipeline, each of which must keep every promise."""

from collections import Counter

import pytest

from shm.jit import JIT_ENABLED
from tests.simulation import play

SEED_COUNT = 40 if JIT_ENABLED else 15


@pytest.mark.jitless
@pytest.mark.timeout(480)
def test_simulation_of_many_seeds_keeps_every_promise() -> None:
    """Whatever the seed brings, no stop is lost, no exit is sent twice and all adds up; and the seeds bring much."""
    total: Counter[str] = Counter()
    for seed in range(SEED_COUNT):
        total.update(play(seed))
    print(f"{SEED_COUNT} seeds: " + ", ".join(f"{count} {name}" for name, count in sorted(total.items())))
    kinds = {"armed", "fired", "owed", "orders", "refused", "conflated", "quarantined", "stale", "stalled"}
    kinds |= {"cancels", "states_changed", "limits_changed", "reducing refused", "duplicate_fills", "fired by flatten"}
    kinds.add("kills between steps")
    kinds |= set() if JIT_ENABLED else {"kills within steps", "kills while opening"}
    assert set() == {kind for kind in kinds if total[kind] < SEED_COUNT // 4}, f"too little happened: {total}"
