"""The ring against a plain model: random claims, publishes, reads and restarts in any order, several readers of both kinds."""

import os
from itertools import count

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from shm import ring
from shm.ring import FULL, GATING, LOSSY
from shm.segment import finish, open_owned
from tests.shm.records import RECORD, write_record, wrong_words

pytestmark = pytest.mark.jitless

_numbers = count()


class RingMachine(RuleBasedStateMachine):
    """Drives one ring and a model of it: two numbers for the producer, one for each reader."""

    @initialize(
        capacity=st.sampled_from([2, 4, 8, 16, 64]),
        modes=st.lists(st.sampled_from([GATING, LOSSY]), min_size=1, max_size=4),
    )
    def set_up(self, capacity: int, modes: list[int]) -> None:
        """Make a ring in a file of its own."""
        self.capacity, self.modes = capacity, modes
        self.segment = open_owned(f"test-{os.getpid()}-model{next(_numbers)}", ring.regions("r", RECORD, capacity))
        finish(self.segment)
        self.ring = ring.open_ring(self.segment, "r", RECORD)
        for index, mode in enumerate(modes):
            ring.set_reader(self.ring, index, mode)
        self.producer = ring.open_producer(self.segment, self.ring)
        self.readers = [ring.open_reader(self.ring, index) for index in range(len(modes))]
        # The model: sequences below `published` are readable, those below `claimed` are being written, those below
        # `overwritten_to` were being written once, by whichever producer.
        self.published = self.claimed = self.overwritten_to = 0
        self.cursors = [0] * len(modes)
        self.copied = [0] * len(modes)

    def teardown(self) -> None:
        """Leave nothing behind."""
        if hasattr(self, "segment"):
            self.segment.close()
            self.segment.unlink()

    def limit(self) -> int:
        """Return the sequence that the slowest gating reader holds back; where none gates, what is published does."""
        gating = [cursor for cursor, mode in zip(self.cursors, self.modes, strict=True) if mode == GATING]
        return min(gating, default=self.published) + self.capacity

    @rule(size=st.integers(1, 70))
    def claim(self, size: int) -> None:
        """FULL exactly when the batch does not fit before the slowest gating reader's lap."""
        first = ring.claim(self.producer, size)
        if self.claimed + size > self.limit():
            assert FULL == first
            return
        assert self.claimed == first
        self.claimed += size
        self.overwritten_to = max(self.overwritten_to, self.claimed)
        for seq in range(first, self.claimed):
            write_record(self.ring.slot_words, seq & (self.capacity - 1), seq)

    @rule()
    def room(self) -> None:
        """The room is what a claim could take."""
        assert self.limit() - self.claimed == ring.room(self.producer)

    @rule()
    def publish(self) -> None:
        """Everything claimed becomes readable."""
        ring.publish(self.producer)
        self.published = self.claimed

    @rule()
    def restart_producer(self) -> None:
        """What was claimed and not published never happened, but what it overwrote is overwritten."""
        garbage = np.arange(self.published, self.claimed) & (self.capacity - 1)
        self.ring.slot_words[garbage] = -1
        self.producer = ring.open_producer(self.segment, self.ring)
        self.claimed = self.published

    @rule(data=st.data())
    def restart_reader(self, data: st.DataObject) -> None:
        """A new process goes on at the cursor."""
        index = data.draw(st.sampled_from(range(len(self.modes))))
        self.readers[index] = ring.open_reader(self.ring, index)

    @precondition(lambda self: GATING in self.modes)
    @rule(data=st.data())
    def read_gating(self, data: st.DataObject) -> None:
        """A gating reader finds every record, whole and in order."""
        index = data.draw(st.sampled_from([i for i, mode in enumerate(self.modes) if mode == GATING]))
        reader, cursor = self.readers[index], self.cursors[index]
        end = ring.available(reader)
        # It may know less than there is, until it has read what it knew.
        assert cursor <= end <= self.published
        assert end > cursor or cursor == self.published
        for seq in range(cursor, end):
            assert 0 == wrong_words(self.ring.slot_words[seq & (self.capacity - 1)], seq)
        taken = data.draw(st.integers(0, end - cursor))
        ring.advance(reader, cursor + taken)
        self.cursors[index] += taken

    @precondition(lambda self: LOSSY in self.modes)
    @rule(data=st.data(), size=st.integers(1, 70))
    def read_lossy(self, data: st.DataObject, size: int) -> None:
        """A lossy reader gets whole records in order, and counts all others as missed."""
        index = data.draw(st.sampled_from([i for i, mode in enumerate(self.modes) if mode == LOSSY]))
        output = np.zeros(size, RECORD)
        words = output.view(np.int64).reshape(size, 8)
        copied = ring.copy_lossy(self.readers[index], output, words)
        self.copied[index] += copied
        cursor = int(self.ring.words[ring.CURSOR + ring.STRIDE * index])
        first = cursor - copied
        assert self.cursors[index] <= first <= cursor <= self.published
        for place in range(copied):
            assert 0 == wrong_words(words[place], first + place)
        # It skips only what was overrun, and after an overrun still half a lap at most.
        if self.cursors[index] >= self.overwritten_to - self.capacity:
            assert self.cursors[index] == first
        self.cursors[index] = cursor

    @invariant()
    def protocol_words_agree(self) -> None:
        """Published, cursors and losses are what the model says at every moment."""
        if not hasattr(self, "segment"):
            return
        view = ring.RingView(self.ring)
        assert self.published == view.published
        assert self.overwritten_to == int(self.ring.words[ring.CLAIMED])
        for index, mode in enumerate(self.modes):
            assert self.published - self.cursors[index] == view.depth(index)
            if mode == LOSSY:
                assert self.cursors[index] == self.copied[index] + view.missed(index)


TestRingModel = RingMachine.TestCase
TestRingModel.settings = settings(max_examples=60, stateful_step_count=40)
