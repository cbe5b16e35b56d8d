"""Stories for tests that kill a stage at every store: quotes and requests one by one, each worked off before the next comes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np

from pipeline import topology
from pipeline.messages import QUOTE, TICK
from tests.recorder import RecordingRig
from tests.rig import LATENCY_NS

MS = 1_000_000


class Step(NamedTuple):
    """What comes next: a quote, or a request.

    Attributes:
        bid: of the quote, whose ask lies two ticks higher; 0 = a request.
        after_ns: of the quote, from the one before.
        requester: of the request.
        fields: of the request.
        is_late: risk takes reports and requests and leaves the ticks for later.
        instrument: of the quote.
    """

    bid: int = 0
    after_ns: int = LATENCY_NS
    requester: int = 0
    fields: Mapping[str, Any] = MappingProxyType({})
    is_late: bool = False
    instrument: int = 0


def quote(bid: int, after_ns: int = LATENCY_NS, is_late: bool = False, instrument: int = 0) -> Step:
    """Return a quote that comes in."""
    return Step(bid, after_ns, is_late=is_late, instrument=instrument)


def ask(kind: int, requester: int = 0, is_late: bool = False, **fields: int) -> Step:
    """Return a request that comes in."""
    return Step(0, 0, requester, {"kind": kind, **fields}, is_late)


class StoryRig(RecordingRig):
    """A rig that lives a story, from wherever shared memory says that it stands.

    Args:
        story: What comes in, in order.
        kwargs: Of the rig.
    """

    def __init__(self, story: Sequence[Step], **kwargs: Any) -> None:
        self.story = story
        steps = [step for step in story if step.bid]
        ticks = np.zeros(len(steps), TICK)
        event_ns = MS
        for k, step in enumerate(steps):
            event_ns += step.after_ns
            ticks[k] = (event_ns, 0, k + 1, step.instrument, QUOTE, 0, 0, step.bid, step.bid + 2, 100, 100)
        super().__init__(ticks, **kwargs)

    def at_step(self) -> int:
        """Return how many steps of the story have come in."""
        return int(self.ingest_words[topology.FEED_POSITION]) + self.requests_sent()

    def work(self) -> None:
        """Work off what has come in."""
        last = self.at_step() - 1
        budget = 0 if last >= 0 and self.story[last].is_late else 8
        while self.step("execution", 8) + self.step("risk", budget) > 0:
            pass
        self.drain_sidecar()

    def tell(self) -> None:
        """Live the story to its end."""
        self.work()
        while self.at_step() < len(self.story):
            step = self.story[self.at_step()]
            if step.bid:
                self.step("ingest", 1)
            else:
                self.send_request(step.requester, **step.fields)
            self.work()
        self.settle()
