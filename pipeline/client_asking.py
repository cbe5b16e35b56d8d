"""How a strategy's call waits for risk's answer, beside the strategy's own stream of events."""

import time
from abc import ABC, abstractmethod

import numpy as np

from pipeline.messages import EVENT
from pipeline.request_answers import Answers, answers_to
from pipeline.stop_refusals import NoAnswer
from shm.ring import RingView, open_ring
from shm.segment import Segment

#: How long a call waits for risk unless it is told otherwise, and how often it looks meanwhile, in seconds.
ANSWER_S, LOOK_S = 1.0, 0.0002
now_ns = time.monotonic_ns


def nap() -> None:
    """Wait until it is worth to look again."""
    time.sleep(LOOK_S)


class Asking(ABC):
    """The part of `pipeline.client.Client` that asks risk for something and waits for what becomes of it."""

    slot: int
    _event_view: RingView | None

    @abstractmethod
    def _mapped(self) -> Segment:
        """Return the instance."""

    @abstractmethod
    def _look(self) -> None:
        """See that the instance still runs, and show that we do."""

    @abstractmethod
    def _send(self, request: np.ndarray) -> int:
        """Send a request; return its request_id."""

    def _answer(self, request: np.ndarray, where: str, timeout_s: float) -> np.void:
        """Send a request and wait for what becomes of it.

        Args:
            request: REQUEST, shape (1,).
            where: The request in a few words, for messages.
            timeout_s: How long to wait for risk.
        Returns:
            EVENT: what it caused, or REQUEST_REFUSED.
        Raises:
            RequestsFull: Risk has not taken the last requests yet; nothing was sent.
            NoAnswer: Risk has not answered in time, and may still do what was asked.
        """
        self._look()
        if self._event_view is None:
            self._event_view = RingView(open_ring(self._mapped(), "events", EVENT))
        answers = Answers(self._event_view, self.slot)
        request_id = self._send(request)
        deadline_ns = now_ns() + int(timeout_s * 1e9)
        while True:
            # Looked at once more after the deadline: the answer may have come while we slept.
            is_late = now_ns() >= deadline_ns
            ours = answers_to(request, answers.read(), request_id)
            if len(ours):
                return ours[0]
            if is_late:
                raise NoAnswer(where, timeout_s)
            self._still_there()
            nap()

    @abstractmethod
    def _still_there(self) -> None:
        """See that the very instance that was asked still runs, and show that we do."""
