"""A gateway that does not behave: on their way to risk reports come twice, late and out of order, and fills cost fees.

It stands between execution, which writes each report once and in order, and risk. What comes late leaves its place to a report
that is already known, and takes one of its own later on.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from pipeline.messages import ACCEPTED, FILLED, REPORT
from shm import ring
from tests.recorder import RecordingRig

#: Room that execution needs to go on, and must be left by what comes again.
ROOM_KEPT = 6


class GatewayRig(RecordingRig):
    """A recording rig with such a gateway.

    Args:
        rng: Decides what happens to reports.
        faults: Share of the reports to which something happens.
        fee_max: Fees of a fill are up to this; a few are rebates.
        blackouts: Of each instrument, (n, 2) begin and end in ns.
    """

    def __init__(
        self, *args: Any, rng: np.random.Generator, faults: float, fee_max: int, blackouts: Sequence[np.ndarray], **kwargs: Any
    ) -> None:
        self.blackouts = blackouts
        self.rng, self.faults, self.fee_max = rng, faults, fee_max
        #: Reports that are late.
        self.late: list[np.ndarray] = []
        super().__init__(*args, **kwargs)

    def pass_on(self) -> None:
        """Spoil the new reports, which no one has read yet."""
        view, rng = self.views["reports"], self.rng
        places = np.arange(self.seen["reports"], view.published) & (view.capacity - 1)
        slots = view.ring.slots
        for place in places:
            if slots[place]["kind"] == FILLED and self.fee_max:
                slots[place]["fee_units"] = rng.integers(-self.fee_max // 4, self.fee_max + 1)
            if slots[place]["kind"] != ACCEPTED and rng.random() < self.faults / 3:
                self.late.append(slots[place : place + 1].copy())
                slots[place]["kind"], slots[place]["fill_id"] = ACCEPTED, 0
        if len(places) > 1 and rng.random() < self.faults:
            slots[places] = slots[rng.permutation(places)]
        if self.late and rng.random() < 0.5 and self.publish(self.late[0]):
            self.late.pop(0)
        if rng.random() < self.faults / 3:
            self.repeat()
        self.seen["told"] = view.published

    def repeat(self) -> None:
        """Let a report come again that has come before."""
        known = self.records("reports", REPORT)
        if len(known):
            self.publish(self.rng.choice(known[-20:], 1))

    def publish(self, report: np.ndarray) -> bool:
        """Publish a report where there is room.

        Args:
            report: (1,) REPORT.
        """
        reports = self.execution.reports
        if ring.room(reports) < ROOM_KEPT:
            return False
        slots = reports.ring.slots
        place = int(ring.claim(reports, 1)) & (len(slots) - 1)
        slots[place : place + 1] = report
        ring.publish(reports)
        return True
