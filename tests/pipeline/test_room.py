"""Small rings and a small venue: what is full makes others wait or refuses, and nothing waits for ever."""

import pytest

from pipeline.execution.open_orders import OPEN_COUNT
from pipeline.messages import BUY, REJECT_NO_ROOM, SELL
from pipeline.risk.entries import ORDERS_NEEDED
from shm import counters, ring
from tests.promises import assert_kept
from tests.recorder import RecordingRig
from tests.rig import SIZES, quotes

pytestmark = pytest.mark.jitless


def rig_with_market(**sizes: int) -> RecordingRig:
    """Return a rig whose stages have seen a first quote, with more to come."""
    rig = RecordingRig(quotes([(0, 10_000, 10_002)] * 12), SIZES._replace(**sizes))
    for stage in ("ingest", "risk", "execution"):
        rig.step(stage, 1)
    return rig


def test_venue_with_its_whole_record_working_still_sees_ticks() -> None:
    """With as many orders working as the venue's record holds, the next tick fills them and all settles."""
    rig = rig_with_market(venue_orders=2)
    for side in (BUY, SELL):
        rig.submit(0, side, 10)
    rig.step("risk", 0)
    rig.step("execution", 0)
    assert 2 == rig.execution.venue.opened.local[OPEN_COUNT]
    rig.settle()
    assert_kept(rig)
    assert 2 == rig.count("execution")["venue_fills"]


def test_entries_in_small_orders_ring_leave_room_for_one_input() -> None:
    """Entries that nobody takes are refused before risk itself would have to wait for room."""
    rig = rig_with_market(orders=16)
    for _ in range(12):
        rig.submit(0, BUY, 1)
    rig.step("risk", 0)
    assert ORDERS_NEEDED == ring.room(rig.risk.orders)
    refused = counters.open_counters(rig.segment, "refused")
    assert 4 == refused.words[counters.STRIDE * REJECT_NO_ROOM]
    assert 0 == rig.count("risk")["stalled"]
    rig.settle()
    assert_kept(rig)
