"""Risk's answers to requests, picked from the events ring without taking part in it: whoever asks keeps a place of its own."""

import numpy as np

from pipeline.messages import REQUEST_REFUSED, STOP_ARMED, STOP_ENDED, STOP_MOVED, STOP_TRIGGERED
from shm.ring import RingView

#: Events that tell what became of a request about a stop.
ANSWER_KINDS = (STOP_ARMED, STOP_MOVED, STOP_ENDED, STOP_TRIGGERED, REQUEST_REFUSED)


class Answers:
    """A place in the events ring from which one requester's answers are looked for.

    It starts at the newest event: make it before the request is sent.

    Args:
        events: The events ring.
        requester: EVENT "requester": a strategy's slot, or the number of slots for the control socket.

    Attributes:
        at: Sequence of the next event to look at.
        missed: How many events were overwritten before they were looked at.
    """

    def __init__(self, events: RingView, requester: int) -> None:
        self._events, self._requester = events, requester
        self.at = events.published
        self.missed = 0

    def read(self) -> np.ndarray:
        """Return the new events that answer this requester's requests: array of EVENT, oldest first, a copy."""
        end = self._events.published
        # Where we were lapped, what is left is still looked at.
        first = max(self.at, end - self._events.capacity)
        events = self._events.read(first, end - first)
        self.missed += end - self.at - len(events)
        self.at = end
        ours = (events["requester"] == self._requester) & (events["request_id"] > 0) & np.isin(events["kind"], ANSWER_KINDS)
        return events[ours]
