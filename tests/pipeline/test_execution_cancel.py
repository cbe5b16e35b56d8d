"""Kill execution before and after every store of a story of limit orders and cancels: each order ends once, and as told.

The kernels run as plain Python, so that a kill reaches between any two stores. After each kill the stage is opened again from
shared memory alone, and the story goes on from where the rings say that it stands.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from pipeline.execution.open_orders import OPEN_COUNT
from pipeline.execution.step import take_orders, take_ticks
from pipeline.messages import ACCEPTED, BUY, CANCELLED, FILLED, REJECTED, SELL
from pipeline.tables import DONE, VENUE_CANCELLED, VENUE_FILLED, VENUE_OPEN, WORKING
from shm.jit import JIT_ENABLED
from tests.crash_points import explore_points, run_until
from tests.desk import Desk
from tests.promises import assert_orders_end_once

pytestmark = [
    pytest.mark.jitless,
    pytest.mark.skipif(JIT_ENABLED, reason="compiled kernels cannot be stopped between two stores"),
]

FILES = ("shm/", "pipeline/")
UNKNOWN_ID = 99
#: What comes in, one after the other, each worked off before the next; of "seen only" the venue fills, and nobody reports yet.
STORY: tuple[tuple, ...] = (
    ("quote", 100, 102),
    ("order", 1, BUY, 10, 95),  # rests, and is cancelled late
    ("order", 2, SELL, 10, 104),  # rests, and fills
    ("order", 3, BUY),  # fills at once
    ("timer",),
    ("cancel", 3),  # has filled, and that is told
    ("quote", 104, 106),
    ("order", 4, BUY, 10, 90),
    ("cancel", 4),  # before it is due
    ("order", 5, BUY, 10, 103),
    ("timer",),
    ("seen only", 101, 103),  # fills 5 ...
    ("cancel", 5),  # ... and nobody has told when the cancel comes: it loses
    ("cancel", 1),
    ("cancel", 1),
    ("cancel", UNKNOWN_ID),
    ("order", 6, BUY, 10, 0),  # a limit order without a price
    ("order", 7, BUY, 10, 50),  # rests to the end
    ("order", 8, SELL),
    ("quote", 101, 103),
)
KINDS = {
    1: [ACCEPTED, CANCELLED], 2: [ACCEPTED, FILLED], 3: [ACCEPTED, FILLED], 4: [ACCEPTED, CANCELLED], 5: [ACCEPTED, FILLED],
    6: [REJECTED], 7: [ACCEPTED], 8: [ACCEPTED, FILLED], UNKNOWN_ID: [],
}  # fmt: skip
PRICES = {3: 102, 2: 104, 5: 103, 8: 101}


class StoryDesk(Desk):
    """A desk that lives the story."""

    is_working = False
    #: Whether a tick was seen whose fills wait for the next record to be reported.
    is_held = False

    def write_next(self) -> None:
        """Let the next record of the story come in."""
        name, *given = STORY[self.published("orders") + self.published("ticks")]
        self.is_held = name == "seen only"
        getattr(self, "quote" if name == "seen only" else name)(*given)

    def work(self) -> None:
        """Work off what has come in."""
        self.is_working = True
        if self.is_held:
            take_ticks(self.execution, 8)
        else:
            take_orders(self.execution)
            while self.step() > 0:
                pass
        self.is_working = False

    def live(self) -> None:
        """Live the story to its end, from wherever shared memory says it stands."""
        self.work()
        while self.published("orders") + self.published("ticks") < len(STORY):
            self.write_next()
            self.work()


def begin() -> StoryDesk:
    """Return a desk at the beginning of its story."""
    return StoryDesk(working_orders=16, venue_orders=16)


def assert_story_told(desk: StoryDesk) -> None:
    """Each order ended as the story has it, once, in the reports, in execution's table and in the venue's record."""
    assert {order_id: desk.kinds_of(order_id) for order_id in KINDS} == KINDS
    assert_orders_end_once(desk.records("orders"), desk.records("reports"))
    fills = desk.venue_fills()
    assert dict(zip(fills["order_id"].tolist(), fills["price_ticks"].tolist(), strict=True)) == PRICES
    assert {order_id: DONE for order_id in KINDS if order_id != UNKNOWN_ID} | {7: WORKING} == desk.states()
    ends = {CANCELLED: VENUE_CANCELLED, FILLED: VENUE_FILLED, ACCEPTED: VENUE_OPEN}
    expected = {order_id: ends[kinds[-1]] for order_id, kinds in KINDS.items() if kinds and kinds != [REJECTED]}
    orders = desk.venue_orders()
    assert expected == dict(zip(orders["order_id"].tolist(), orders["state"].tolist(), strict=True))
    assert 1 == desk.execution.venue.opened.local[OPEN_COUNT]
    counted = ("orders", "accepted", "filled", "rejected", "cancelled", "venue_orders", "venue_fills", "venue_cancelled")
    assert (8, 7, 4, 1, 2, 7, 4, 2) == tuple(desk.count(name) for name in counted)
    assert (6, 0, 0) == tuple(desk.count(name) for name in ("cancels", "duplicates", "venue_duplicates"))


def explore_all(desk: StoryDesk, opening_kills: Sequence[int] = ()) -> tuple[int, int]:
    """Kill execution at every point of the story.

    Args:
        desk: At the beginning of its story.
        opening_kills: Points at which the next process dies as well while it opens, one after the other.
    Returns:
        How many points there are, and how many different deaths were played.
    """
    start_again = desk.save()
    desk.live()
    assert_story_told(desk)
    start_again()
    last = np.zeros(0, np.int64)
    played = 0

    def explore(where: str) -> None:
        nonlocal last, played
        if not desk.is_working or np.array_equal(desk.segment.memory, last):
            return
        last = desk.segment.memory.copy()
        bring_back, is_held = desk.save(), desk.is_held
        try:
            for point in opening_kills:
                run_until(point, desk.open, FILES)
            desk.open()
            desk.live()
            assert_story_told(desk)
        except AssertionError as error:
            raise AssertionError(f"execution killed at {where}: {error}") from error
        finally:
            bring_back()
            desk.is_held, desk.is_working = is_held, True
        played += 1

    return explore_points(desk.live, explore, FILES), played


def test_cancels_killed_at_every_store_end_each_order_once() -> None:
    """Whatever store the kill comes before or after: what is cancelled is told once, and what has filled is told once."""
    point_count, played = explore_all(begin())
    print(f"{point_count} crash points, {played} different deaths, all survived")
    assert point_count > 2_000
    assert played > 400


@pytest.mark.parametrize("opening_kills", [(3, 17), (40, 9)])
def test_cancels_killed_again_while_opening_end_each_order_once(opening_kills: tuple[int, ...]) -> None:
    """The next process may die as well before it has settled what it found."""
    assert explore_all(begin(), opening_kills)[1] > 400
