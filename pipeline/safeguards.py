"""What the supervisor does by itself to keep an account safe: the kill switch of a signal, the orders of the dead."""

import contextlib
import os
import selectors
from collections.abc import Iterable

import numpy as np

from pipeline.control import Control
from pipeline.control_trading import cancel_scope, kill_switch
from pipeline.messages import EXIT
from pipeline.notes import BY_SIGNAL
from pipeline.strategy_watch import StrategyWatch
from pipeline.topology import ACCOUNT, scope_of_strategy
from shm.segment import Segment


class KillSwitch:
    """A switch that a signal handler may pull at any moment; it wakes the supervisor where that sleeps."""

    def __init__(self) -> None:
        self._descriptor = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)

    def pull(self) -> None:
        """Pull it; what follows is the next turn's business."""
        if self._descriptor >= 0:
            os.eventfd_write(self._descriptor, 1)

    def was_pulled(self) -> bool:
        """Tell whether it was pulled since the last call."""
        with contextlib.suppress(BlockingIOError):
            return self._descriptor >= 0 and os.eventfd_read(self._descriptor) > 0
        return False

    def listen(self, selector: selectors.BaseSelector) -> None:
        """Have the selector wake when it is pulled."""
        selector.register(self._descriptor, selectors.EVENT_READ, lambda _events: None)

    def close(self) -> None:
        """Give back the descriptor. Twice is as once."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


class Safeguards:
    """Looks after one instance, turn by turn.

    Args:
        segment: The instance, which this process owns.
        control: Through which orders go out, are told and noted.
        switch: The kill switch.
    """

    def __init__(self, segment: Segment, control: Control, switch: KillSwitch) -> None:
        self._control, self._switch = control, switch
        self._strategies = StrategyWatch(segment, control.place.view.sizes.strategies)

    def begin(self, slots: Iterable[int]) -> None:
        """Take back what works for strategies that the supervisor starts anew, after a crash that ended those before them.

        Args:
            slots: Theirs.
        """
        for slot in slots:
            if self._working(slot):
                self._on_death(slot, f"strategy {slot} ended with its instance", "its process ended with its instance")

    def turn(self) -> None:
        """Kill the account where the switch was pulled, and take back the orders of strategies that died."""
        control = self._control
        if self._switch.was_pulled():
            control.order(kill_switch(control.place, "SIGUSR1"), BY_SIGNAL)
        for death in self._strategies.look():
            gone = f"strategy {death.slot} (pid {death.pid}) is gone without a word"
            self._on_death(death.slot, gone, f"its process {death.pid} is gone without a word")

    def end(self) -> None:
        """Take back what still works for any strategy: after an ordered stop nobody is left to look after it."""
        orders = self._control.place.view.working_orders()
        if ((orders["flags"] & EXIT) == 0).any():
            self._control.order(cancel_scope(self._control.place, ACCOUNT, "an ordered stop"))

    def close(self) -> None:
        """Let go of the instance file."""
        self._strategies.close()

    def _on_death(self, slot: int, gone: str, reason: str) -> None:
        place = self._control.place
        if place.owner.launch.config.strategies.cancel_on_death:
            self._control.order(cancel_scope(place, scope_of_strategy(slot), reason, gone))
            return
        count = self._working(slot)
        work_on = f"its {count} working order{'' if count == 1 else 's'} work on" if count else "it has no working orders"
        place.owner.tell(f"{gone}: {work_on} (cancel_on_death = false); its positions keep their stops")

    def _working(self, slot: int) -> int:
        """Return how many orders of a strategy itself work."""
        view = self._control.place.view
        orders = view.working_orders()
        return int(np.count_nonzero((orders["position"] // len(view.instruments) == slot) & ((orders["flags"] & EXIT) == 0)))
