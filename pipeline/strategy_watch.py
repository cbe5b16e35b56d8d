"""Who holds each strategy's slot, so that the orders of one that dies do not work on with nobody to look after them.

A strategy leaves with a word: it counts `left` up and gives its slot back. One that is killed or crashes only lets go of the
slot, whose lock the kernel takes back. The lock tells that somebody is there, the heartbeat tells who: pid, and when that
process started, since a pid alone may be another one's by now.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from pipeline.client_slot import SlotLocks
from pipeline.topology import strategy_names
from shm import heartbeat
from shm.heartbeat import State
from shm.segment import Segment

#: States of a strategy that has not said good-bye.
PRESENT = (State.BOOT, State.COMPILING, State.READY, State.RUNNING, State.DRAINED)


class Holder(NamedTuple):
    """A process that a slot's heartbeat names."""

    pid: int
    start: int  #: its start time, in clock ticks since boot
    left: int  #: how often the slot was given back with a word until then


class Death(NamedTuple):
    """A strategy that is gone without a word."""

    slot: int
    pid: int


class StrategyWatch:
    """Looks after every slot of an instance.

    Args:
        segment: The instance, which this process owns.
        strategies: How many slots there are.
    """

    def __init__(self, segment: Segment, strategies: int) -> None:
        self._words = [segment.array(f"{name}.heartbeat") for name in strategy_names(strategies)]
        self._locks = SlotLocks(segment)
        self._holders: list[Holder | None] = [None] * strategies  #: who was seen there last, and has not been seen to leave
        self._mourned: list[Holder | None] = [None] * strategies  #: whose death was told last
        self._was_held = [False] * strategies  #: whether that holder was seen with the slot's lock

    def look(self) -> Iterator[Death]:
        """Yield each strategy that is gone without a word since the last look, once."""
        for slot in range(len(self._words)):
            death = self._look_at(slot)
            if death is not None:
                yield death

    def close(self) -> None:
        """Let go of the instance file."""
        self._locks.close()

    def _look_at(self, slot: int) -> Death | None:
        now, is_present = self._read(slot)
        is_held = not self._locks.is_free(slot)
        if (now, is_present) != self._read(slot):
            # Somebody comes or goes this very moment: the next look sees whom.
            return None
        before = self._holders[slot]
        if before is not None and now[:2] != before[:2]:
            # Another one came between two looks. Had the one before left with a word, it would have been counted.
            self._holders[slot] = None
            return self._mourn(slot, before) if now.left == before.left else None
        if before is not None and now.left != before.left:
            before = self._holders[slot] = None
        if before is None:
            is_whole = heartbeat.process_start(now.pid) == now.start
            if not is_present or now == self._mourned[slot] or (is_held and not is_whole):
                # Nobody, or one whose heartbeat is still being written.
                return None
            self._holders[slot], self._was_held[slot] = now, False
        if is_held:
            self._was_held[slot] = True
            return None
        if not self._was_held[slot] and heartbeat.process_start(now.pid) == now.start:
            # The instance crashed and was taken over: its strategy lives, and has not come back yet.
            return None
        self._holders[slot] = None
        return self._mourn(slot, now)

    def _mourn(self, slot: int, holder: Holder) -> Death:
        self._mourned[slot] = holder
        return Death(slot, holder.pid)

    def _read(self, slot: int) -> tuple[Holder, bool]:
        """Return whom a slot's heartbeat names, and whether that one has said that it is there."""
        words: np.ndarray = self._words[slot]
        holder = Holder(int(words[heartbeat.PID]), int(words[heartbeat.START]), int(words[heartbeat.LEFT]))
        return holder, holder.pid != 0 and int(words[heartbeat.STATE]) in PRESENT
