"""Risk's answers to requests, picked from the events ring without taking part in it: whoever asks keeps a place of its own."""

import numpy as np

from pipeline.messages import (
    CANCEL_ALL,
    CANCEL_ORDER,
    FLATTEN,
    LIMIT_CHANGED,
    REQUEST_DONE,
    REQUEST_REFUSED,
    SET_LIMIT,
    SET_STATE,
    STATE_CHANGED,
    STOP_ARMED,
    STOP_ENDED,
    STOP_MOVED,
    STOP_TRIGGERED,
)
from shm.ring import RingView

#: Events that tell what became of a request, by its kind; of one about a stop the last. Others may carry its number as well:
#: the exits that a flattening fires.
_ANSWERS = {
    CANCEL_ORDER: (REQUEST_DONE,),
    CANCEL_ALL: (REQUEST_DONE,),
    FLATTEN: (REQUEST_DONE,),
    SET_STATE: (STATE_CHANGED,),
    SET_LIMIT: (LIMIT_CHANGED,),
}
_ABOUT_STOPS = (STOP_ARMED, STOP_MOVED, STOP_ENDED, STOP_TRIGGERED)


def answers_to(request: np.ndarray, events: np.ndarray, request_id: int) -> np.ndarray:
    """Return those events that answer one request.

    Args:
        request: REQUEST, shape (1,).
        events: EVENT, of its requester.
        request_id: Its number.
    """
    kinds = (*_ANSWERS.get(int(request["kind"][0]), _ABOUT_STOPS), REQUEST_REFUSED)
    return events[(events["request_id"] == request_id) & np.isin(events["kind"], kinds)]


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

    def pass_over(self, count: int) -> None:
        """Look at no more than the newest `count` events: nobody waits for those before."""
        self.at = max(self.at, self._events.published - count)

    def read_all(self) -> np.ndarray:
        """Return all new events: array of EVENT, oldest first, a copy."""
        end = self._events.published
        # Where we were lapped, what is left is still looked at.
        first = max(self.at, end - self._events.capacity)
        events = self._events.read(first, end - first)
        self.missed += end - self.at - len(events)
        self.at = end
        return events

    def of_requester(self, events: np.ndarray) -> np.ndarray:
        """Return those events that requests of this requester caused."""
        return events[(events["requester"] == self._requester) & (events["request_id"] > 0)]

    def read(self) -> np.ndarray:
        """Return the new events that requests of this requester caused: array of EVENT, oldest first, a copy."""
        return self.of_requester(self.read_all())
