"""All the deaths of a story: a stage is killed before and after every store, and the others go on with a new one to the end."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from tests.crash_points import explore_points
from tests.recorder import RecordingRig

FILES = ("shm/", "pipeline/", "tests/rig.py")


class Deaths(NamedTuple):
    """How many points there were at which a stage can die, how many different deaths that makes, and how many were played."""

    points: int
    found: int
    played: int


def explore_deaths(
    rig: RecordingRig,
    tell: Callable[[], None],
    check: Callable[[], None],
    stages: Sequence[str],
    every: int = 1,
    place: str = "",
) -> Deaths:
    """Kill the stage that is stepping at the points of a story, and see how the story ends.

    Points between which neither shared memory nor any private state of the others changed are the same death.

    Args:
        rig: At the beginning of its story.
        tell: Lives the story to its end, from wherever shared memory says that it stands.
        check: What must hold at its end.
        stages: Whose deaths are played.
        every: One death of so many is played.
        place: Only deaths are that come there: a part of "file:line in function".
    """
    # Without a kill it keeps its promises, so that what fails below fails because of one.
    start_again = rig.save()
    tell()
    check()
    start_again()
    last: list[Any] = ["", np.zeros(0, np.int64)]
    found = played = 0

    def explore(where: str) -> None:
        nonlocal found, played
        if rig.stepping not in stages or (rig.stepping == last[0] and np.array_equal(rig.segment.memory, last[1])):
            return
        last[:] = [rig.stepping, rig.segment.memory.copy()]
        if place not in where:
            return
        found += 1
        if found % every:
            return
        bring_back, died = rig.save(), rig.stepping
        try:
            rig.open(died)
            tell()
            check()
        except AssertionError as error:
            raise AssertionError(f"{died} killed at {where}: {error}") from error
        finally:
            bring_back()
        played += 1

    points = explore_points(tell, explore, FILES)
    check()
    return Deaths(points, found, played)
