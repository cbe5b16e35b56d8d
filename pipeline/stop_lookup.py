"""Where a stop is found by its id: what a request to move or cancel it must say of it."""

import numpy as np

from pipeline.messages import ARMED, TRIGGERED
from pipeline.stop_request import StopPlace
from pipeline.view import View


def find_stop(view: View, stop_id: int) -> StopPlace | None:
    """Return a stop that is armed, or that has fired and not ended yet; None where there is none of this id."""
    stops = view.stops()
    found = np.flatnonzero((stops["stop_id"] == stop_id) & ((stops["state"] == ARMED) | (stops["state"] == TRIGGERED)))
    if len(found) == 0:
        return None
    stop = stops[found[0]]
    return StopPlace(stop_id, int(stop["instrument"]), int(stop["strategy"]), int(stop["kind"]), int(stop["watch"]))
