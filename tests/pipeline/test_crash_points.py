"""Kill a stage before and after every store on the way tick -> trigger -> order -> fill -> flat: no stop lost, no exit twice.

The kernels run as plain Python, so that a kill reaches between any two stores, private ones included. After each kill the stage
that died is opened again from shared memory alone and all go on to the end.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from pipeline.messages import BUY, EVENT, LONG, QUOTE, SELL, STOP_TRIGGERED, TICK, TICK_REASONS, TIMER, TRADE
from shm.jit import JIT_ENABLED
from tests.deaths import Deaths, explore_deaths
from tests.promises import assert_kept
from tests.recorder import RecordingRig
from tests.rig import LATENCY_NS, STAGES, quotes

pytestmark = [
    pytest.mark.jitless,
    pytest.mark.skipif(JIT_ENABLED, reason="compiled kernels cannot be stopped between two stores"),
]

#: Two calm quotes, a move in favour that moves the trailing stop, one spike, and calm again: who loses the spike's tick loses
#: the stop. The long story's spike crosses the trailing stop alone, as it was moved; the short story's crosses both.
LONG_STORY = ((0, 10000, 10002), (0, 10000, 10002), (0, 10300, 10302), (0, 10190, 10192), (0, 10300, 10302), (0, 10301, 10303))
SHORT_STORY = ((0, 10000, 10002), (0, 10000, 10002), (0, 9950, 9952), (0, 10300, 10302), (0, 9950, 9952), (0, 9951, 9953))
#: The long story in a dirty market, as (kind, venue sequence, price): of what hygiene remembers each part decides some tick.
#: Two calm quotes; a spike; a move that takes its place and is confirmed; a spike whose number was seen; a gap, and trades that
#: are stale behind it; the fall that crosses the trailing stop, as it was moved, and ends the staleness; calm, and spikes.
DIRTY_STORY = (
    (QUOTE, 1, 10000), (QUOTE, 2, 10000), (QUOTE, 3, 12000), (TRADE, 1, 10001), (QUOTE, 4, 10300), (QUOTE, 5, 10301),
    (QUOTE, 5, 5000), (TRADE, 3, 10001), (TRADE, 4, 10001), (QUOTE, 6, 10190), (TRADE, 5, 10190), (TRADE, 6, 5000),
    (QUOTE, 7, 10300), (QUOTE, 8, 5000), (QUOTE, 9, 10301),
)  # fmt: skip
DIRTY_REASONS = (
    "accepted", "accepted", "quarantined", "accepted", "quarantined", "accepted",
    "old_sequence", "stale", "stale", "accepted", "accepted", "quarantined",
    "accepted", "quarantined", "accepted",
)  # fmt: skip
DIRTY_JUMP_PPM = 20_000

STORIES = {"long": (LONG_STORY, BUY), "short": (SHORT_STORY, SELL)}


def begin(name: str) -> tuple[RecordingRig, int]:
    """Return a rig with a feed in which one position is opened and stopped out, and the side that opens it."""
    if name == "dirty":
        ticks = np.zeros(len(DIRTY_STORY), TICK)
        for k, (kind, seq, price) in enumerate(DIRTY_STORY):
            prices = (price, price + 2) if kind == QUOTE else (price, 10)
            ticks[k] = (1_000_000 + k * LATENCY_NS, 0, seq, 0, kind, 0, 0, *prices, 100, 100)
        return RecordingRig(ticks, max_jump_ppm=DIRTY_JUMP_PPM, numbered=True), BUY
    story, side = STORIES[name]
    return RecordingRig(quotes(story, every_ns=LATENCY_NS)), side


@pytest.fixture(params=STORIES)
def story(request: pytest.FixtureRequest) -> tuple[RecordingRig, int]:
    """A story not yet told."""
    return begin(request.param)


def play(rig: RecordingRig, side: int) -> None:
    """Live the story from wherever shared memory says it stands: one tick at a time, each stage in turn."""
    while not rig.requests_sent():
        if rig.risk.marks[0]["ask_ticks"] > 0 and rig.execution.venue.touch[:2].all():
            rig.submit(0, side, 100)
        else:
            rig.step("ingest", 1)
            rig.step("risk", 1)
            rig.step("execution", 1)
    # The position is open before the spike comes.
    for _ in range(100):
        if rig.positions()[0]["fill_count"] > 0:
            break
        done = rig.step("risk", 1) + rig.step("execution", 1)
        if done == 0:
            rig.step("ingest", 1)
    else:
        raise AssertionError("the entry was never filled")
    rig.settle()


def explore_all(rig: RecordingRig, side: int, stages: Sequence[str] = STAGES) -> Deaths:
    """Kill the stage that is stepping at every point of the story, and let the others go on with a new one to the end.

    Args:
        rig: At the beginning of its story.
        side: That opens the position.
        stages: Whose deaths are played.
    """

    def check() -> None:
        assert_kept(rig)
        assert_story_told(rig)

    return explore_deaths(rig, lambda: play(rig, side), check, stages)


def test_pipeline_killed_at_every_store_keeps_every_promise(story: tuple[RecordingRig, int]) -> None:
    """Whatever store the kill comes before or after, in any stage: the stop fires once, the exit leaves once, all adds up."""
    rig, side = story
    deaths = explore_all(rig, side)
    print(f"{deaths.points} crash points ({'long' if side == LONG else 'short'} story), {deaths.played} deaths, all survived")
    assert deaths.points > 500
    assert deaths.played > 200


def test_ingest_killed_at_every_store_forgets_nothing_of_a_dirty_market() -> None:
    """Whatever store the kill comes before or after, quarantine, venue sequences and staleness go on as if it had not come."""
    rig, side = begin("dirty")
    deaths = explore_all(rig, side, ["ingest"])
    print(f"{deaths.points} crash points (dirty story), {deaths.played} deaths of ingest, all survived")
    assert list(DIRTY_REASONS) == [TICK_REASONS[flags] for flags in told_of(rig)]
    assert deaths.played > 200


def told_of(rig: RecordingRig) -> list[int]:
    """Return the flags of the feed's ticks in the ring."""
    ticks = rig.records("ticks", TICK)
    return [int(flags) for flags in ticks["flags"][ticks["kind"] != TIMER]]


def assert_story_told(rig: RecordingRig) -> None:
    """One stop fired, its position is flat."""
    assert 1 == (rig.records("events", EVENT)["kind"] == STOP_TRIGGERED).sum(), "stops fired"
    assert 0 == rig.positions()[0]["quantity_lots"], "left open"
    assert 0 == rig.venue_net()[0, 0], "left open at the venue"
