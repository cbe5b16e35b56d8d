"""Prices of many instruments that move by steps."""

import numpy as np


class Prices:
    """The bids of all instruments.

    Attributes:
        bids: The last of each instrument, int64 ticks.
    """

    def __init__(self, instruments: int, first_ticks: int) -> None:
        assert instruments <= 1 << 16, "two bytes for each instrument, which numpy sorts fastest"
        self.bids = np.full(instruments, first_ticks, np.int64)

    def move(self, instruments: np.ndarray, steps: np.ndarray) -> np.ndarray:
        """Return the bid after each step, and keep the last of each instrument.

        Args:
            instruments: Which one each step is of, integers.
            steps: Ticks, int64, same shape.
        """
        order = np.argsort(instruments.astype(np.uint16), kind="stable")
        sums = np.cumsum(steps[order])
        starts = np.flatnonzero(np.diff(instruments[order].astype(np.int64), prepend=-1))
        before = np.repeat(np.concatenate(([0], sums[starts[1:] - 1])), np.diff(starts, append=len(order)))
        bids = np.empty(len(order), np.int64)
        bids[order] = self.bids[instruments[order]] + sums - before
        self.bids[instruments] = bids
        return bids
