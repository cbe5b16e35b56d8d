"""Kill a stage before and after every store on the way tick -> trigger -> order -> fill -> flat: no stop lost, no exit twice.

The kernels run as plain Python, so that a kill reaches between any two stores, private ones included. After each kill the stage
that died is opened again from shared memory alone and all go on to the end.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from pipeline.messages import BUY, EVENT, LONG, SELL, STOP_TRIGGERED
from shm.jit import JIT_ENABLED
from tests.crash_points import explore_points
from tests.promises import assert_kept
from tests.rig import LATENCY_NS, STAGES, Rig, quotes

pytestmark = [
    pytest.mark.jitless,
    pytest.mark.skipif(JIT_ENABLED, reason="compiled kernels cannot be stopped between two stores"),
]

FILES = ("shm/", "pipeline/", "tests/rig.py")
#: Two calm quotes, a move in favour that moves the trailing stop, one spike, and calm again: who loses the spike's tick loses
#: the stop. The long story's spike crosses the trailing stop alone, as it was moved; the short story's crosses both.
LONG_STORY = ((0, 10000, 10002), (0, 10000, 10002), (0, 10300, 10302), (0, 10190, 10192), (0, 10300, 10302), (0, 10301, 10303))
SHORT_STORY = ((0, 10000, 10002), (0, 10000, 10002), (0, 9950, 9952), (0, 10300, 10302), (0, 9950, 9952), (0, 9951, 9953))


STORIES = {"long": (LONG_STORY, BUY), "short": (SHORT_STORY, SELL)}


def begin(name: str) -> tuple[Rig, int]:
    """Return a rig with a feed in which one position is opened and stopped out, and the side that opens it."""
    ticks, side = STORIES[name]
    return Rig(quotes(ticks, every_ns=LATENCY_NS)), side


@pytest.fixture(params=STORIES)
def story(request: pytest.FixtureRequest) -> tuple[Rig, int]:
    """A story not yet told."""
    return begin(request.param)


def play(rig: Rig, side: int) -> None:
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


def explore_all(rig: Rig, side: int, stages: Sequence[str] = STAGES) -> tuple[int, int]:
    """Kill the stage that is stepping at every point of the story, and let the others go on with a new one to the end.

    Points between which neither shared memory nor any private state of the others changed are the same death: one is played.

    Args:
        rig: At the beginning of its story.
        side: That opens the position.
        stages: Whose deaths are played.
    Returns:
        How many points there are, and how many different deaths were played.
    """
    # Without a kill it keeps its promises, so that what fails below fails because of one.
    start_again = rig.save()
    play(rig, side)
    assert_kept(rig)
    assert_story_told(rig)
    start_again()
    last: list[np.ndarray | str] = ["", np.zeros(0, np.int64)]
    played = 0

    def explore(where: str) -> None:
        nonlocal played
        if rig.stepping not in stages or (rig.stepping == last[0] and np.array_equal(rig.segment.memory, last[1])):
            return
        last[:] = [rig.stepping, rig.segment.memory.copy()]
        bring_back = rig.save()
        died = rig.stepping
        try:
            rig.open(died)
            play(rig, side)
            assert_kept(rig)
            assert_story_told(rig)
        except AssertionError as error:
            raise AssertionError(f"{died} killed at {where}: {error}") from error
        finally:
            bring_back()
        played += 1

    return explore_points(lambda: play(rig, side), explore, FILES), played


def test_pipeline_killed_at_every_store_keeps_every_promise(story: tuple[Rig, int]) -> None:
    """Whatever store the kill comes before or after, in any stage: the stop fires once, the exit leaves once, all adds up."""
    rig, side = story
    point_count, played = explore_all(rig, side)
    assert_kept(rig)
    assert_story_told(rig)
    print(f"{point_count} crash points ({'long' if side == LONG else 'short'} story), {played} different deaths, all survived")
    assert point_count > 500
    assert played > 200


def assert_story_told(rig: Rig) -> None:
    """One stop fired, its position is flat."""
    assert 1 == (rig.records("events", EVENT)["kind"] == STOP_TRIGGERED).sum(), "stops fired"
    assert 0 == rig.positions()[0]["quantity_lots"], "left open"
    assert 0 == rig.venue_net()[0, 0], "left open at the venue"
